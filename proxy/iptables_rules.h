/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iptables_rules.h - service ports to iptables rules, and the difference between two sets of rules
 * as input for iptables-restore --noflush.  Pure text.
 *
 *     KUBE-SERVICES  --cluster ip-->  KUBE-SVC-X  --1/n-->  KUBE-SEP-Y  --> DNAT to 10.42.0.7:8080
 *     KUBE-SERVICES  --last-------->  KUBE-NODEPORTS  --node port-->  KUBE-EXT-X  --> KUBE-SVC-X
 *
 * Chain names are upstream's (the first 16 characters of base32(sha256(...))), so that people and
 * tools that read kube-proxy's rules can read ours.
 */
#pragma once

#include "proxy/service_ports.h"

/* A chain that belongs to one service port; BODY is its "-A NAME ..." lines. */
struct rule_chain {
    const char *name;
    const char *body;
};

enum rule_place { /* chains that all services share */
                  PLACE_NAT_SERVICES,
                  PLACE_NAT_NODEPORTS,
                  PLACE_FILTER_SERVICES,
                  PLACE_FILTER_NODEPORTS,
                  PLACES,
};
struct rule_line {
    enum rule_place place;
    const char *spec; /* what follows "-A CHAIN " */
};

struct rule_set { /* of one service; lives in an arena */
    struct rule_chain *chains;
    size_t chains_n, chains_capacity;
    struct rule_line *lines;
    size_t lines_n, lines_capacity;
};

void rules_for_ports(const struct service_port *ports, size_t n, const char *cluster_cidr,
                     struct arena *a, struct rule_set *out);

/* A batch of changes; each table's text is in the order iptables-restore needs. */
struct rule_batch {
    struct buffer nat_declare, nat_unlink, nat_bodies, nat_link, nat_remove;
    struct buffer filter_unlink, filter_link;
};
/* Adds what turns OLD (NULL: nothing) into NEW (NULL: nothing). */
void rule_batch_change(struct rule_batch *b, const struct rule_set *old,
                       const struct rule_set *new);
bool rule_batch_is_empty(const struct rule_batch *b);
/* The whole input.  WITH_BASE also (re)makes the shared chains, empty, and their hooks' targets. */
void rule_batch_print(const struct rule_batch *b, bool with_base, struct buffer *out);
void rule_batch_deinit(struct rule_batch *b);
static inline void rule_batch_scoped(struct rule_batch *b)
{
    rule_batch_deinit(b);
}

/* The jumps from the kernel's own chains into ours: table, chain, rule. */
struct rule_hook {
    const char *table, *chain, *spec;
    bool at_top;
};
extern const struct rule_hook rule_hooks[];
extern const size_t rule_hooks_n;
