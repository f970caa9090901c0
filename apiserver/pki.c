/* SPDX-License-Identifier: Apache-2.0 */
/* pki.c - the cluster's own certificate authorities, certificates and signing key. */
#include "apiserver/pki.h"

#include <arpa/inet.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"

#define NS_PER_DAY (86400 * NS_PER_S)
/* Clocks of a cluster's machines differ a little; a certificate of this second must work on all. */
#define BACKDATE_NS   (300 * NS_PER_S)
#define PEM_BYTES_MAX (64 * 1024)
#define SANS_MAX      64

struct authority {
    struct bytes cert, key;
};

/* Names and addresses of the API's certificate. */
struct sans {
    const char *names[SANS_MAX + 1];
    const char *addresses[SANS_MAX + 1];
    size_t names_n, addresses_n;
};

/* A client certificate of our own, in the files STEM.crt and STEM.key. */
struct own_client {
    const char *stem, *user, *group;
    struct shared_bytes *cert, *key;
    int64_t expiry_ns;
};

struct pki {
    struct arena *arena;
    const struct clock *clock;
    const char *dir;
    int64_t life_ns; /* of certificates */
    struct authority server_ca, client_ca, request_header_ca;
    struct jwt_key *token_key;
    struct sans sans;
    struct bytes serving_key;
    struct tls *server_tls;

    pthread_mutex_t lock; /* guards what follows; a leaf of the lock order */
    int64_t serving_expiry_ns;
    struct own_client admin, kubelet_client;
};

/* ---- files ---- */

/* 1: read; 0: there is no such file. */
static int load(const struct pki *p, const char *name, struct arena *a, struct bytes *out,
                struct error *err)
{
    struct error missing = { 0 };
    if (files_read(arena_printf(a, "%s/%s", p->dir, name), PEM_BYTES_MAX, a, out, &missing) == 0)
        return 1;
    if (missing.code == ERR_NOT_FOUND)
        return 0;
    *err = missing;
    return -1;
}

static int store(const struct pki *p, const char *name, struct bytes content, mode_t mode,
                 struct error *err)
{
    scoped(str) char *path = xasprintf("%s/%s", p->dir, name);
    if (files_make_parents(path, 0700, err) < 0)
        return -1;
    return files_write_durably(path, content, mode, err);
}

/* The key in the file NAME, made and stored if there is none. */
static int load_or_make_key(struct pki *p, const char *name, struct bytes *key, struct error *err)
{
    scoped(arena) struct arena *scratch = arena_new();
    struct bytes found = { 0 };
    int rc = load(p, name, scratch, &found, err);
    if (rc == 0) {
        if (crypto_new_key(scratch, &found, err) < 0 || store(p, name, found, 0600, err) < 0)
            return -1;
    }
    if (rc < 0)
        return -1;
    *key = arena_bytes(p->arena, found);
    return 0;
}

/* ---- certificates ---- */

static void set_validity(const struct pki *p, struct certificate_request *r, int64_t life_ns)
{
    int64_t now = clock_wall_ns(p->clock);
    r->not_before_ns = now - BACKDATE_NS;
    r->not_after_ns = now + life_ns;
}

static int open_authority(struct pki *p, const char *stem, const char *common_name,
                          struct authority *ca, struct error *err)
{
    scoped(arena) struct arena *scratch = arena_new();
    char *cert_name = arena_printf(scratch, "%s.crt", stem);
    char *key_name = arena_printf(scratch, "%s.key", stem);
    struct bytes cert = { 0 };
    int rc = load(p, cert_name, scratch, &cert, err);
    if (rc < 0 || load_or_make_key(p, key_name, &ca->key, err) < 0)
        return -1;
    if (rc == 0) {
        struct certificate_request r = { .common_name = common_name, .is_ca = true };
        set_validity(p, &r, PKI_AUTHORITY_DAYS * NS_PER_DAY);
        if (crypto_sign_certificate(&r, ca->key, (struct bytes){ 0 }, ca->key, scratch, &cert,
                                    err) < 0)
            return error_wrap(err, "make %s", cert_name);
        if (store(p, cert_name, cert, 0644, err) < 0)
            return -1;
    }
    int64_t expiry;
    if (crypto_certificate_expiry(cert, &expiry, err) < 0)
        return error_wrap(err, "%s/%s", p->dir, cert_name);
    if (expiry < clock_wall_ns(p->clock) + PKI_AUTHORITY_WARN_DAYS * NS_PER_DAY)
        log_warn("apiserver", "%s/%s expires in less than %d days", p->dir, cert_name,
                 PKI_AUTHORITY_WARN_DAYS);
    ca->cert = arena_bytes(p->arena, cert);
    return 0;
}

/* One authority signs for servers and for clients unless two are given in the files: a node that
 * joins with a kubeconfig alone then knows whom to trust on its own port.  What a certificate is
 * good for is in its extended key usage. */
static int share_authority(struct pki *p, struct error *err)
{
    scoped(arena) struct arena *scratch = arena_new();
    struct bytes cert;
    int rc = load(p, "client-ca.crt", scratch, &cert, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if (store(p, "client-ca.key", p->server_ca.key, 0600, err) < 0)
        return -1;
    return store(p, "client-ca.crt", p->server_ca.cert, 0644, err);
}

int pki_client_certificate(const struct pki *p, const char *user, const char *const *groups,
                           struct arena *arena, struct bytes *cert_pem, struct bytes *key_pem,
                           struct error *err)
{
    struct certificate_request r = { .common_name = user,
                                     .organizations = groups,
                                     .for_client = true };
    set_validity(p, &r, p->life_ns);
    if (crypto_new_key(arena, key_pem, err) < 0 ||
        crypto_sign_certificate(&r, *key_pem, p->client_ca.cert, p->client_ca.key, arena, cert_pem,
                                err) < 0)
        return error_wrap(err, "client certificate of %s", user);
    return 0;
}

int pki_serving_certificate(const struct pki *p, const char *common_name,
                            const char *const *dns_names, const char *const *ip_addresses,
                            struct arena *arena, struct bytes *cert_pem, struct bytes *key_pem,
                            struct error *err)
{
    struct certificate_request r = { .common_name = common_name,
                                     .dns_names = dns_names,
                                     .ip_addresses = ip_addresses,
                                     .for_server = true };
    set_validity(p, &r, p->life_ns);
    if (crypto_new_key(arena, key_pem, err) < 0 ||
        crypto_sign_certificate(&r, *key_pem, p->server_ca.cert, p->server_ca.key, arena, cert_pem,
                                err) < 0)
        return error_wrap(err, "serving certificate of %s", common_name);
    return 0;
}

/* ---- the API server's own names ---- */

static bool is_address(const char *s)
{
    struct in6_addr any;
    return inet_pton(AF_INET, s, &any) == 1 || inet_pton(AF_INET6, s, &any) == 1;
}

static bool contains(const char *const *list, size_t n, const char *s)
{
    for (size_t i = 0; i < n; i++)
        if (str_equal(list[i], s))
            return true;
    return false;
}

static int sans_add(struct sans *s, const char *san, struct error *err)
{
    bool address = is_address(san);
    const char **list = address ? s->addresses : s->names;
    size_t *n = address ? &s->addresses_n : &s->names_n;
    if (str_empty(san) || contains(list, *n, san))
        return 0;
    if (*n == SANS_MAX)
        return error_set(err, ERR_BAD_REQUEST, "more than %d names for the serving certificate",
                         SANS_MAX);
    list[(*n)++] = san;
    return 0;
}

/* "10.43.0.0/16" -> "10.43.0.1" */
static const char *first_service_address(const char *cidr, struct arena *a)
{
    char *base = arena_strdup(a, cidr);
    char *slash = strchr(base, '/');
    if (slash)
        *slash = 0;
    bool is_v6 = strchr(base, ':') != NULL;
    uint8_t address[16];
    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, base, address) != 1)
        return "";
    address[is_v6 ? 15 : 3]++;
    char text[INET6_ADDRSTRLEN];
    inet_ntop(is_v6 ? AF_INET6 : AF_INET, address, text, sizeof(text));
    return arena_strdup(a, text);
}

static int collect_sans(const struct apiserver_config *config, struct sans *s, struct arena *a,
                        struct error *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof(host) - 1) < 0)
        return error_errno(err, "host name");
    const char *domain =
        str_empty(config->cluster_domain) ? "cluster.local" : config->cluster_domain;
    const char *fixed[] = {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        arena_printf(a, "kubernetes.default.svc.%s", domain),
        "localhost",
        host[0] ? arena_strdup(a, host) : "",
        "127.0.0.1",
        "::1",
        config->advertise_address ? config->advertise_address : "",
        config->service_cidr ? first_service_address(config->service_cidr, a) : "",
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (sans_add(s, fixed[i], err) < 0)
            return -1;
    for (const char *const *san = config->tls_sans; san && *san; san++)
        if (sans_add(s, *san, err) < 0)
            return -1;
    return 0;
}

static int sign_serving(struct pki *p, struct error *err)
{
    scoped(arena) struct arena *scratch = arena_new();
    struct certificate_request r = { .common_name = "kube-apiserver",
                                     .dns_names = p->sans.names,
                                     .ip_addresses = p->sans.addresses,
                                     .for_server = true };
    struct tls_server_config tls = { .key_pem = p->serving_key,
                                     .client_ca_pem = p->client_ca.cert };
    set_validity(p, &r, p->life_ns);
    if (crypto_sign_certificate(&r, p->serving_key, p->server_ca.cert, p->server_ca.key, scratch,
                                &tls.certificate_pem, err) < 0)
        return error_wrap(err, "serving certificate");
    if (store(p, "serving-kube-apiserver.crt", tls.certificate_pem, 0644, err) < 0)
        return -1;
    if (p->server_tls && tls_server_renew(p->server_tls, tls.certificate_pem, tls.key_pem, err) < 0)
        return -1;
    if (!p->server_tls && !(p->server_tls = tls_server_new(&tls, err)))
        return -1;
    pthread_mutex_lock(&p->lock);
    p->serving_expiry_ns = r.not_after_ns;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

/* The key is kept; the certificate is signed at every start, because flags and addresses may have
 * changed since the last one and a signature costs less than finding out. */
static int open_serving(struct pki *p, const struct apiserver_config *config, struct error *err)
{
    if (load_or_make_key(p, "serving-kube-apiserver.key", &p->serving_key, err) < 0 ||
        collect_sans(config, &p->sans, p->arena, err) < 0)
        return -1;
    return sign_serving(p, err);
}

/* ---- client certificates of our own ---- */

static void own_client_deinit(struct own_client *c)
{
    shared_bytes_unref(c->cert);
    shared_bytes_unref(c->key);
}

static void own_client_set(struct pki *p, struct own_client *c, struct bytes cert, struct bytes key,
                           int64_t expiry_ns)
{
    pthread_mutex_lock(&p->lock);
    struct own_client old = *c;
    c->cert = shared_bytes_new(cert);
    c->key = shared_bytes_new(key);
    c->expiry_ns = expiry_ns;
    pthread_mutex_unlock(&p->lock);
    own_client_deinit(&old);
}

static int64_t due_ns(const struct pki *p, int64_t expiry_ns)
{
    return expiry_ns - p->life_ns / 3;
}

static bool is_due(const struct pki *p, int64_t expiry_ns)
{
    return clock_wall_ns(p->clock) >= due_ns(p, expiry_ns);
}

static int make_client(struct pki *p, struct own_client *c, struct error *err)
{
    scoped(arena) struct arena *scratch = arena_new();
    const char *groups[] = { c->group, NULL };
    struct bytes cert, key;
    int64_t expiry;
    if (pki_client_certificate(p, c->user, groups, scratch, &cert, &key, err) < 0 ||
        crypto_certificate_expiry(cert, &expiry, err) < 0 ||
        store(p, arena_printf(scratch, "%s.key", c->stem), key, 0600, err) < 0 ||
        store(p, arena_printf(scratch, "%s.crt", c->stem), cert, 0644, err) < 0)
        return -1;
    own_client_set(p, c, cert, key, expiry);
    return 0;
}

/* Whoever dies between two files leaves a key beside the certificate of another one. */
static bool belong_together(struct bytes cert, struct bytes key)
{
    struct error err = { 0 };
    struct tls_client_config config = { .certificate_pem = cert, .key_pem = key };
    scoped(tls) struct tls *tls = tls_client_new(&config, &err);
    return tls != NULL;
}

static int open_client(struct pki *p, struct own_client *c, struct error *err)
{
    scoped(arena) struct arena *scratch = arena_new();
    char *cert_name = arena_printf(scratch, "%s.crt", c->stem);
    struct bytes cert, key;
    int64_t expiry;
    int has_cert = load(p, cert_name, scratch, &cert, err);
    int has_key =
        has_cert < 0 ? -1 : load(p, arena_printf(scratch, "%s.key", c->stem), scratch, &key, err);
    if (has_key < 0)
        return -1;
    if (!has_cert || !has_key)
        return make_client(p, c, err);
    if (crypto_certificate_expiry(cert, &expiry, err) < 0)
        return error_wrap(err, "%s/%s", p->dir, cert_name);
    if (is_due(p, expiry) || !belong_together(cert, key))
        return make_client(p, c, err);
    own_client_set(p, c, cert, key, expiry);
    return 0;
}

static int open_clients(struct pki *p, struct error *err)
{
    p->admin = (struct own_client){ .stem = "client-admin",
                                    .user = "system:admin",
                                    .group = "system:masters" };
    p->kubelet_client = (struct own_client){ .stem = "client-kube-apiserver",
                                             .user = "kube-apiserver",
                                             .group = "system:masters" };
    return open_client(p, &p->admin, err) < 0 ? -1 : open_client(p, &p->kubelet_client, err);
}

static int open_token_key(struct pki *p, struct error *err)
{
    struct bytes pem;
    if (load_or_make_key(p, "service.key", &pem, err) < 0)
        return -1;
    p->token_key = jwt_key_new(pem, err);
    return p->token_key ? 0 : error_wrap(err, "%s/service.key", p->dir);
}

static int open_all(struct pki *p, const struct apiserver_config *config, struct error *err)
{
    if (open_authority(p, "server-ca", "coracle-ca", &p->server_ca, err) < 0 ||
        share_authority(p, err) < 0 ||
        open_authority(p, "client-ca", "coracle-client-ca", &p->client_ca, err) < 0 ||
        open_authority(p, "request-header-ca", "coracle-request-header-ca", &p->request_header_ca,
                       err) < 0)
        return -1;
    if (open_serving(p, config, err) < 0 || open_clients(p, err) < 0)
        return -1;
    return open_token_key(p, err);
}

struct pki *pki_open(const struct apiserver_config *config, struct error *err)
{
    return pki_open_at(config, &system_clock, err);
}

struct pki *pki_open_at(const struct apiserver_config *config, const struct clock *clock,
                        struct error *err)
{
    struct arena *arena = arena_new();
    struct pki *p = arena_zalloc(arena, sizeof(*p));
    p->arena = arena;
    p->clock = clock;
    p->life_ns = config->certificate_life_ns > 0 ? config->certificate_life_ns
                                                 : PKI_CERTIFICATE_DAYS * NS_PER_DAY;
    pthread_mutex_init(&p->lock, NULL);
    p->dir = arena_printf(arena, "%s/server/tls", config->data_dir);
    if (open_all(p, config, err) < 0) {
        pki_free(p);
        return NULL;
    }
    return p;
}

void pki_free(struct pki *p)
{
    if (!p)
        return;
    jwt_key_free(p->token_key);
    tls_unref(p->server_tls);
    own_client_deinit(&p->admin);
    own_client_deinit(&p->kubelet_client);
    pthread_mutex_destroy(&p->lock);
    arena_free(p->arena);
}

/* ---- renewal ---- */

int64_t pki_renew_at_ns(struct pki *p)
{
    pthread_mutex_lock(&p->lock);
    int64_t first = p->serving_expiry_ns;
    if (p->admin.expiry_ns < first)
        first = p->admin.expiry_ns;
    if (p->kubelet_client.expiry_ns < first)
        first = p->kubelet_client.expiry_ns;
    pthread_mutex_unlock(&p->lock);
    return due_ns(p, first);
}

/* Nobody else writes expiry times. */
int pki_renew(struct pki *p, struct error *err)
{
    if (is_due(p, p->serving_expiry_ns) && sign_serving(p, err) < 0)
        return -1;
    if (is_due(p, p->admin.expiry_ns) && make_client(p, &p->admin, err) < 0)
        return -1;
    if (is_due(p, p->kubelet_client.expiry_ns))
        return make_client(p, &p->kubelet_client, err);
    return 0;
}

struct tls *pki_server_tls(const struct pki *p)
{
    return p->server_tls;
}

void pki_kubelet_client(struct pki *p, struct arena *arena, struct tls_client_config *out)
{
    pthread_mutex_lock(&p->lock);
    *out = (struct tls_client_config){
        .ca_pem = p->server_ca.cert,
        .certificate_pem = arena_bytes(arena, shared_bytes_view(p->kubelet_client.cert)),
        .key_pem = arena_bytes(arena, shared_bytes_view(p->kubelet_client.key)),
    };
    pthread_mutex_unlock(&p->lock);
}

struct bytes pki_ca_pem(const struct pki *p)
{
    return p->server_ca.cert;
}

struct bytes pki_client_ca_pem(const struct pki *p)
{
    return p->client_ca.cert;
}

const struct jwt_key *pki_token_key(const struct pki *p)
{
    return p->token_key;
}
