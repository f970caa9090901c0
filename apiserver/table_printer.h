/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_printer.h - objects as rows of a meta.k8s.io Table: what `kubectl get` shows.
 *
 * Threads: any.
 */
#pragma once

#include "api/object.h"

enum table_include { TABLE_INCLUDE_METADATA, TABLE_INCLUDE_NONE, TABLE_INCLUDE_OBJECT };

/* The value of columnDefinitions. */
void table_print_columns(const struct resource *r, struct buffer *out);
/* One row: {"cells":[...],"object":{...}}. */
void table_print_row(const struct object *o, enum table_include include, int64_t now_ns,
                     struct buffer *out);
/* PartialObjectMetadata of O, as JSON text; API_VERSION "meta.k8s.io/v1". */
void partial_metadata_print(const struct object *o, const char *api_version, struct buffer *out);
