/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c - keeps node infos true to nodes and pods. */
#include "scheduler/snapshot.h"

/* ---- sums ---- */

static void add_sums(struct node_info *n, const struct pod_info *p, int sign)
{
    n->used.milli_cpu += sign * p->requests.milli_cpu;
    n->used.memory += sign * p->requests.memory;
    n->used.ephemeral_storage += sign * p->requests.ephemeral_storage;
    n->nonzero_milli_cpu += sign * p->nonzero_milli_cpu;
    n->nonzero_memory += sign * p->nonzero_memory;
    n->ports_n += (size_t)sign * p->ports_n;
    for (size_t i = 0; i < n->used.extended_n; i++)
        n->used.extended[i].amount +=
            sign * resources_extended(&p->requests, n->used.extended[i].name);
}

void node_info_add(struct node_info *n, const struct pod_info *pod)
{
    n->pods = xgrow(n->pods, n->pods_n, &n->pods_capacity, sizeof(n->pods[0]));
    n->pods[n->pods_n++] = pod;
    add_sums(n, pod, 1);
}

void node_info_remove(struct node_info *n, const struct pod_info *pod)
{
    for (size_t i = 0; i < n->pods_n; i++) {
        if (n->pods[i] != pod)
            continue;
        n->pods[i] = n->pods[--n->pods_n];
        add_sums(n, pod, -1);
        return;
    }
}

const char *node_label(const struct node_info *n, const char *key)
{
    return json_text(json_get(n->labels, key));
}

struct node_info *node_info_copy(const struct node_info *n)
{
    struct node_info *c = xmalloc(sizeof(*c));
    *c = *n;
    c->arena = arena_new();
    c->node = object_ref(n->node);
    c->name = xstrdup(n->name);
    c->images = (struct hashmap){ 0 };
    c->allocatable.extended = arena_memdup(c->arena, n->allocatable.extended,
                                           n->allocatable.extended_n * sizeof(c->used.extended[0]));
    c->used.extended =
        arena_memdup(c->arena, n->used.extended, n->used.extended_n * sizeof(c->used.extended[0]));
    c->taints = arena_memdup(c->arena, n->taints, n->taints_n * sizeof(c->taints[0]));
    c->pods_capacity = n->pods_n;
    c->pods = xmalloc(n->pods_n * sizeof(c->pods[0]) + 1);
    if (n->pods_n)
        memcpy(c->pods, n->pods, n->pods_n * sizeof(c->pods[0]));
    return c;
}

void node_info_free(struct node_info *n)
{
    if (!n)
        return;
    object_unref(n->node);
    arena_free(n->arena);
    hashmap_deinit(&n->images);
    free(n->pods);
    free(n->name);
    free(n);
}

/* ---- images ---- */

static void drop_images(struct snapshot *s, struct node_info *n)
{
    hashmap_each (&n->images, e) {
        struct image_state *image = e->value;
        if (--image->nodes_n)
            continue;
        hashmap_remove(&s->image_nodes, bytes_of(image->name));
        free(image->name);
        free(image);
    }
    hashmap_deinit(&n->images);
    n->images = (struct hashmap){ 0 };
}

static void add_image(struct snapshot *s, struct node_info *n, const char *name, int64_t size_bytes)
{
    struct bytes key = bytes_of(name);
    if (!key.len || hashmap_get(&n->images, key))
        return;
    struct image_state *image = hashmap_get(&s->image_nodes, key);
    if (!image) {
        image = xcalloc(1, sizeof(*image));
        image->name = xstrdup(name);
        hashmap_put(&s->image_nodes, bytes_of(image->name), image);
    }
    image->nodes_n++;
    image->size_bytes = size_bytes;
    hashmap_put(&n->images, bytes_of(image->name), image);
}

/* ---- nodes ---- */

static struct node_info *node_get(struct snapshot *s, const char *name)
{
    struct node_info *n = hashmap_get(&s->nodes_by_name, bytes_of(name));
    if (n)
        return n;
    n = xcalloc(1, sizeof(*n));
    n->name = xstrdup(name);
    n->arena = arena_new();
    hashmap_put(&s->nodes_by_name, bytes_of(n->name), n);
    return n;
}

struct node_info *snapshot_node(struct snapshot *s, const char *name)
{
    struct node_info *n = hashmap_get(&s->nodes_by_name, bytes_of(name));
    return n && n->node ? n : NULL;
}

static void parse_taints(struct node_info *n, const struct json *list)
{
    size_t len = json_is(list, JSON_ARRAY) ? list->len : 0;
    n->taints = arena_alloc(n->arena, len * sizeof(n->taints[0]) + 1);
    n->taints_n = 0;
    json_each_item (list, t)
        n->taints[n->taints_n++] = (struct taint){ json_str(t, "key", ""), json_str(t, "value", ""),
                                                   json_str(t, "effect", "") };
}

static void parse_node(struct snapshot *s, struct node_info *n)
{
    const struct json *doc = n->node->doc;
    const struct json *allocatable = json_at(doc, "status.allocatable");
    arena_reset(n->arena);
    n->labels = json_at(doc, "metadata.labels");
    n->is_unschedulable = json_bool(doc, "spec.unschedulable", false);
    parse_taints(n, json_at(doc, "spec.taints"));
    n->allocatable = (struct pod_resources){ 0 };
    resources_add_json(&n->allocatable, allocatable, n->arena);
    n->allocatable_pods = resource_amount("pods", json_get(allocatable, "pods"));
    json_each_item (json_at(doc, "status.images"), image) {
        int64_t size = json_int(image, "sizeBytes", 0);
        json_each_item (json_get(image, "names"), name)
            add_image(s, n, json_text(name), size);
    }
}

/* The sums anew: allocatable decides which extended resources are counted. */
static void sum_pods(struct node_info *n)
{
    n->used = (struct pod_resources){ 0 };
    n->nonzero_milli_cpu = n->nonzero_memory = 0;
    n->ports_n = 0;
    n->used.extended_n = n->allocatable.extended_n;
    n->used.extended = arena_zalloc(n->arena, n->used.extended_n * sizeof(n->used.extended[0]) + 1);
    for (size_t i = 0; i < n->used.extended_n; i++)
        n->used.extended[i].name = n->allocatable.extended[i].name;
    for (size_t i = 0; i < n->pods_n; i++)
        add_sums(n, n->pods[i], 1);
}

void snapshot_set_node(struct snapshot *s, const struct object *node)
{
    struct node_info *n = node_get(s, node->key.name);
    if (!n->node) {
        s->nodes = xgrow(s->nodes, s->nodes_n, &s->nodes_capacity, sizeof(s->nodes[0]));
        n->index = s->nodes_n;
        s->nodes[s->nodes_n++] = n;
    }
    struct object *old = n->node;
    drop_images(s, n);
    n->node = object_ref(node);
    parse_node(s, n);
    sum_pods(n);
    object_unref(old);
}

static void drop_ghost(struct snapshot *s, struct node_info *n)
{
    if (n->node || n->pods_n)
        return;
    hashmap_remove(&s->nodes_by_name, bytes_of(n->name));
    node_info_free(n);
}

void snapshot_remove_node(struct snapshot *s, const char *name)
{
    struct node_info *n = snapshot_node(s, name);
    if (!n)
        return;
    s->nodes[n->index] = s->nodes[--s->nodes_n];
    s->nodes[n->index]->index = n->index;
    drop_images(s, n);
    object_unref(n->node);
    n->node = NULL;
    n->labels = NULL;
    n->taints_n = 0;
    n->allocatable = n->used = (struct pod_resources){ 0 };
    arena_reset(n->arena);
    sum_pods(n);
    drop_ghost(s, n);
}

/* ---- pods ---- */

static bool has_affinity(const struct pod_info *p)
{
    return p->required_anti_affinity.n || p->required_affinity.n || p->preferred_affinity.n ||
           p->preferred_anti_affinity.n;
}

static void list_affinity(struct snapshot *s, const struct pod_info *p)
{
    if (!has_affinity(p))
        return;
    s->with_affinity = xgrow(s->with_affinity, s->with_affinity_n, &s->with_affinity_capacity,
                             sizeof(s->with_affinity[0]));
    s->with_affinity[s->with_affinity_n++] = p;
}

static void unlist_affinity(struct snapshot *s, const struct pod_info *p)
{
    for (size_t i = 0; has_affinity(p) && i < s->with_affinity_n; i++) {
        if (s->with_affinity[i] == p) {
            s->with_affinity[i] = s->with_affinity[--s->with_affinity_n];
            return;
        }
    }
}

struct placed_pod *snapshot_pod(struct snapshot *s, struct bytes key)
{
    return hashmap_get(&s->pods, key);
}

void snapshot_remove_pod(struct snapshot *s, struct bytes key)
{
    struct placed_pod *p = hashmap_remove(&s->pods, key);
    if (!p)
        return;
    unlist_affinity(s, p->info);
    node_info_remove(p->node, p->info);
    drop_ghost(s, p->node);
    pod_info_unref(p->info);
    free(p);
}

void snapshot_place(struct snapshot *s, struct pod_info *pod, const char *node_name,
                    bool is_assumed)
{
    snapshot_remove_pod(s, pod->key);
    struct placed_pod *p = xmalloc(sizeof(*p));
    *p = (struct placed_pod){ pod_info_ref(pod), node_get(s, node_name), is_assumed };
    hashmap_put(&s->pods, p->info->key, p);
    node_info_add(p->node, p->info);
    list_affinity(s, p->info);
}

/* ---- namespaces and budgets ---- */

struct kept_object {
    struct object *object;
    char key[KEY_TEXT_BYTES_MAX];
};

static void kept_object_free(struct kept_object *k)
{
    if (!k)
        return;
    object_unref(k->object);
    free(k);
}

void snapshot_set_object(struct hashmap *map, const struct object *o, bool is_gone)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct kept_object *old = hashmap_remove(map, object_key_text(&o->key, text));
    kept_object_free(old);
    if (is_gone)
        return;
    struct kept_object *k = xmalloc(sizeof(*k));
    struct bytes key = object_key_text(&o->key, k->key);
    k->object = object_ref(o);
    hashmap_put(map, key, k);
}

const struct object *snapshot_object(const struct hashmap *map, struct bytes key)
{
    const struct kept_object *k = hashmap_get(map, key);
    return k ? k->object : NULL;
}

bool affinity_term_matches(const struct snapshot *s, const struct affinity_term *term,
                           const struct pod_info *pod)
{
    bool is_in = false;
    for (const char **ns = term->namespaces; *ns && !is_in; ns++)
        is_in = str_equal(*ns, pod->pod->key.ns);
    if (!is_in && term->namespace_selector) {
        const struct object *ns = snapshot_object(&s->namespaces, bytes_of(pod->pod->key.ns));
        const struct json *labels = ns ? json_at(ns->doc, "metadata.labels") : NULL;
        is_in = selector_matches(term->namespace_selector, labels);
    }
    return is_in && selector_matches(term->selector, pod->labels);
}

static void budget_free(struct budget *b)
{
    if (!b)
        return;
    object_unref(b->object);
    arena_free(b->arena);
}

void snapshot_set_budget(struct snapshot *s, const struct object *pdb, bool is_gone)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes key = object_key_text(&pdb->key, text);
    budget_free(hashmap_remove(&s->budgets, key));
    if (is_gone)
        return;
    struct error err = { 0 }; /* a selector that cannot be read protects nothing */
    struct arena *a = arena_new();
    struct budget *b = arena_zalloc(a, sizeof(*b));
    b->object = object_ref(pdb);
    b->arena = a;
    b->selector = selector_from_json(json_at(pdb->doc, "spec.selector"), a, &err);
    b->allowed = json_int(pdb->doc, "status.disruptionsAllowed", 0);
    hashmap_put(&s->budgets, arena_bytes(a, key), b);
}

void snapshot_deinit(struct snapshot *s)
{
    hashmap_each (&s->pods, e) {
        struct placed_pod *p = e->value;
        pod_info_unref(p->info);
        free(p);
    }
    hashmap_each (&s->nodes_by_name, e)
        node_info_free(e->value);
    hashmap_each (&s->image_nodes, e) {
        struct image_state *image = e->value;
        free(image->name);
        free(image);
    }
    struct hashmap *kept[] = { &s->namespaces, &s->claims, &s->volumes, &s->storage_classes };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        hashmap_each (kept[i], e)
            kept_object_free(e->value);
        hashmap_deinit(kept[i]);
    }
    hashmap_each (&s->budgets, e)
        budget_free(e->value);
    hashmap_deinit(&s->budgets);
    hashmap_deinit(&s->pods);
    hashmap_deinit(&s->nodes_by_name);
    hashmap_deinit(&s->image_nodes);
    free(s->nodes);
    free(s->with_affinity);
}
