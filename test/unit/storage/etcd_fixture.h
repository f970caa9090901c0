/* SPDX-License-Identifier: Apache-2.0 */
/* etcd_fixture.h - a store served over a unix socket, and a client of it. */
#pragma once

#include "base/grpc.h"
#include "storage/etcd.pb-c.h"
#include "test/unit/storage/fixture.h"

struct served {
    struct fixture *f;
    struct storage_etcd_server *server;
    struct grpc_channel *channel;
    enum grpc_status status; /* of the last call */
    char message[256];
};

static inline int serve(void **state)
{
    struct served *s = xcalloc(1, sizeof(*s));
    struct error err = { 0 };
    setup((void **)&s->f);
    scoped(str) char *address = xasprintf("unix:%s/socket", s->f->dir);
    struct storage_etcd_config config = {
        .storage = s->f->s,
        .bind_address = address,
        .scratch_dir = s->f->dir,
        .progress_notify_interval_ms = 50,
        .snapshot_stall_ms = 500,
    };
    s->server = storage_etcd_start(&config, &err);
    if (!s->server)
        fail_msg("%s", err.message);
    s->channel = grpc_channel_new(address, NULL, &err);
    assert_non_null(s->channel);
    *state = s;
    return 0;
}

static inline int unserve(void **state)
{
    struct served *s = *state;
    grpc_channel_free(s->channel);
    storage_etcd_stop(s->server);
    teardown((void **)&s->f);
    free(s);
    return 0;
}

static inline struct bytes pack(struct served *s, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *data = arena_alloc(s->f->arena, len + 1);
    protobuf_c_message_pack(m, data);
    return (struct bytes){ (char *)data, len };
}

/* free_unpacked() is the caller's; NULL: see status and message. */
static inline void *unary(struct served *s, const char *method, const ProtobufCMessage *request,
                          const ProtobufCMessageDescriptor *response)
{
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    struct bytes out;
    s->status = GRPC_OK;
    if (grpc_unary(s->channel, method, pack(s, request), &options, s->f->arena, &out, &s->status,
                   &err) < 0) {
        snprintf(s->message, sizeof(s->message), "%.255s", err.message);
        return NULL;
    }
    return protobuf_c_message_unpack(response, NULL, out.len, (const uint8_t *)out.data);
}

static inline ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){ strlen(text), (uint8_t *)(uintptr_t)text };
}

static inline void assert_refused(const struct served *s, const void *response,
                                  enum grpc_status status, const char *message)
{
    assert_null(response);
    assert_int_equal(s->status, status);
    assert_non_null(strstr(s->message, message));
}
