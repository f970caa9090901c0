/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_gnostic.c - the OpenAPI v2 document in the protobuf form that kubectl up to 1.28 asks for
 * (openapi.v2.Document).  Alternatives are messages of their own there; each path of numbers
 * below is the way through them. */
#include "apiserver/openapi_document.h"
#include "base/varint.h"

/* ---- protobuf ---- */

static void put_bytes(struct buffer *out, unsigned field, struct bytes v)
{
    varint_add(out, field << 3 | 2);
    varint_add(out, v.len);
    buffer_add(out, v.data, v.len);
}

static void put_string(struct buffer *out, unsigned field, const char *s)
{
    if (!str_empty(s))
        put_bytes(out, field, bytes_of(s));
}

static void put_true(struct buffer *out, unsigned field, bool v)
{
    if (!v)
        return;
    varint_add(out, field << 3);
    varint_add(out, 1);
}

typedef void encode_fn(const struct json *v, struct buffer *out);

/* V as a message in FIELD, inside the messages that WRAP names from the outside in (0 ends it). */
static void put_message(struct buffer *out, unsigned field, const uint8_t *wrap, encode_fn *encode,
                        const struct json *v)
{
    scoped(buffer) struct buffer inner = { 0 };
    if (wrap && *wrap)
        put_message(&inner, *wrap, wrap + 1, encode, v);
    else
        encode(v, &inner);
    put_bytes(out, field, inner.len ? buffer_bytes(&inner) : BYTES(""));
}

/* Members of an object as (name = 1, value = 2) pairs in FIELD. */
static void put_named(struct buffer *out, unsigned field, const uint8_t *wrap, encode_fn *encode,
                      const struct json *object)
{
    json_each_member (object, m) {
        scoped(buffer) struct buffer pair = { 0 };
        put_string(&pair, 1, m->name);
        put_message(&pair, 2, wrap, encode, &m->value);
        put_bytes(out, field, buffer_bytes(&pair));
    }
}

static void put_strings(struct buffer *out, unsigned field, const struct json *list)
{
    json_each_item (list, item) {
        if (json_text(item))
            put_bytes(out, field, bytes_of(json_text(item)));
    }
}

/* Any: YAML text, and JSON is YAML. */
static void encode_any(const struct json *v, struct buffer *out)
{
    scoped(buffer) struct buffer text = { 0 };
    json_print(v, &text);
    put_bytes(out, 2, buffer_bytes(&text));
}

static void put_extensions(struct buffer *out, unsigned field, const struct json *object)
{
    json_each_member (object, m) {
        if (!str_has_prefix(m->name, "x-"))
            continue;
        scoped(buffer) struct buffer pair = { 0 };
        put_string(&pair, 1, m->name);
        put_message(&pair, 2, NULL, encode_any, &m->value);
        put_bytes(out, field, buffer_bytes(&pair));
    }
}

/* ---- the document's parts ---- */

static const uint8_t one[] = { 1, 0 };

static void encode_type(const struct json *v, struct buffer *out)
{
    put_string(out, 1, json_text(v));
}

static void encode_schema(const struct json *v, struct buffer *out);

static void encode_properties(const struct json *v, struct buffer *out)
{
    put_named(out, 1, NULL, encode_schema, v);
}

static void encode_schema(const struct json *v, struct buffer *out)
{
    put_string(out, 1, json_str(v, "$ref", ""));
    put_string(out, 2, json_str(v, "format", ""));
    put_string(out, 4, json_str(v, "description", ""));
    if (json_get(v, "default"))
        put_message(out, 5, NULL, encode_any, json_get(v, "default"));
    put_strings(out, 19, json_get(v, "required"));
    if (json_get(v, "additionalProperties"))
        put_message(out, 21, one, encode_schema, json_get(v, "additionalProperties"));
    if (json_get(v, "type"))
        put_message(out, 22, NULL, encode_type, json_get(v, "type"));
    if (json_get(v, "items"))
        put_message(out, 23, one, encode_schema, json_get(v, "items"));
    if (json_get(v, "properties"))
        put_message(out, 25, NULL, encode_properties, json_get(v, "properties"));
    put_extensions(out, 31, v);
}

static void encode_body_parameter(const struct json *v, struct buffer *out)
{
    put_string(out, 1, json_str(v, "description", ""));
    put_string(out, 2, json_str(v, "name", ""));
    put_string(out, 3, json_str(v, "in", ""));
    put_true(out, 4, json_bool(v, "required", false));
    if (json_get(v, "schema"))
        put_message(out, 5, NULL, encode_schema, json_get(v, "schema"));
}

static void encode_query_parameter(const struct json *v, struct buffer *out)
{
    put_string(out, 2, json_str(v, "in", ""));
    put_string(out, 3, json_str(v, "description", ""));
    put_string(out, 4, json_str(v, "name", ""));
    put_string(out, 6, json_str(v, "type", ""));
    put_true(out, 20, json_bool(v, "uniqueItems", false));
}

static void encode_path_parameter(const struct json *v, struct buffer *out)
{
    put_true(out, 1, json_bool(v, "required", false));
    put_string(out, 2, json_str(v, "in", ""));
    put_string(out, 3, json_str(v, "description", ""));
    put_string(out, 4, json_str(v, "name", ""));
    put_string(out, 5, json_str(v, "type", ""));
    put_true(out, 19, json_bool(v, "uniqueItems", false));
}

static void put_parameters(struct buffer *out, unsigned field, const struct json *list)
{
    static const struct {
        const char *in;
        uint8_t wrap[4];
        encode_fn *encode;
    } forms[] = { { "body", { 1, 1, 0 }, encode_body_parameter },
                  { "query", { 1, 2, 3, 0 }, encode_query_parameter },
                  { "path", { 1, 2, 4, 0 }, encode_path_parameter } };
    json_each_item (list, p) {
        for (size_t i = 0; i < ARRAY_LEN(forms); i++)
            if (str_equal(json_str(p, "in", ""), forms[i].in))
                put_message(out, field, forms[i].wrap, forms[i].encode, p);
    }
}

static void encode_response(const struct json *v, struct buffer *out)
{
    put_string(out, 1, json_str(v, "description", ""));
    if (json_get(v, "schema"))
        put_message(out, 2, one, encode_schema, json_get(v, "schema"));
}

static void encode_responses(const struct json *v, struct buffer *out)
{
    put_named(out, 1, one, encode_response, v);
}

static void encode_operation(const struct json *v, struct buffer *out)
{
    put_strings(out, 1, json_get(v, "tags"));
    put_string(out, 3, json_str(v, "description", ""));
    put_string(out, 5, json_str(v, "operationId", ""));
    put_strings(out, 6, json_get(v, "produces"));
    put_strings(out, 7, json_get(v, "consumes"));
    put_parameters(out, 8, json_get(v, "parameters"));
    put_message(out, 9, NULL, encode_responses, json_get(v, "responses"));
    put_strings(out, 10, json_get(v, "schemes"));
    put_extensions(out, 13, v);
}

static void encode_path(const struct json *v, struct buffer *out)
{
    static const struct {
        unsigned field;
        const char *method;
    } methods[] = { { 2, "get" }, { 3, "put" }, { 4, "post" }, { 5, "delete" }, { 8, "patch" } };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (json_get(v, methods[i].method))
            put_message(out, methods[i].field, NULL, encode_operation,
                        json_get(v, methods[i].method));
    put_parameters(out, 9, json_get(v, "parameters"));
}

static void encode_paths(const struct json *v, struct buffer *out)
{
    put_named(out, 2, NULL, encode_path, v);
}

static void encode_info(const struct json *v, struct buffer *out)
{
    put_string(out, 1, json_str(v, "title", ""));
    put_string(out, 2, json_str(v, "version", ""));
}

void openapi_encode_gnostic(const struct json *v2, struct buffer *out)
{
    put_string(out, 1, json_str(v2, "swagger", ""));
    put_message(out, 2, NULL, encode_info, json_get(v2, "info"));
    put_message(out, 8, NULL, encode_paths, json_get(v2, "paths"));
    put_message(out, 9, NULL, encode_properties, json_get(v2, "definitions"));
}
