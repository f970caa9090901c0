/* SPDX-License-Identifier: Apache-2.0 */
/* strategy_secret.c - stringData becomes data, a type stays. */

#include "apiserver/strategies.h"
#include "apiserver/validate_kinds.h"
#include "base/crypto.h"

/* Write-only text wins over data of the same name. */
static void take_string_data(struct draft *d)
{
    const struct json *text = json_get(d->doc, "stringData");
    if (json_is(text, JSON_OBJECT)) {
        struct json *data = json_make(d->arena, d->doc, "data");
        json_each_member (text, m) {
            struct bytes raw = { m->value.string, m->value.len };
            if (m->value.type != JSON_STRING)
                continue;
            json_set(d->arena, data, m->name,
                     json_string_value(d->arena, base64_encode(raw, d->arena)));
        }
    }
    json_remove(d->doc, "stringData");
}

static int prepare_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    take_string_data(new);
    return 0;
}

static int prepare_update(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err)
{
    (void)c;
    (void)err;
    take_string_data(new);
    if (str_empty(json_str(new->doc, "type", "")))
        json_put_str(new->arena, new->doc, "type", json_str(old->doc, "type", "Opaque"));
    return 0;
}

const struct strategy secret_strategy = {
    .prepare_create = prepare_create,
    .prepare_update = prepare_update,
    .validate = validate_secret,
    .validate_update = validate_secret_update,
};
