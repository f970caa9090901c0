/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_server.h - the store with etcd's API in a process of its own, to be killed.
 *
 * The program starts itself again as the server.  Its failpoints come from CORACLE_FAILPOINTS, and
 * its wall clock jumps by up to a day at every look: nothing in the store may depend on it.
 *
 * Threads: the one that started it.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* The first thing in main(): does not return in the process that is to be the server. */
void crash_server_become(int argc, char **argv);

struct crash_server {
    pid_t pid; /* 0: it is gone */
    int status;
    char socket[128]; /* for grpc_channel_new() */
};
/* 1: it serves; 0: it died before (its status tells); -1. */
must_check int crash_server_start(struct crash_server *s, const char *dir, const char *failpoints,
                                  struct error *err);
bool crash_server_is_alive(struct crash_server *s);
void crash_server_stand_still(struct crash_server *s, int ms); /* SIGSTOP, and on */
void crash_server_end(struct crash_server *s, int signal);     /* and waits */
bool crash_server_was_killed(const struct crash_server *s);    /* by SIGKILL, nothing else */
