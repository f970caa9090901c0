/* SPDX-License-Identifier: Apache-2.0 */
/*
 * negotiate.h - which form of an answer a client accepts.
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/table_printer.h"
#include "base/arena.h"
#include "base/error.h"

enum answer_form { ANSWER_OBJECT, ANSWER_TABLE, ANSWER_METADATA, ANSWER_METADATA_LIST };

enum answer_text { ANSWER_JSON, ANSWER_PRETTY_JSON, ANSWER_YAML };

struct answer_type {
    enum answer_form form;
    enum answer_text text;
    const char *meta_version; /* "meta.k8s.io/v1": of a Table or PartialObjectMetadata */
};

/* The best of ACCEPT that can be served; an empty one takes JSON.  ERR_NOT_ACCEPTABLE.  A watch
 * cannot be YAML. */
must_check int negotiate(struct bytes accept, bool is_watch, struct answer_type *out,
                         struct error *err);

/* Whether the client takes a packed answer. */
bool negotiate_gzip(struct bytes accept_encoding);
/* JSON is indented for who asks for it (?pretty=true) and for programs in front of which people
 * sit, unless they ask otherwise. */
bool negotiate_pretty(struct bytes query, const char *user_agent, struct arena *a);
