/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_log.h - reads a container's log as kubectl logs asks for it.
 *
 *     2026-11-20T21:15:03.512345678Z stdout F text      F: a whole line; P: it goes on in the next
 * one
 *
 * Threads: any; one reader is one call.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "kubelet/log_watch.h"

enum log_streams { LOG_STREAM_STDOUT = 1, LOG_STREAM_STDERR = 2, LOG_STREAM_ALL = 3 };

struct container_log_options {
    int64_t tail_lines;  /* -1: all */
    int64_t since_ns;    /* wall clock; 0: from the start */
    int64_t limit_bytes; /* -1: none */
    bool timestamps;
    bool follow;
    unsigned streams; /* enum log_streams */
    /* For FOLLOW: what tells of new lines, and whether the container still runs, asked after its
     * log was closed. */
    struct log_watch *watch;
    bool (*is_running)(void *arg);
    int cancel_fd; /* readable: stop; -1: none */
    void *arg;
    /* Takes a piece of the output; -1 ends the reading. */
    int (*write)(void *arg, struct bytes piece);
};

/* ERR_NOT_FOUND if there is no such file. */
must_check int container_log_read(const char *path, const struct container_log_options *o,
                                  struct error *err);
