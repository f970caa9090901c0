/* SPDX-License-Identifier: Apache-2.0 */
/* cri_client.c - the connection to the runtime, and what every CRI call shares. */
#include "kubelet/cri_wire.h"

#include <pthread.h>

#include "kubelet/cri.pb-c.h"

struct long_call { /* on the stack of the caller that waits */
    struct long_call *next;
    struct grpc_stream *stream;
};

struct cri_client {
    struct grpc_channel *channel;
    atomic_bool is_interrupted;
    pthread_mutex_t lock; /* guards what follows */
    struct long_call *longs;
};

struct cri_client *cri_client_new(const char *endpoint, struct error *err)
{
    struct grpc_channel *channel = grpc_channel_new(endpoint, NULL, err);
    if (!channel)
        return NULL;
    struct cri_client *c = xcalloc(1, sizeof(*c));
    c->channel = channel;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void cri_client_free(struct cri_client *c)
{
    if (!c)
        return;
    grpc_channel_free(c->channel);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void cri_pairs_add(struct cri_pairs *p, struct arena *a, const char *name, const char *value)
{
    p->items = arena_grow(a, p->items, p->n, &p->capacity, sizeof(*p->items));
    p->items[p->n++] = (struct cri_pair){ arena_strdup(a, name), arena_strdup(a, value) };
}

const char *cri_pairs_get(const struct cri_pairs *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_equal(p->items[i].name, name))
            return p->items[i].value;
    return NULL;
}

void cri_strings_add(struct cri_strings *s, struct arena *a, const char *text)
{
    s->items = arena_grow(a, s->items, s->n, &s->capacity, sizeof(*s->items));
    s->items[s->n++] = arena_strdup(a, text);
}

static void *allocate(void *a, size_t bytes)
{
    return arena_alloc(a, bytes ? bytes : 1);
}

static void free_nothing(void *a, void *p)
{
    (void)a;
    (void)p;
}

ProtobufCMessage *cri_unpack(const ProtobufCMessageDescriptor *type, struct bytes data,
                             struct arena *a)
{
    ProtobufCAllocator allocator = { allocate, free_nothing, a };
    return protobuf_c_message_unpack(type, &allocator, data.len, (const uint8_t *)data.data);
}

struct bytes cri_pack(const ProtobufCMessage *m, struct arena *a)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *data = arena_alloc(a, len + 1);
    protobuf_c_message_pack(m, data);
    return (struct bytes){ (const char *)data, len };
}

void cri_client_interrupt(struct cri_client *c)
{
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->is_interrupted, true);
    for (struct long_call *l = c->longs; l; l = l->next)
        grpc_stream_cancel(l->stream);
    pthread_mutex_unlock(&c->lock);
}

bool cri_client_is_interrupted(struct cri_client *c)
{
    return c && atomic_load(&c->is_interrupted);
}

static int exchange(struct grpc_stream *stream, struct bytes request, struct arena *a,
                    struct bytes *answer, struct error *err)
{
    if (grpc_stream_send(stream, request, err) < 0)
        return -1;
    grpc_stream_end_send(stream);
    int n = grpc_stream_receive(stream, a, answer, err);
    if (n == 0)
        return error_set(err, ERR_INTERNAL, "the runtime answered nothing");
    return n < 0 ? -1 : 0;
}

/* A call that may last as long as a grace period or a download, and that an interrupt ends. */
static int call_long(struct cri_client *c, const char *path, struct bytes request,
                     const struct grpc_call_options *options, struct arena *a, struct bytes *answer,
                     enum grpc_status *status, struct error *err)
{
    struct long_call l = { .stream = grpc_stream_open(c->channel, path, options, err) };
    if (!l.stream)
        return -1;
    pthread_mutex_lock(&c->lock);
    l.next = c->longs;
    c->longs = &l;
    if (atomic_load(&c->is_interrupted))
        grpc_stream_cancel(l.stream);
    pthread_mutex_unlock(&c->lock);

    int rc = exchange(l.stream, request, a, answer, err);
    *status = grpc_stream_status(l.stream);

    pthread_mutex_lock(&c->lock);
    struct long_call **at = &c->longs;
    while (*at != &l)
        at = &(*at)->next;
    *at = l.next;
    pthread_mutex_unlock(&c->lock);
    grpc_stream_close(l.stream);
    return rc;
}

static const char rpc_error[] = "rpc error: code = ", rpc_description[] = " desc = ";

static void name_status(struct error *err, enum grpc_status status)
{
    struct error named = { .code = err->code };
    snprintf(named.message, sizeof(named.message), "%s%s%s%.*s", rpc_error,
             grpc_status_name(status), rpc_description, (int)sizeof(named.message) - 64,
             err->message);
    *err = named;
}

const char *cri_error_message(const struct error *err)
{
    const char *text =
        str_has_prefix(err->message, rpc_error) ? strstr(err->message, rpc_description) : NULL;
    return text ? text + strlen(rpc_description) : err->message;
}

int cri_call(struct cri_client *c, const char *method, const ProtobufCMessage *request,
             int timeout_ms, const ProtobufCMessageDescriptor *response_type, struct arena *a,
             void *response, struct error *err)
{
    static const char *const longs[] = { "RuntimeService/StopContainer", "RuntimeService/ExecSync",
                                         "ImageService/PullImage" };
    scoped(arena) struct arena *own = a ? NULL : arena_new();
    struct arena *arena = a ? a : own;
    char path[96];
    snprintf(path, sizeof(path), "/runtime.v1.%s", method);
    bool is_long = false;
    for (size_t i = 0; i < ARRAY_LEN(longs); i++)
        is_long |= str_equal(method, longs[i]);

    struct bytes packed = cri_pack(request, arena), answer;
    enum grpc_status status = GRPC_OK;
    struct grpc_call_options options = { .timeout_ms = timeout_ms };
    int rc = is_long ? call_long(c, path, packed, &options, arena, &answer, &status, err)
                     : grpc_unary(c->channel, path, packed, &options, arena, &answer, &status, err);
    if (rc < 0) {
        if (status == GRPC_NOT_FOUND)
            err->code = ERR_NOT_FOUND;
        else if (status == GRPC_DEADLINE_EXCEEDED)
            err->code = ERR_TIMEOUT;
        if (status != GRPC_OK)
            name_status(err, status);
        return -1;
    }
    if (!response)
        return 0;
    ProtobufCMessage *m = cri_unpack(response_type, answer, arena);
    if (!m)
        return error_set(err, ERR_INTERNAL, "%s: malformed answer", method);
    *(ProtobufCMessage **)response = m;
    return 0;
}

void *cri_map_new(const struct cri_pairs *pairs, const ProtobufCMessageDescriptor *entry_type,
                  struct arena *a)
{
    struct cri_map_entry **entries = arena_alloc(a, (pairs->n + 1) * sizeof(*entries));
    for (size_t i = 0; i < pairs->n; i++) {
        entries[i] = arena_zalloc(a, sizeof(**entries));
        protobuf_c_message_init(entry_type, entries[i]);
        entries[i]->key = (char *)pairs->items[i].name;
        entries[i]->value = (char *)pairs->items[i].value;
    }
    return entries;
}

void cri_map_read(void *entries, size_t n, struct arena *a, struct cri_pairs *out)
{
    struct cri_map_entry **items = entries;
    for (size_t i = 0; i < n; i++)
        cri_pairs_add(out, a, items[i]->key, items[i]->value);
}

void *cri_int64_value(int64_t v, struct arena *a)
{
    Cri__Int64Value *value = arena_alloc(a, sizeof(*value));
    cri__int64_value__init(value);
    value->value = v;
    return value;
}

void *cri_profile(const struct cri_security_profile *p, struct arena *a)
{
    if (!p)
        return NULL;
    Cri__SecurityProfile *wire = arena_alloc(a, sizeof(*wire));
    cri__security_profile__init(wire);
    wire->profile_type = (Cri__SecurityProfile__ProfileType)p->type;
    if (p->localhost_ref)
        wire->localhost_ref = (char *)p->localhost_ref;
    return wire;
}

int cri_version(struct cri_client *c, struct arena *a, struct cri_version *out, struct error *err)
{
    Cri__VersionRequest request = CRI__VERSION_REQUEST__INIT;
    request.version = (char *)"v1";
    Cri__VersionResponse *response;
    if (cri_call(c, "RuntimeService/Version", &request.base, 5000,
                 &cri__version_response__descriptor, a, &response, err) < 0)
        return -1;
    out->runtime_name = response->runtime_name;
    out->runtime_version = response->runtime_version;
    return 0;
}

int cri_status(struct cri_client *c, struct arena *a, struct cri_status *out, struct error *err)
{
    Cri__StatusRequest request = CRI__STATUS_REQUEST__INIT;
    Cri__StatusResponse *response;
    if (cri_call(c, "RuntimeService/Status", &request.base, 10000,
                 &cri__status_response__descriptor, a, &response, err) < 0)
        return -1;
    *out = (struct cri_status){ 0 };
    for (size_t i = 0; response->status && i < response->status->n_conditions; i++) {
        const Cri__RuntimeCondition *condition = response->status->conditions[i];
        if (str_equal(condition->type, "RuntimeReady")) {
            out->is_runtime_ready = condition->status;
            out->runtime_reason = condition->reason;
            out->runtime_message = condition->message;
        } else if (str_equal(condition->type, "NetworkReady")) {
            out->is_network_ready = condition->status;
            out->network_reason = condition->reason;
            out->network_message = condition->message;
        }
    }
    return 0;
}
