/* SPDX-License-Identifier: Apache-2.0 */
/* schedule_one.c - filter, score, choose; and the message when nothing is left to choose. */
#include "scheduler/schedule_one.h"

/* In a large cluster not every node that fits is looked for: upstream's rule. */
#define NODES_ALL_UP_TO     100
#define NODES_PERCENT_MIN   5
#define NODES_PERCENT_START 50
#define NODES_PER_PERCENT   125

void cycle_begin(struct cycle *c, struct snapshot *s, const struct pod_info *pod,
                 const struct node_info *trial, struct arena *arena)
{
    *c = (struct cycle){ .pod = pod, .snapshot = s, .arena = arena, .trial = trial };
    for (size_t i = 0; i < filter_plugins_n; i++)
        if (filter_plugins[i]->prepare)
            filter_plugins[i]->prepare(c);
}

void cycle_end(struct cycle *c)
{
    for (size_t i = 0; i < filter_plugins_n; i++)
        if (filter_plugins[i]->finish)
            filter_plugins[i]->finish(c);
}

enum verdict run_filters(const struct cycle *c, const struct node_info *n, struct reasons *out,
                         unsigned *events)
{
    for (size_t i = 0; i < filter_plugins_n; i++) {
        enum verdict v = filter_plugins[i]->filter(c, n, out);
        if (v == NODE_FITS)
            continue;
        *events |= filter_plugins[i]->events;
        return v;
    }
    return NODE_FITS;
}

/* ---- the message ---- */

struct reason_count {
    const char *text;
    int64_t n;
};

/* Upstream sorts the lines as text: "1 b", "10 a", "2 c". */
static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void reason_counts_print(const struct reason_counts *c, size_t nodes_n, struct buffer *out)
{
    size_t n = 0;
    char **lines = xmalloc(c->counts.n * sizeof(lines[0]) + 1);
    hashmap_each (&c->counts, e) {
        const struct reason_count *r = e->value;
        lines[n++] = xasprintf("%lld %s", (long long)r->n, r->text);
    }
    qsort(lines, n, sizeof(lines[0]), compare_lines);
    buffer_printf(out, "0/%zu nodes are available:", nodes_n);
    for (size_t i = 0; i < n; i++) {
        buffer_printf(out, "%s%s", i ? ", " : " ", lines[i]);
        free(lines[i]);
    }
    buffer_add_char(out, '.');
    free(lines);
}

void reason_counts_add(struct reason_counts *c, const struct reasons *r, struct arena *a)
{
    for (size_t i = 0; i < r->n; i++) {
        struct reason_count *count = hashmap_get(&c->counts, bytes_of(r->text[i]));
        if (!count) {
            count = arena_zalloc(a, sizeof(*count));
            count->text = r->text[i];
            hashmap_put(&c->counts, bytes_of(count->text), count);
        }
        count->n++;
    }
}

void reason_counts_deinit(struct reason_counts *c)
{
    hashmap_deinit(&c->counts);
}

/* ---- filtering ---- */

static size_t nodes_wanted(size_t n)
{
    if (n <= NODES_ALL_UP_TO)
        return n;
    size_t off = n / NODES_PER_PERCENT;
    size_t percent = off + NODES_PERCENT_MIN > NODES_PERCENT_START ? NODES_PERCENT_MIN
                                                                   : NODES_PERCENT_START - off;
    size_t wanted = n * percent / 100;
    return wanted < NODES_ALL_UP_TO ? NODES_ALL_UP_TO : wanted;
}

/* With pods on it that preemption made room for, as far as they go before this one. */
static bool leaves_room_for_nominated(const struct cycle *c, const struct node_info *n,
                                      const struct schedule_options *o, struct reasons *out,
                                      unsigned *events)
{
    struct node_info *with = NULL;
    for (size_t i = 0; i < o->nominated_n; i++) {
        const struct pod_info *p = o->nominated[i];
        if (p->priority < c->pod->priority || !str_equal(p->nominated_node, n->name) ||
            bytes_equal(p->key, c->pod->key))
            continue;
        with = with ? with : node_info_copy(n);
        node_info_add(with, p);
    }
    bool fits = !with || run_filters(c, with, out, events) == NODE_FITS;
    node_info_free(with);
    return fits;
}

static size_t filter_nodes(const struct cycle *c, const struct schedule_options *o,
                           struct node_info **feasible, struct schedule_result *result)
{
    struct snapshot *s = c->snapshot;
    size_t n = 0, wanted = nodes_wanted(s->nodes_n), looked = 0;
    struct reason_counts counts = { 0 };
    result->verdicts = arena_zalloc(c->arena, s->nodes_n * sizeof(result->verdicts[0]) + 1);
    for (; looked < s->nodes_n && n < wanted; looked++) {
        size_t i = (*o->next_start + looked) % s->nodes_n;
        struct reasons reasons = { .n = 0 };
        enum verdict v = run_filters(c, s->nodes[i], &reasons, &result->events);
        if (v == NODE_FITS &&
            !leaves_room_for_nominated(c, s->nodes[i], o, &reasons, &result->events))
            v = NODE_UNSCHEDULABLE;
        result->verdicts[i] = v;
        if (v == NODE_FITS)
            feasible[n++] = s->nodes[i];
        else
            reason_counts_add(&counts, &reasons, c->arena);
    }
    *o->next_start = s->nodes_n ? (*o->next_start + looked) % s->nodes_n : 0;
    if (!n && s->nodes_n)
        reason_counts_print(&counts, s->nodes_n, &result->message);
    reason_counts_deinit(&counts);
    return n;
}

/* ---- scoring ---- */

static void normalize(const struct score_plugin *p, const struct cycle *c,
                      struct node_info *const *nodes, int64_t *scores, size_t n)
{
    if (p->normalize == NORMALIZE_OWN)
        p->normalize_own(c, nodes, scores, n);
    if (p->normalize != NORMALIZE_MAX && p->normalize != NORMALIZE_REVERSED)
        return;
    int64_t max = 0;
    for (size_t i = 0; i < n; i++)
        max = scores[i] > max ? scores[i] : max;
    for (size_t i = 0; i < n; i++) {
        int64_t score = max ? SCORE_MAX * scores[i] / max : 0;
        scores[i] = p->normalize == NORMALIZE_REVERSED ? SCORE_MAX - score : score;
    }
}

static struct node_info *best_node(const struct cycle *c, struct node_info *const *nodes, size_t n,
                                   struct rng *rng)
{
    int64_t *total = arena_zalloc(c->arena, n * sizeof(total[0]));
    int64_t *scores = arena_alloc(c->arena, n * sizeof(scores[0]));
    for (size_t k = 0; k < score_plugins_n; k++) {
        const struct score_plugin *p = score_plugins[k];
        if (p->applies && !p->applies(c))
            continue;
        for (size_t i = 0; i < n; i++)
            scores[i] = p->score(c, nodes[i]);
        normalize(p, c, nodes, scores, n);
        for (size_t i = 0; i < n; i++)
            total[i] += p->weight * scores[i];
    }
    size_t best = 0;
    uint64_t equals = 1; /* each of the equally good ones with the same chance */
    for (size_t i = 1; i < n; i++) {
        if (total[i] > total[best]) {
            best = i;
            equals = 1;
        } else if (total[i] == total[best] && rng_below(rng, ++equals) == 0) {
            best = i;
        }
    }
    return nodes[best];
}

/* Does a rule say no to every node at once? */
static bool is_refused(const struct cycle *c, struct schedule_result *result)
{
    for (size_t i = 0; i < filter_plugins_n; i++) {
        const char *why = filter_plugins[i]->refuse ? filter_plugins[i]->refuse(c) : NULL;
        if (!why)
            continue;
        size_t n = c->snapshot->nodes_n;
        result->events = filter_plugins[i]->events;
        result->verdicts = arena_alloc(c->arena, n * sizeof(result->verdicts[0]) + 1);
        for (size_t k = 0; k < n; k++)
            result->verdicts[k] = NODE_UNRESOLVABLE;
        buffer_printf(&result->message, "0/%zu nodes are available: %s.", n, why);
        return true;
    }
    return false;
}

void schedule_one(struct snapshot *s, const struct pod_info *pod, const struct schedule_options *o,
                  struct arena *arena, struct schedule_result *result)
{
    *result = (struct schedule_result){ 0 };
    if (!s->nodes_n) {
        buffer_add_str(&result->message, "no nodes available to schedule pods");
        result->events = EVENT_NODE_ADDED;
        return;
    }
    struct cycle c;
    cycle_begin(&c, s, pod, NULL, arena);
    if (!is_refused(&c, result)) {
        struct node_info **feasible = arena_alloc(arena, s->nodes_n * sizeof(feasible[0]));
        size_t n = filter_nodes(&c, o, feasible, result);
        if (n == 1)
            result->node = feasible[0];
        else if (n)
            result->node = best_node(&c, feasible, n, o->rng);
    }
    cycle_end(&c);
}
