/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - one call on the API: who asks for what.
 *
 * The same struct serves HTTP and the loopback: a verb never looks at a socket.
 *
 * Threads: one at a time (the loop thread, then the worker that it is handed to).
 */
#pragma once

#include "api/object.h"
#include "base/http_server.h"

struct apiserver;

struct user_extra {
    const char *key;
    const char *const *values; /* ends with NULL */
};

struct user {
    const char *name;
    const char *uid;                /* "" if the credentials name none */
    const char *const *groups;      /* ends with NULL; never NULL itself */
    const struct user_extra *extra; /* ends with a NULL key; may be NULL */
};

enum request_verb {
    REQUEST_OTHER, /* not a resource request, or CONNECT-like: see info.verb_name */
    REQUEST_GET,
    REQUEST_LIST,
    REQUEST_WATCH,
    REQUEST_CREATE,
    REQUEST_UPDATE,
    REQUEST_PATCH,
    REQUEST_DELETE,
    REQUEST_DELETECOLLECTION,
};

/* What the URL and the method say.  Every string is in the request's arena or constant, and "" (not
 * NULL) where there is nothing. */
struct request_info {
    bool is_resource_request;
    enum request_verb verb;
    const char *verb_name; /* "get", "list", ..., or the method in lower case for other paths */
    const char *path;      /* decoded */
    const char *group;     /* "" for core */
    const char *version;
    const char *plural;      /* "pods" */
    const char *subresource; /* "status" */
    const char *subpath;     /* what follows .../proxy, with its '/' */
    const char *ns;
    const char *name;
    const struct resource *resource;        /* NULL: nothing is served under that name */
    const struct resource_subresource *sub; /* NULL: none, or none of that name */
};

struct request {
    struct apiserver *server;
    struct http_request *http; /* NULL over the loopback */
    struct arena *arena;       /* as long as the request */
    struct request_info info;
    struct user user;
    const char *audit_id;
    const char *user_agent;
    struct bytes query;              /* undecoded; empty over the loopback */
    int64_t received_ns;             /* monotonic */
    struct schema_warnings warnings; /* become Warning headers */
    const char *deprecation;         /* so does this; NULL: the kind is not */
    /* The caches had everything up to it when the request began to be decided upon; 0: nobody else
     * writes to the store.  What is allocated by then is known, see store_put_allocated(). */
    int64_t seen_revision;
    bool is_contended; /* another server has allocated since: the request is decided upon again */
};
