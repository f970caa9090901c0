/* SPDX-License-Identifier: Apache-2.0 */
/* patch_merge.c - JSON Merge Patch (RFC 7386). */
#include "api/patch.h"

#include "base/hashmap.h"

#define SCAN_MAX 32 /* members up to which a name is searched one by one */

/* The members of an object by name; a map is made for large ones only. */
struct index {
    const struct json *object;
    struct hashmap map;
};

static void index_init(struct index *i, const struct json *object)
{
    *i = (struct index){ .object = object };
    if (json_is(object, JSON_OBJECT) && object->len > SCAN_MAX)
        json_each_member (object, m)
            hashmap_put(&i->map, bytes_of(m->name), (void *)&m->value);
}

static const struct json *index_get(const struct index *i, const char *name)
{
    return i->map.n ? hashmap_get(&i->map, bytes_of(name)) : json_get(i->object, name);
}

static void index_deinit(struct index *i)
{
    hashmap_deinit(&i->map);
}

/* DOC's members come first and keep their order; what only the patch has follows.  DOC may be NULL.
 * The result shares nothing with either, since callers go on to change it. */
static struct json merge_value(const struct json *doc, const struct json *patch, struct arena *a)
{
    if (patch->type != JSON_OBJECT)
        return json_clone_value(patch, a);
    struct index in_doc, in_patch;
    index_init(&in_doc, doc);
    index_init(&in_patch, patch);
    size_t room = patch->len + (json_is(doc, JSON_OBJECT) ? doc->len : 0);
    struct json out = { .type = JSON_OBJECT };
    out.members = room ? arena_alloc(a, room * sizeof(*out.members)) : NULL;
    json_each_member (doc, m) {
        const struct json *change = index_get(&in_patch, m->name);
        if (json_is(change, JSON_NULL))
            continue;
        out.members[out.len++] = (struct json_member){
            arena_strdup(a, m->name),
            change ? merge_value(&m->value, change, a) : json_clone_value(&m->value, a),
        };
    }
    json_each_member (patch, m) {
        if (m->value.type != JSON_NULL && !index_get(&in_doc, m->name))
            out.members[out.len++] =
                (struct json_member){ arena_strdup(a, m->name), merge_value(NULL, &m->value, a) };
    }
    index_deinit(&in_doc);
    index_deinit(&in_patch);
    return out;
}

struct json *patch_merge(const struct json *doc, const struct json *patch, struct arena *a)
{
    struct json *result = arena_alloc(a, sizeof(*result));
    *result = merge_value(doc, patch, a);
    return result;
}
