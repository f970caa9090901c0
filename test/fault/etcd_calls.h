/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_calls.h - etcd's API as the fault tests use it, and what can come of a call.
 *
 * Threads: any; a call blocks.
 */
#pragma once

#include "base/grpc.h"
#include "storage/etcd.pb-c.h"

enum outcome {
    OUTCOME_DONE,
    OUTCOME_FAILED,  /* the server says that nothing was done */
    OUTCOME_UNKNOWN, /* the server is gone: it may have been done */
};

/* The answer lies in ARENA.  *STATUS, unless it is NULL, is etcd's code. */
enum outcome etcd_call(struct grpc_channel *channel, const char *method,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                       struct arena *arena, void *answer, enum grpc_status *status);

struct bytes etcd_pack(const void *message, struct arena *arena);
void *etcd_unpack(const ProtobufCMessageDescriptor *type, struct bytes data, struct arena *arena);

static inline ProtobufCBinaryData etcd_text(const char *text)
{
    return (ProtobufCBinaryData){ strlen(text), (uint8_t *)(uintptr_t)text };
}
static inline struct bytes etcd_data(ProtobufCBinaryData b)
{
    return (struct bytes){ (const char *)b.data, b.len };
}
