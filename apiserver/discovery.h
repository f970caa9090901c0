/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discovery.h - what is served: /api, /apis, /api/v1, /apis/GROUP[/VERSION]; legacy and aggregated.
 *
 * Threads: loop threads; answers are made once and shared.
 */
#pragma once

#include "apiserver/request.h"

/* A whole answer that many requests share. */
struct document {
    int status; /* 200, 304, 404, 406 */
    const char *content_type;
    const char *etag;          /* NULL: none; in the request's arena or constant */
    const char *cache_control; /* NULL: none */
    struct shared_bytes *body; /* a reference for the caller; NULL: empty */
};

/* False if PATH is no discovery path. */
bool discovery_serve(struct request *r, struct bytes path, struct bytes accept,
                     struct document *out);
