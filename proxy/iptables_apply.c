/* SPDX-License-Identifier: Apache-2.0 */
/* iptables_apply.c - the only place that changes the kernel's rules. */

#include "proxy/iptables_apply.h"

#include "base/hashmap.h"
#include "base/process.h"

int iptables_restore(struct bytes input, struct error *err)
{
    static const char *const argv[] = { "iptables-restore", "-w",         "5",
                                        "--noflush",        "--counters", NULL };
    return process_run(argv, input, NULL, IPTABLES_TIMEOUT_MS, err);
}

static int save_table(const char *table, struct buffer *out, struct error *err)
{
    const char *const argv[] = { "iptables-save", "-t", table, NULL };
    return process_run(argv, (struct bytes){ 0 }, out, IPTABLES_TIMEOUT_MS, err);
}

static bool is_ours(struct bytes chain)
{
    static const char *const prefixes[] = { "KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-SEP-",
                                            NULL };
    static const char *const names[] = { "KUBE-SERVICES",
                                         "KUBE-NODEPORTS",
                                         "KUBE-POSTROUTING",
                                         "KUBE-MARK-MASQ",
                                         "KUBE-FORWARD",
                                         "KUBE-FIREWALL",
                                         NULL };
    for (int i = 0; prefixes[i]; i++) {
        if (bytes_has_prefix(chain, bytes_of(prefixes[i])))
            return true;
    }
    for (int i = 0; names[i]; i++) {
        if (bytes_equal_str(chain, names[i]))
            return true;
    }
    return false;
}

/* The chains of ours that a saved table declares: ":KUBE-SVC-X - [0:0]". */
static size_t saved_chains(const struct buffer *saved, struct arena *a, const char ***out)
{
    size_t n = 0, capacity = 0;
    const char **names = NULL;
    const char *at = saved->data, *end = saved->data + saved->len;
    while (at && at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((eol ? eol : end) - at);
        const char *space = memchr(at, ' ', len);
        struct bytes name = { at + 1, space ? (size_t)(space - at - 1) : 0 };
        if (*at == ':' && is_ours(name)) {
            names = arena_grow(a, names, n, &capacity, sizeof(*names));
            names[n++] = arena_strndup(a, name.data, name.len);
        }
        at += len + 1;
    }
    *out = names;
    return n;
}

static bool has_hook(const struct rule_hook *hook, struct error *err)
{
    /* Words of the rule, split as a shell would: only comments are quoted. */
    const char *argv[32] = { "iptables", "-w", "5", "-t", hook->table, "-C", hook->chain };
    size_t n = 7;
    scoped(arena) struct arena *a = arena_new();
    for (char *at = arena_strdup(a, hook->spec); *at && n < ARRAY_LEN(argv) - 1;) {
        bool is_quoted = *at == '"';
        at += is_quoted;
        argv[n++] = at;
        at += strcspn(at, is_quoted ? "\"" : " ");
        if (*at)
            *at++ = '\0';
        at += strspn(at, " ");
    }
    return process_run(argv, (struct bytes){ 0 }, NULL, IPTABLES_TIMEOUT_MS, err) == 0;
}

static void print_missing_hooks(struct buffer *out)
{
    static const char *const tables[] = { "nat", "filter" };
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        struct buffer rules = { 0 };
        for (size_t i = 0; i < rule_hooks_n; i++) {
            const struct rule_hook *hook = &rule_hooks[i];
            struct error missing = { 0 };
            if (str_equal(hook->table, tables[t]) && !has_hook(hook, &missing))
                buffer_printf(&rules, hook->at_top ? "-I %s 1 %s\n" : "-A %s %s\n", hook->chain,
                              hook->spec);
        }
        if (rules.len > 0)
            buffer_printf(out, "*%s\n%sCOMMIT\n", tables[t], rules.data);
        buffer_free(&rules);
    }
}

/* Chains that no service of now declares: emptied with the rest, then removed. */
static void remove_stale(struct rule_batch *b, const struct buffer *saved)
{
    scoped(arena) struct arena *a = arena_new();
    const char **names;
    size_t n = saved_chains(saved, a, &names);
    for (size_t i = 0; i < n; i++) {
        const char *declared = arena_printf(a, ":%s - [0:0]\n", names[i]);
        bool is_shared =
            !strchr(names[i] + strlen("KUBE-"), '-') || str_equal(names[i], "KUBE-MARK-MASQ");
        if (is_shared || (b->nat_declare.data && strstr(b->nat_declare.data, declared)))
            continue;
        buffer_add_str(&b->nat_declare, declared);
        buffer_printf(&b->nat_remove, "-X %s\n", names[i]);
    }
}

int iptables_reset(const struct rule_batch *batch, struct error *err)
{
    scoped(buffer) struct buffer saved = { 0 }, input = { 0 };
    if (save_table("nat", &saved, err) < 0)
        return -1;
    scoped(rule_batch) struct rule_batch all = { 0 };
    buffer_add_bytes(&all.nat_declare, buffer_bytes(&batch->nat_declare));
    buffer_add_bytes(&all.nat_bodies, buffer_bytes(&batch->nat_bodies));
    buffer_add_bytes(&all.nat_link, buffer_bytes(&batch->nat_link));
    buffer_add_bytes(&all.filter_link, buffer_bytes(&batch->filter_link));
    remove_stale(&all, &saved);
    rule_batch_print(&all, true, &input);
    print_missing_hooks(&input);
    return iptables_restore(buffer_bytes(&input), err);
}

int iptables_cleanup(struct error *err)
{
    static const char *const tables[] = { "nat", "filter" };
    scoped(buffer) struct buffer input = { 0 };
    scoped(arena) struct arena *a = arena_new();
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        scoped(buffer) struct buffer saved = { 0 };
        if (save_table(tables[t], &saved, err) < 0)
            return -1;
        const char **names;
        size_t n = saved_chains(&saved, a, &names);
        buffer_printf(&input, "*%s\n", tables[t]);
        for (size_t i = 0; i < n; i++)
            buffer_printf(&input, ":%s - [0:0]\n", names[i]);
        for (size_t i = 0; i < rule_hooks_n; i++) {
            struct error missing = { 0 };
            if (str_equal(rule_hooks[i].table, tables[t]) && has_hook(&rule_hooks[i], &missing))
                buffer_printf(&input, "-D %s %s\n", rule_hooks[i].chain, rule_hooks[i].spec);
        }
        for (size_t i = 0; i < n; i++)
            buffer_printf(&input, "-X %s\n", names[i]);
        buffer_add_str(&input, "COMMIT\n");
    }
    return iptables_restore(buffer_bytes(&input), err);
}
