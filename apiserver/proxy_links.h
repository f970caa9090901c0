/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_links.h - what a proxied answer says of its own place, said of ours: a page that links to
 * /style.css means .../proxy/style.css.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"

struct proxy_links {
    const char *prefix;  /* "/api/v1/namespaces/default/services/web/proxy" */
    const char *backend; /* "10.42.0.7:80": links that name it are its own */
    const char *host;    /* the Host that the client sent, which the backend saw */
};

/* URL as the client has to say it: the same unless it is an absolute path on the backend. */
struct bytes proxy_link(const struct proxy_links *l, struct bytes url, struct arena *a);

/* Adds HTML to OUT with the links in its tags' attributes replaced; the rest stays as it is. */
void proxy_links_rewrite(const struct proxy_links *l, struct bytes html, struct buffer *out);
