/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf_fuzz.c - any bytes as a body in Kubernetes' protobuf form: what decodes and fits its
 * kind can be printed. */
#include "api/protobuf.h"
#include "api/resource.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    if (size == 0)
        return 0;
    const struct resource *r = &resources[data[0] % RESOURCES];
    struct bytes body = { (const char *)data + 1, size - 1 };
    struct json *v = protobuf_decode(r->type, r->kind, body, a, &err);
    if (!v || schema_shape(r->type, v, a, NULL, &err) < 0) {
        ensure(err.code == ERR_BAD_REQUEST || err.code == ERR_UNSUPPORTED_MEDIA_TYPE);
        return 0;
    }
    struct buffer text = { 0 };
    json_print(v, &text);
    buffer_free(&text);
    return 0;
}
