/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest_storage.h - how each kind behaves: the row that the verbs ask instead of naming kinds.
 *
 * Threads: any; constant.
 */
#pragma once

#include "api/client.h"
#include "apiserver/strategy.h"
#include "apiserver/validate_rules.h"

/* When metadata.generation counts up.  Content is everything but metadata and status. */
enum generation_rule {
    GENERATION_NONE,
    GENERATION_CONTENT,             /* 1 at create, +1 when the content changes */
    GENERATION_CONTENT_ANNOTATIONS, /* ... or annotations */
    GENERATION_CONTENT_LABELS,      /* ... or labels */
    GENERATION_CREATE,              /* 1 at create */
    GENERATION_UPDATE,              /* unset at create, +1 when the content changes */
};

enum name_rule {
    NAME_DNS_SUBDOMAIN,
    NAME_DNS_LABEL,    /* RFC 1123 */
    NAME_PATH_SEGMENT, /* anything that can be a part of a URL's path */
};

/* What an update of the status subresource leaves as it was, besides the content. */
enum status_rule {
    STATUS_TAKES_METADATA,
    STATUS_KEEPS_LABELS,
    STATUS_KEEPS_OWNERS,
    STATUS_KEEPS_METADATA
};

/* A subresource other than status by which the object is updated, and what is particular to it. */
struct part_strategy {
    const char *subresource;
    const struct strategy *strategy;
};

struct rest_storage {
    const struct strategy *strategy;   /* NULL: generic */
    const struct strategy *status;     /* of the status subresource; NULL: generic */
    const struct part_strategy *parts; /* ends with an empty row; NULL: none */
    const struct rule *rules;        /* of the object, checked before the strategy's; NULL: none */
    const struct rule *status_rules; /* of an update of the status */
    enum generation_rule generation;
    enum name_rule name;
    enum status_rule status_update;
    enum propagation propagation; /* of a delete that names none */
    bool creates_on_update;
    bool needs_resource_version; /* an update without one is Invalid */
    bool returns_deleted;        /* a delete answers the object, not a Status */
    int64_t ttl_s;               /* 0: kept until deleted */
};

/* The strategy of the object ("") or of its subresource; NULL: generic. */
const struct strategy *rest_storage_strategy(const struct rest_storage *row,
                                             const char *subresource);
/* The row of R's stored version. */
const struct rest_storage *rest_storage_of(const struct resource *r);
bool resource_has_status(const struct resource *r);
