/* SPDX-License-Identifier: Apache-2.0 */
/* authz_rbac.c - role-based access: roles and bindings in memory, found by who is asking. */
#include "apiserver/authz_rbac.h"

#include <pthread.h>

#include "base/hashmap.h"

/* Objects are kept, so their strings are borrowed; KEY is what the map's key points to. */
struct role {
    struct object *object;
    char key[KEY_TEXT_BYTES_MAX]; /* "ns/name" or "name" */
};

struct binding {
    struct object *object;
    char key[KEY_TEXT_BYTES_MAX];
    char role_key[KEY_TEXT_BYTES_MAX];
};

struct subject {
    char *name;
    struct binding **bindings;
    size_t n, capacity;
};

struct rbac {
    pthread_rwlock_t lock;            /* a leaf of the lock order; guards all below */
    struct hashmap roles;             /* key -> struct role * */
    struct hashmap bindings;          /* key -> struct binding * */
    struct hashmap by_user, by_group; /* name -> struct subject * */
};

struct rbac *rbac_new(void)
{
    struct rbac *b = xcalloc(1, sizeof(*b));
    pthread_rwlock_init(&b->lock, NULL);
    return b;
}

static void binding_free(struct binding *binding)
{
    object_unref(binding->object);
    free(binding);
}

static void free_subjects(struct hashmap *m)
{
    hashmap_each (m, e) {
        struct subject *s = e->value;
        free(s->name);
        free(s->bindings);
        free(s);
    }
    hashmap_deinit(m);
}

static void role_free(struct role *role)
{
    object_unref(role->object);
    free(role);
}

void rbac_free(struct rbac *b)
{
    if (!b)
        return;
    hashmap_each (&b->roles, e)
        role_free(e->value);
    hashmap_each (&b->bindings, e)
        binding_free(e->value);
    hashmap_deinit(&b->roles);
    hashmap_deinit(&b->bindings);
    free_subjects(&b->by_user);
    free_subjects(&b->by_group);
    pthread_rwlock_destroy(&b->lock);
    free(b);
}

/* ---- keeping current ---- */

void rbac_role_changed(const struct object *old, const struct object *new, void *rbac)
{
    struct rbac *b = rbac;
    struct role *role = NULL;
    char text[KEY_TEXT_BYTES_MAX];
    if (new) {
        role = xcalloc(1, sizeof(*role));
        role->object = object_ref(new);
        object_key_text(&new->key, role->key);
    }
    pthread_rwlock_wrlock(&b->lock);
    struct role *before =
        hashmap_remove(&b->roles, object_key_text(old ? &old->key : &new->key, text));
    if (role)
        hashmap_put(&b->roles, bytes_of(role->key), role);
    pthread_rwlock_unlock(&b->lock);
    if (before)
        role_free(before);
}

/* Where SUBJECT of a binding in NS is found: the map, and its name there (free it).  NULL for kinds
 * that are not known. */
static char *subject_place(struct rbac *b, const struct json *subject, const char *ns,
                           struct hashmap **map)
{
    const char *kind = json_str(subject, "kind", "");
    const char *name = json_str(subject, "name", "");
    *map = str_equal(kind, "Group") ? &b->by_group : &b->by_user;
    if (str_equal(kind, "ServiceAccount"))
        return xasprintf("system:serviceaccount:%s:%s", json_str(subject, "namespace", ns), name);
    return str_equal(kind, "User") || str_equal(kind, "Group") ? xstrdup(name) : NULL;
}

static void subject_add(struct hashmap *map, const char *name, struct binding *binding)
{
    struct subject *s = hashmap_get(map, bytes_of(name));
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        s->name = xstrdup(name);
        hashmap_put(map, bytes_of(s->name), s);
    }
    s->bindings = xgrow(s->bindings, s->n, &s->capacity, sizeof(s->bindings[0]));
    s->bindings[s->n++] = binding;
}

static void subject_remove(struct hashmap *map, const char *name, struct binding *binding)
{
    struct subject *s = hashmap_get(map, bytes_of(name));
    if (!s)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->bindings[i] != binding)
            s->bindings[kept++] = s->bindings[i];
    s->n = kept;
    if (s->n)
        return;
    hashmap_remove(map, bytes_of(name));
    free(s->name);
    free(s->bindings);
    free(s);
}

typedef void subject_fn(struct hashmap *map, const char *name, struct binding *binding);

static void each_subject(struct rbac *b, struct binding *binding, subject_fn *fn)
{
    json_each_item (json_get(binding->object->doc, "subjects"), subject) {
        struct hashmap *map;
        scoped(str) char *name = subject_place(b, subject, binding->object->key.ns, &map);
        if (name)
            fn(map, name, binding);
    }
}

static struct binding *binding_new(const struct object *o)
{
    struct binding *binding = xcalloc(1, sizeof(*binding));
    binding->object = object_ref(o);
    object_key_text(&o->key, binding->key);
    bool is_role = str_equal(json_str(o->doc, "roleRef.kind", ""), "Role");
    struct object_key role = { is_role ? o->key.ns : "", json_str(o->doc, "roleRef.name", "") };
    object_key_text(&role, binding->role_key);
    return binding;
}

void rbac_binding_changed(const struct object *old, const struct object *new, void *rbac)
{
    struct rbac *b = rbac;
    struct binding *after = new ? binding_new(new) : NULL;
    char text[KEY_TEXT_BYTES_MAX];
    pthread_rwlock_wrlock(&b->lock);
    struct binding *before =
        hashmap_remove(&b->bindings, object_key_text(old ? &old->key : &new->key, text));
    if (before)
        each_subject(b, before, subject_remove);
    if (after) {
        hashmap_put(&b->bindings, bytes_of(after->key), after);
        each_subject(b, after, subject_add);
    }
    pthread_rwlock_unlock(&b->lock);
    if (before)
        binding_free(before);
}

/* ---- deciding ---- */

static bool list_has(const struct json *list, const char *word)
{
    json_each_item (list, item) {
        const char *text = json_text(item);
        if (text && (strcmp(text, word) == 0 || strcmp(text, "*") == 0))
            return true;
    }
    return false;
}

static bool resource_matches(const struct json *list, const char *resource, const char *subresource)
{
    size_t n = strlen(resource);
    json_each_item (list, item) {
        const char *text = json_text(item);
        if (!text)
            continue;
        if (strcmp(text, "*") == 0)
            return true;
        if (!*subresource) {
            if (strcmp(text, resource) == 0)
                return true;
            continue;
        }
        if (text[0] == '*' && text[1] == '/' && strcmp(text + 2, subresource) == 0)
            return true;
        if (strncmp(text, resource, n) == 0 && text[n] == '/' &&
            strcmp(text + n + 1, subresource) == 0)
            return true;
    }
    return false;
}

static bool name_matches(const struct json *list, const char *name)
{
    return !list || !list->len || json_has_text(list, name);
}

static bool url_matches(const struct json *list, const char *path)
{
    json_each_item (list, item) {
        const char *text = json_text(item);
        size_t n = text ? strlen(text) : 0;
        if (n && text[n - 1] == '*' ? strncmp(text, path, n - 1) == 0
                                    : text && strcmp(text, path) == 0)
            return true;
    }
    return false;
}

bool rbac_rule_allows(const struct json *rule, const struct attributes *at)
{
    if (!list_has(json_get(rule, "verbs"), at->verb))
        return false;
    if (!at->is_resource_request)
        return url_matches(json_get(rule, "nonResourceURLs"), at->path);
    return list_has(json_get(rule, "apiGroups"), at->group) &&
           resource_matches(json_get(rule, "resources"), at->resource, at->subresource) &&
           name_matches(json_get(rule, "resourceNames"), at->name);
}

typedef bool rule_fn(const struct json *rule, void *arg);

/* Stops at the first rule for which FN returns true. */
static bool subject_rules(struct rbac *b, const struct hashmap *map, const char *name,
                          const char *ns, rule_fn *fn, void *arg)
{
    const struct subject *s = hashmap_get(map, bytes_of(name));
    for (size_t i = 0; s && i < s->n; i++) {
        const struct binding *binding = s->bindings[i];
        const char *binding_ns = binding->object->key.ns;
        if (*binding_ns && strcmp(binding_ns, ns) != 0)
            continue;
        const struct role *role = hashmap_get(&b->roles, bytes_of(binding->role_key));
        json_each_item (role ? json_get(role->object->doc, "rules") : NULL, rule) {
            if (fn(rule, arg))
                return true;
        }
    }
    return false;
}

static bool user_rules(struct rbac *b, const struct user *user, const char *ns, rule_fn *fn,
                       void *arg)
{
    pthread_rwlock_rdlock(&b->lock);
    bool stopped = subject_rules(b, &b->by_user, user->name, ns, fn, arg);
    for (const char *const *g = user->groups; !stopped && *g; g++)
        stopped = subject_rules(b, &b->by_group, *g, ns, fn, arg);
    pthread_rwlock_unlock(&b->lock);
    return stopped;
}

static bool allows(const struct json *rule, void *arg)
{
    return rbac_rule_allows(rule, arg);
}

bool rbac_allows(struct rbac *b, const struct attributes *at)
{
    struct attributes copy = *at;
    return user_rules(b, at->user, at->is_resource_request ? at->ns : "", allows, &copy);
}

struct each {
    void (*fn)(const struct json *rule, void *arg);
    void *arg;
};

static bool hand_on(const struct json *rule, void *arg)
{
    struct each *each = arg;
    each->fn(rule, each->arg);
    return false;
}

void rbac_each_rule(struct rbac *b, const struct user *user, const char *ns,
                    void (*fn)(const struct json *rule, void *arg), void *arg)
{
    user_rules(b, user, ns, hand_on, &(struct each){ fn, arg });
}

const struct json *rbac_role_rules(struct rbac *b, const char *ns, const char *name,
                                   struct arena *arena)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes key = object_key_text(&(struct object_key){ ns, name }, text);
    pthread_rwlock_rdlock(&b->lock);
    const struct role *role = hashmap_get(&b->roles, key);
    const struct json *rules = role ? json_get(role->object->doc, "rules") : NULL;
    const struct json *copy = NULL;
    if (role)
        copy = rules ? json_clone(rules, arena) : json_new(arena, JSON_ARRAY);
    pthread_rwlock_unlock(&b->lock);
    return copy;
}
