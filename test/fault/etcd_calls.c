/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_calls.c - packing, calling, and telling "failed" from "unknown". */
#include "test/fault/etcd_calls.h"

struct bytes etcd_pack(const void *message, struct arena *arena)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *data = arena_alloc(arena, len + 1);
    protobuf_c_message_pack(message, data);
    return (struct bytes){ (char *)data, len };
}

static void *allocate(void *arena, size_t bytes)
{
    return arena_alloc(arena, bytes);
}

static void keep(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

void *etcd_unpack(const ProtobufCMessageDescriptor *type, struct bytes data, struct arena *arena)
{
    ProtobufCAllocator allocator = { allocate, keep, arena };
    return protobuf_c_message_unpack(type, &allocator, data.len, (const uint8_t *)data.data);
}

/* Only what the server itself says can be believed, not what breaks on the way. */
static bool is_refusal(enum grpc_status status, const struct error *err)
{
    return status != GRPC_OK && status != GRPC_UNAVAILABLE && status != GRPC_CANCELLED &&
           strstr(err->message, "etcdserver: ");
}

enum outcome etcd_call(struct grpc_channel *channel, const char *method,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                       struct arena *arena, void *answer, enum grpc_status *status)
{
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    struct bytes out;
    enum grpc_status code = GRPC_UNAVAILABLE;
    int rc =
        grpc_unary(channel, method, etcd_pack(request, arena), &options, arena, &out, &code, &err);
    if (status)
        *status = code;
    if (rc < 0)
        return is_refusal(code, &err) ? OUTCOME_FAILED : OUTCOME_UNKNOWN;
    void *message = etcd_unpack(response, out, arena);
    if (!message)
        return OUTCOME_UNKNOWN;
    memcpy(answer, &message, sizeof(message));
    return OUTCOME_DONE;
}
