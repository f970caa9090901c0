/* SPDX-License-Identifier: Apache-2.0 */
/* iptables_rules.c - the text of the rules. */

#include "proxy/iptables_rules.h"

#include "base/crypto.h"

#define CHAIN_NAME_BYTES 32
#define HASH_CHARS       16
#define MASQUERADE_MARK  "0x4000/0x4000"

#define PORTALS_COMMENT "-m comment --comment \"kubernetes service portals\" "

const struct rule_hook rule_hooks[] = {
    /* What the kernel drops by itself unless it is told to route 127.0.0.0/8, for node ports. */
    { "filter", "INPUT", "-j KUBE-FIREWALL", true },
    { "filter", "OUTPUT", "-j KUBE-FIREWALL", true },
    { "nat", "PREROUTING", PORTALS_COMMENT "-j KUBE-SERVICES", true },
    { "nat", "OUTPUT", PORTALS_COMMENT "-j KUBE-SERVICES", true },
    { "nat", "POSTROUTING",
      "-m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING", true },
    { "filter", "INPUT",
      "-m conntrack --ctstate NEW -m comment --comment \"kubernetes health check service ports\" "
      "-j KUBE-NODEPORTS",
      true },
    { "filter", "FORWARD", "-m conntrack --ctstate NEW " PORTALS_COMMENT "-j KUBE-SERVICES", true },
    { "filter", "OUTPUT", "-m conntrack --ctstate NEW " PORTALS_COMMENT "-j KUBE-SERVICES", true },
    { "filter", "FORWARD", "-m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD",
      true },
};
const size_t rule_hooks_n = ARRAY_LEN(rule_hooks);

static const struct {
    const char *chain;
    bool is_nat;
} places[PLACES] = {
    [PLACE_NAT_SERVICES] = { "KUBE-SERVICES", true },
    [PLACE_NAT_NODEPORTS] = { "KUBE-NODEPORTS", true },
    [PLACE_FILTER_SERVICES] = { "KUBE-SERVICES", false },
    [PLACE_FILTER_NODEPORTS] = { "KUBE-NODEPORTS", false },
};

/* RFC 4648 base32 of the first bytes of the digest; 16 characters are 80 bits. */
static void hash_text(const char *text, char out[HASH_CHARS + 1])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint8_t digest[SHA256_BYTES];
    crypto_sha256(bytes_of(text), digest);
    for (int i = 0; i < HASH_CHARS; i++) {
        int bit = i * 5;
        unsigned two = (unsigned)digest[bit / 8] << 8 | digest[bit / 8 + 1];
        out[i] = alphabet[(two >> (11 - bit % 8)) & 31];
    }
    out[HASH_CHARS] = '\0';
}

/* "ns/name:port", as upstream prints a service port. */
static const char *port_name(const struct service_port *sp, struct arena *a)
{
    return arena_printf(a, "%s/%s%s%s", sp->ns, sp->service, *sp->name ? ":" : "", sp->name);
}

static const char *service_chain(const char *prefix, const char *name, const char *protocol,
                                 struct arena *a)
{
    char hash[HASH_CHARS + 1];
    hash_text(arena_printf(a, "%s%s", name, protocol), hash);
    return arena_printf(a, "%s%s", prefix, hash);
}

static const char *endpoint_chain(const char *name, const char *protocol,
                                  const struct proxy_endpoint *e, struct arena *a)
{
    char hash[HASH_CHARS + 1];
    hash_text(arena_printf(a, "%s%s%s:%d", name, protocol, e->ip, e->port), hash);
    return arena_printf(a, "KUBE-SEP-%s", hash);
}

static void add_chain(struct rule_set *set, struct arena *a, const char *name, struct buffer *body)
{
    set->chains =
        arena_grow(a, set->chains, set->chains_n, &set->chains_capacity, sizeof(*set->chains));
    set->chains[set->chains_n++] = (struct rule_chain){
        .name = name,
        .body = arena_strndup(a, body->data ? body->data : "", body->len),
    };
    buffer_clear(body);
}

static void add_line(struct rule_set *set, struct arena *a, enum rule_place place, const char *spec)
{
    set->lines = arena_grow(a, set->lines, set->lines_n, &set->lines_capacity, sizeof(*set->lines));
    set->lines[set->lines_n++] = (struct rule_line){ place, spec };
}

/* What the rules of one service port share. */
struct port_rules {
    const struct service_port *sp;
    const char *name; /* ns/name:port */
    const char *cluster_cidr;
    struct arena *a;
    struct rule_set *set;
    struct buffer *text; /* the chain being written */
};

static void add_endpoint_chains(struct port_rules *r)
{
    const struct service_port *sp = r->sp;
    for (size_t i = 0; i < sp->endpoints_n; i++) {
        const struct proxy_endpoint *e = &sp->endpoints[i];
        const char *chain = endpoint_chain(r->name, sp->protocol, e, r->a);
        /* A pod that reaches itself through its service would see its own address as the peer's. */
        buffer_printf(r->text, "-A %s -m comment --comment \"%s\" -s %s -j KUBE-MARK-MASQ\n", chain,
                      r->name, e->ip);
        buffer_printf(r->text, "-A %s -m comment --comment \"%s\" ", chain, r->name);
        if (sp->affinity_s)
            buffer_printf(r->text, "-m recent --name %s --set ", chain);
        buffer_printf(r->text, "-m %s -p %s -j DNAT --to-destination %s:%d\n", sp->protocol,
                      sp->protocol, e->ip, e->port);
        add_chain(r->set, r->a, chain, r->text);
    }
}

/* Jumps to the endpoints with equal chance: 1/n, 1/(n-1), ..., 1. */
static void add_balancing(struct port_rules *r, const char *chain, bool only_local)
{
    const struct service_port *sp = r->sp;
    size_t left = 0;
    for (size_t i = 0; i < sp->endpoints_n; i++)
        left += !only_local || sp->endpoints[i].is_local;
    for (size_t i = 0; sp->affinity_s && i < sp->endpoints_n; i++) {
        const struct proxy_endpoint *e = &sp->endpoints[i];
        if (only_local && !e->is_local)
            continue;
        const char *sep = endpoint_chain(r->name, sp->protocol, e, r->a);
        buffer_printf(r->text,
                      "-A %s -m comment --comment \"%s -> %s:%d\" -m recent --name %s --rcheck "
                      "--seconds %d --reap -j %s\n",
                      chain, r->name, e->ip, e->port, sep, sp->affinity_s, sep);
    }
    for (size_t i = 0; i < sp->endpoints_n; i++) {
        const struct proxy_endpoint *e = &sp->endpoints[i];
        if (only_local && !e->is_local)
            continue;
        buffer_printf(r->text, "-A %s -m comment --comment \"%s -> %s:%d\" ", chain, r->name, e->ip,
                      e->port);
        if (left > 1)
            buffer_printf(r->text, "-m statistic --mode random --probability %.10f ",
                          1.0 / (double)left);
        buffer_printf(r->text, "-j %s\n", endpoint_chain(r->name, sp->protocol, e, r->a));
        left--;
    }
}

static bool has_local_endpoint(const struct service_port *sp)
{
    for (size_t i = 0; i < sp->endpoints_n; i++) {
        if (sp->endpoints[i].is_local)
            return true;
    }
    return false;
}

static bool is_external(const struct service_port *sp)
{
    return sp->node_port || sp->external_ips_n || sp->load_balancer_ips_n;
}

/* KUBE-SVC-X: every endpoint; KUBE-SVL-X: those on this node. */
static void add_service_chains(struct port_rules *r, const char *svc, const char *svl)
{
    const struct service_port *sp = r->sp;
    buffer_printf(
        r->text,
        "-A %s -m comment --comment \"%s cluster IP\" -m %s -p %s -d %s --dport %d ! -s %s "
        "-j KUBE-MARK-MASQ\n",
        svc, r->name, sp->protocol, sp->protocol, sp->cluster_ip, sp->port, r->cluster_cidr);
    add_balancing(r, svc, false);
    add_chain(r->set, r->a, svc, r->text);
    if (has_local_endpoint(sp) &&
        (sp->internal_is_local || (sp->external_is_local && is_external(sp)))) {
        add_balancing(r, svl, true);
        add_chain(r->set, r->a, svl, r->text);
    }
}

/* KUBE-EXT-X: traffic from outside.  With the Local policy it keeps its source address and stays
 * here. */
static void add_external_chain(struct port_rules *r, const char *ext, const char *svc,
                               const char *svl)
{
    const struct service_port *sp = r->sp;
    if (!sp->external_is_local) {
        buffer_printf(
            r->text,
            "-A %s -m comment --comment \"masquerade traffic for %s external destinations\" "
            "-j KUBE-MARK-MASQ\n-A %s -j %s\n",
            ext, r->name, ext, svc);
    } else {
        buffer_printf(
            r->text,
            "-A %s -m comment --comment \"pod traffic for %s external destinations\" -s %s "
            "-j %s\n"
            "-A %s -m comment --comment \"masquerade LOCAL traffic for %s external "
            "destinations\" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ\n"
            "-A %s -m comment --comment \"route LOCAL traffic for %s external destinations\" "
            "-m addrtype --src-type LOCAL -j %s\n",
            ext, r->name, r->cluster_cidr, svc, ext, r->name, ext, r->name, svc);
        if (has_local_endpoint(sp))
            buffer_printf(r->text, "-A %s -j %s\n", ext, svl);
    }
    add_chain(r->set, r->a, ext, r->text);
}

/* WHERE: the place and how people call the kind of address; TARGET: "-j CHAIN" or a verdict. */
static void add_address_line(struct port_rules *r, enum rule_place place, const char *kind,
                             const char *ip, const char *target)
{
    const struct service_port *sp = r->sp;
    add_line(r->set, r->a, place,
             arena_printf(r->a, "-m comment --comment \"%s %s\" -m %s -p %s -d %s --dport %d %s",
                          r->name, kind, sp->protocol, sp->protocol, ip, sp->port, target));
}

/* Traffic from outside that the Local policy leaves nowhere to go: what the nat table has not
 * sent on by now is that. */
static void add_drops(struct port_rules *r)
{
    static const enum rule_place both[] = { PLACE_FILTER_NODEPORTS, PLACE_FILTER_SERVICES };
    static const char kind[] = "has no local endpoints";
    const struct service_port *sp = r->sp;
    for (size_t p = 0; p < ARRAY_LEN(both); p++) { /* to an address of this node; to another */
        for (size_t i = 0; i < sp->external_ips_n; i++)
            add_address_line(r, both[p], kind, sp->external_ips[i], "-j DROP");
        for (size_t i = 0; i < sp->load_balancer_ips_n; i++)
            add_address_line(r, both[p], kind, sp->load_balancer_ips[i], "-j DROP");
    }
    if (sp->node_port)
        add_line(r->set, r->a, PLACE_FILTER_NODEPORTS,
                 arena_printf(r->a,
                              "-m comment --comment \"%s %s\" -m addrtype --dst-type LOCAL -m %s "
                              "-p %s --dport %d -j DROP",
                              r->name, kind, sp->protocol, sp->protocol, sp->node_port));
}

static void add_lines(struct port_rules *r, const char *internal, const char *ext)
{
    const struct service_port *sp = r->sp;
    bool has_any = sp->endpoints_n > 0;
    bool has_internal = has_any && (!sp->internal_is_local || has_local_endpoint(sp));
    enum rule_place place = has_any ? PLACE_NAT_SERVICES : PLACE_FILTER_SERVICES;
    const char *to_ext = has_any ? arena_printf(r->a, "-j %s", ext) : "-j REJECT";

    if (has_internal)
        add_address_line(r, PLACE_NAT_SERVICES, "cluster IP", sp->cluster_ip,
                         arena_printf(r->a, "-j %s", internal));
    else
        add_address_line(r, PLACE_FILTER_SERVICES,
                         has_any ? "has no local endpoints" : "has no endpoints", sp->cluster_ip,
                         has_any ? "-j DROP" : "-j REJECT");
    for (size_t i = 0; i < sp->external_ips_n; i++)
        add_address_line(r, place, has_any ? "external IP" : "has no endpoints",
                         sp->external_ips[i], to_ext);
    for (size_t i = 0; i < sp->load_balancer_ips_n; i++)
        add_address_line(r, place, has_any ? "loadbalancer IP" : "has no endpoints",
                         sp->load_balancer_ips[i], to_ext);
    if (has_any && sp->external_is_local && !has_local_endpoint(sp))
        add_drops(r);
    if (!sp->node_port)
        return;
    if (has_any)
        add_line(r->set, r->a, PLACE_NAT_NODEPORTS,
                 arena_printf(r->a, "-m comment --comment \"%s\" -m %s -p %s --dport %d %s",
                              r->name, sp->protocol, sp->protocol, sp->node_port, to_ext));
    else
        add_line(r->set, r->a, PLACE_FILTER_SERVICES,
                 arena_printf(
                     r->a,
                     "-m comment --comment \"%s has no endpoints\" -m addrtype --dst-type LOCAL "
                     "-m %s -p %s --dport %d -j REJECT",
                     r->name, sp->protocol, sp->protocol, sp->node_port));
}

void rules_for_ports(const struct service_port *ports, size_t n, const char *cluster_cidr,
                     struct arena *a, struct rule_set *out)
{
    *out = (struct rule_set){ 0 };
    scoped(buffer) struct buffer text = { 0 };
    for (size_t i = 0; i < n; i++) {
        const struct service_port *sp = &ports[i];
        struct port_rules r = {
            .sp = sp,
            .name = port_name(sp, a),
            .cluster_cidr = cluster_cidr,
            .a = a,
            .set = out,
            .text = &text,
        };
        const char *svc = service_chain("KUBE-SVC-", r.name, sp->protocol, a);
        const char *svl = service_chain("KUBE-SVL-", r.name, sp->protocol, a);
        const char *ext = service_chain("KUBE-EXT-", r.name, sp->protocol, a);
        if (sp->endpoints_n > 0) {
            add_endpoint_chains(&r);
            add_service_chains(&r, svc, svl);
            if (is_external(sp))
                add_external_chain(&r, ext, svc, svl);
        }
        add_lines(&r, sp->internal_is_local ? svl : svc, ext);
    }
}

/* ---- differences ---- */

static const struct rule_chain *find_chain(const struct rule_set *set, const char *name)
{
    for (size_t i = 0; set && i < set->chains_n; i++) {
        if (str_equal(set->chains[i].name, name))
            return &set->chains[i];
    }
    return NULL;
}

static bool has_line(const struct rule_set *set, const struct rule_line *line)
{
    for (size_t i = 0; set && i < set->lines_n; i++) {
        if (set->lines[i].place == line->place && str_equal(set->lines[i].spec, line->spec))
            return true;
    }
    return false;
}

static void change_chains(struct rule_batch *b, const struct rule_set *old,
                          const struct rule_set *new)
{
    for (size_t i = 0; new &&i < new->chains_n; i++) {
        const struct rule_chain *chain = &new->chains[i];
        const struct rule_chain *before = find_chain(old, chain->name);
        if (before && str_equal(before->body, chain->body))
            continue;
        buffer_printf(&b->nat_declare, ":%s - [0:0]\n", chain->name);
        buffer_add_str(&b->nat_bodies, chain->body);
    }
    for (size_t i = 0; old && i < old->chains_n; i++) {
        if (find_chain(new, old->chains[i].name))
            continue;
        /* Declaring it again empties it, so that nothing it jumped to is held by it. */
        buffer_printf(&b->nat_declare, ":%s - [0:0]\n", old->chains[i].name);
        buffer_printf(&b->nat_remove, "-X %s\n", old->chains[i].name);
    }
}

static void change_lines(struct rule_batch *b, const struct rule_set *old,
                         const struct rule_set *new)
{
    for (size_t i = 0; old && i < old->lines_n; i++) {
        const struct rule_line *line = &old->lines[i];
        if (!has_line(new, line))
            buffer_printf(places[line->place].is_nat ? &b->nat_unlink : &b->filter_unlink,
                          "-D %s %s\n", places[line->place].chain, line->spec);
    }
    for (size_t i = 0; new &&i < new->lines_n; i++) {
        const struct rule_line *line = &new->lines[i];
        /* At the top: the jump to the node ports stays the last of KUBE-SERVICES. */
        if (!has_line(old, line))
            buffer_printf(places[line->place].is_nat ? &b->nat_link : &b->filter_link,
                          "-I %s 1 %s\n", places[line->place].chain, line->spec);
    }
}

void rule_batch_change(struct rule_batch *b, const struct rule_set *old, const struct rule_set *new)
{
    change_chains(b, old, new);
    change_lines(b, old, new);
}

bool rule_batch_is_empty(const struct rule_batch *b)
{
    return b->nat_declare.len + b->nat_unlink.len + b->nat_link.len + b->filter_unlink.len +
               b->filter_link.len ==
           0;
}

static const char nat_base[] =
    ":KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n"
    ":KUBE-MARK-MASQ - [0:0]\n";
static const char nat_base_rules[] =
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n"
    "-A KUBE-POSTROUTING -m mark ! --mark " MASQUERADE_MARK " -j RETURN\n"
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n"
    "-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" "
    "-j MASQUERADE --random-fully\n"
    "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the "
    "last "
    "rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n";
static const char filter_base[] =
    ":KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-FORWARD - [0:0]\n"
    ":KUBE-FIREWALL - [0:0]\n"
    "-A KUBE-FIREWALL -m comment --comment \"block incoming localnet connections\" "
    "-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
    "-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark "
    "--mark " MASQUERADE_MARK " -j ACCEPT\n"
    "-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack "
    "--ctstate RELATED,ESTABLISHED -j ACCEPT\n";

void rule_batch_print(const struct rule_batch *b, bool with_base, struct buffer *out)
{
    if (with_base || b->filter_unlink.len + b->filter_link.len > 0) {
        buffer_add_str(out, "*filter\n");
        if (with_base)
            buffer_add_str(out, filter_base);
        buffer_add_bytes(out, buffer_bytes(&b->filter_unlink));
        buffer_add_bytes(out, buffer_bytes(&b->filter_link));
        buffer_add_str(out, "COMMIT\n");
    }
    buffer_add_str(out, "*nat\n");
    if (with_base)
        buffer_add_str(out, nat_base);
    buffer_add_bytes(out, buffer_bytes(&b->nat_declare));
    if (with_base)
        buffer_add_str(out, nat_base_rules);
    buffer_add_bytes(out, buffer_bytes(&b->nat_unlink));
    buffer_add_bytes(out, buffer_bytes(&b->nat_bodies));
    buffer_add_bytes(out, buffer_bytes(&b->nat_link));
    buffer_add_bytes(out, buffer_bytes(&b->nat_remove));
    buffer_add_str(out, "COMMIT\n");
}

void rule_batch_deinit(struct rule_batch *b)
{
    struct buffer *all[] = { &b->nat_declare, &b->nat_unlink,    &b->nat_bodies, &b->nat_link,
                             &b->nat_remove,  &b->filter_unlink, &b->filter_link };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buffer_free(all[i]);
}
