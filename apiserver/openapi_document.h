/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi_document.h - writers of OpenAPI documents from the tables.
 *
 * Threads: any.
 */
#pragma once

#include "api/resource.h"

enum openapi_version { OPENAPI_V2, OPENAPI_V3 };

/* Where a document's types are: "#/definitions/" or "#/components/schemas/". */
const char *openapi_ref_prefix(enum openapi_version v);

/* Which types a document needs, by index into schema_types. */
struct openapi_types {
    bool *used; /* schema_types_n */
};
void openapi_types_init(struct openapi_types *t);
void openapi_types_deinit(struct openapi_types *t);
/* TYPE (NULL is fine) and everything below it. */
void openapi_types_use(struct openapi_types *t, const struct schema_type *type);
/* A type of another type's package: the list of a kind, Status; NULL if there is none. */
const struct schema_type *openapi_list_type(const struct resource *r);
const struct schema_type *openapi_meta_type(const char *name); /* "Status" */

/* The members of an object that names types: "NAME":{...},... sorted. */
void openapi_print_types(enum openapi_version v, const struct openapi_types *t, struct buffer *out);

/* The members of "paths" for every resource of a group version; the types that they mention are
 * marked in TYPES. */
void openapi_print_paths(enum openapi_version v, const struct api_group_version *gv,
                         struct openapi_types *types, struct buffer *out);

/* The protobuf form of a v2 document. */
void openapi_encode_gnostic(const struct json *v2, struct buffer *out);

/* Puts a comma unless OUT is at the start of an object or array. */
void openapi_comma(struct buffer *out);
