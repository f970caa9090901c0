/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfig.c - kubeconfig files, and the certificate functions of apiserver.h. */
#include "apiserver/pki.h"
#include "apiserver/server.h"

void kubeconfig_print(struct bytes ca_pem, const char *server_url, struct bytes cert_pem,
                      struct bytes key_pem, struct buffer *out)
{
    scoped(arena) struct arena *a = arena_new();
    buffer_printf(out,
                  "apiVersion: v1\n"
                  "clusters:\n"
                  "- cluster:\n"
                  "    certificate-authority-data: %s\n"
                  "    server: %s\n"
                  "  name: default\n"
                  "contexts:\n"
                  "- context:\n"
                  "    cluster: default\n"
                  "    user: default\n"
                  "  name: default\n"
                  "current-context: default\n"
                  "kind: Config\n"
                  "preferences: {}\n"
                  "users:\n"
                  "- name: default\n"
                  "  user:\n"
                  "    client-certificate-data: %s\n"
                  "    client-key-data: %s\n",
                  base64_encode(ca_pem, a), server_url, base64_encode(cert_pem, a),
                  base64_encode(key_pem, a));
}

int apiserver_renew_certificates(struct apiserver *a, struct error *err)
{
    return pki_renew(a->pki, err);
}

int64_t apiserver_renew_at_ns(struct apiserver *a)
{
    return pki_renew_at_ns(a->pki);
}

int apiserver_print_kubeconfig(struct apiserver *a, const char *server_url, const char *user,
                               const char *const *groups, struct buffer *out, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct bytes cert, key;
    if (pki_client_certificate(a->pki, user, groups, arena, &cert, &key, err) < 0)
        return -1;
    kubeconfig_print(pki_ca_pem(a->pki), server_url, cert, key, out);
    return 0;
}

int apiserver_serving_certificate(struct apiserver *a, const char *common_name,
                                  const char *const *dns_names, const char *const *ip_addresses,
                                  struct arena *arena, struct bytes *cert_pem,
                                  struct bytes *key_pem, struct error *err)
{
    return pki_serving_certificate(a->pki, common_name, dns_names, ip_addresses, arena, cert_pem,
                                   key_pem, err);
}

struct bytes apiserver_ca_pem(const struct apiserver *a)
{
    return pki_ca_pem(a->pki);
}

struct bytes apiserver_client_ca_pem(const struct apiserver *a)
{
    return pki_client_ca_pem(a->pki);
}
