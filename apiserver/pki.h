/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pki.h - the cluster's own certificate authorities, certificates and signing key, in
 * <data_dir>/server/tls under k3s' file names.
 *
 *     server-ca.crt .key               signs serving certificates; published as kube-root-ca.crt
 *     client-ca.crt .key               signs client certificates; the same unless given
 *     request-header-ca.crt .key       signs the front proxy's client certificate
 *     service.key                      signs service-account tokens
 *     serving-kube-apiserver.crt .key
 *     client-kube-apiserver.crt .key   how this server introduces itself to kubelets
 *     client-admin.crt .key            system:admin in system:masters
 *
 * Authorities are made once and kept: to replace one is to replace the trust of the cluster.  A
 * missing file is made, a damaged one is an error, never replaced.
 *
 * Threads: any after pki_open.
 */
#pragma once

#include "apiserver/apiserver.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/tls.h"

#define PKI_CERTIFICATE_DAYS 365
#define PKI_CERTIFICATE_RENEW_DAYS                                                                 \
    90 /* a kept certificate with less than this left is made anew                                 \
        */
#define PKI_AUTHORITY_DAYS 3650

struct pki;

struct pki *pki_open(const struct apiserver_config *config, struct error *err);
/* The same at another time: tests of renewal. */
struct pki *pki_open_at(const struct apiserver_config *config, const struct clock *clock,
                        struct error *err);
void pki_free(struct pki *p);
DEFINE_SCOPED(pki, struct pki *, pki_free)

/* Serves with the API's certificate and asks for client certificates. */
struct tls *pki_server_tls(const struct pki *p, struct error *err);
/* To dial kubelets.  The bytes live as long as P. */
void pki_kubelet_client(const struct pki *p, struct tls_client_config *out);

/* Views valid as long as P. */
struct bytes pki_ca_pem(const struct pki *p); /* of serving certificates */
struct bytes pki_client_ca_pem(const struct pki *p);
const struct jwt_key *pki_token_key(const struct pki *p);

/* A new key and a certificate for it, in ARENA.  GROUPS, DNS_NAMES and IP_ADDRESSES end with NULL
 * and may be NULL. */
must_check int pki_client_certificate(const struct pki *p, const char *user,
                                      const char *const *groups, struct arena *arena,
                                      struct bytes *cert_pem, struct bytes *key_pem,
                                      struct error *err);
must_check int pki_serving_certificate(const struct pki *p, const char *common_name,
                                       const char *const *dns_names,
                                       const char *const *ip_addresses, struct arena *arena,
                                       struct bytes *cert_pem, struct bytes *key_pem,
                                       struct error *err);

/* A kubeconfig with everything embedded; its cluster, user and context are named "default". */
void kubeconfig_print(struct bytes ca_pem, const char *server_url, struct bytes cert_pem,
                      struct bytes key_pem, struct buffer *out);
