/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf.h - Kubernetes' protobuf form of objects: one interpreter over the schema's tables.
 *
 *     "k8s\0"  Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: the message, 3: "", 4: "" }
 *
 * (apimachinery/pkg/runtime/serializer/protobuf).  Fields are written in ascending order; a field
 * that is no pointer in Go is written even when it is zero.
 *
 * Threads: any.
 */
#pragma once

#include "api/schema.h"

#define PROTOBUF_MEDIA_TYPE "application/vnd.kubernetes.protobuf"

/* The document in an envelope, as JSON would have said it: to be shaped by schema_shape() like any
 * other body.  TYPE and KIND are what the caller expects; an envelope that names another kind gives
 * a document with its apiVersion and kind alone, for the caller to refuse.  ERR_BAD_REQUEST: not an
 * envelope, or damaged. */
must_check struct json *protobuf_decode(const struct schema_type *type, const char *kind,
                                        struct bytes data, struct arena *arena, struct error *err);

/* The document as an envelope.  DOC may have been completed (schema_complete) or not: both give the
 * same bytes. */
void protobuf_encode(const struct schema_type *type, const struct json *doc, struct buffer *out);
