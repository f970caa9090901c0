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
 * missing file is made, a damaged one is an error, never replaced.  Certificates live for a year,
 * or as long as the configuration says, and are signed anew when a third of that is left.
 *
 * Threads: any after pki_open.
 */
#pragma once

#include "apiserver/apiserver.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/tls.h"

#define PKI_CERTIFICATE_DAYS    365
#define PKI_AUTHORITY_DAYS      3650
#define PKI_AUTHORITY_WARN_DAYS 365 /* what it signs may outlive it from then on */

struct pki;

struct pki *pki_open(const struct apiserver_config *config, struct error *err);
/* The same at another time: tests of renewal. */
struct pki *pki_open_at(const struct apiserver_config *config, const struct clock *clock,
                        struct error *err);
void pki_free(struct pki *p);
DEFINE_SCOPED(pki, struct pki *, pki_free)

/* Signs anew the certificates above of which a third of the life or less is left.  One at a time.
 */
must_check int pki_renew(struct pki *p, struct error *err);
/* The wall time at which there is something to renew. */
int64_t pki_renew_at_ns(struct pki *p);

/* Serves with the API's newest certificate and asks for client certificates.  Valid as long as P.
 */
struct tls *pki_server_tls(const struct pki *p);
/* To dial kubelets, in ARENA. */
void pki_kubelet_client(struct pki *p, struct arena *arena, struct tls_client_config *out);

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
