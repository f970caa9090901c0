/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest_watch.h - WATCH over HTTP: a stream of frames, one line each.
 *
 * Threads: a loop thread; frames are written by the delivery thread.
 */
#pragma once

#include "apiserver/rest.h"
#include "apiserver/watch_delivery.h"

/* Answers R with a stream, or with an error. */
void rest_watch_http(struct request *r);

/* What the query or a loopback client asks of a watch, put into W; strings are copied to A, which
 * must live as long as W. */
struct watch_request {
    const char *ns, *name;
    const char *label_selector, *field_selector; /* NULL: none */
    const char *resource_version;                /* NULL: not given */
    enum { INITIAL_EVENTS_UNSET, INITIAL_EVENTS_NO, INITIAL_EVENTS_YES } send_initial_events;
    bool with_bookmarks;
    int64_t timeout_s; /* 0: none */
};
must_check int watcher_init(struct watcher *w, struct apiserver *server, const struct resource *r,
                            const struct watch_request *wanted, struct arena *a, struct error *err);
