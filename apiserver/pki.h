/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pki.h - the cluster's CA, the server's own certificates and the token signing key, kept in
 * <data_dir>/server/tls and made at first start.
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/apiserver.h"
#include "base/crypto.h"
#include "base/tls.h"

struct pki;

struct pki *pki_open(const struct apiserver_config *config, struct error *err);
void pki_free(struct pki *p);

struct tls *pki_server_tls(struct pki *p,
                           struct error *err); /* serves, asks for client certificates */
struct bytes pki_ca_pem(const struct pki *p);
/* How this server introduces itself to kubelets (system:kube-apiserver, kubelet-client
 * certificate). The bytes live as long as P. */
void pki_kubelet_client(const struct pki *p, struct tls_client_config *out);
const struct jwt_key *pki_token_key(const struct pki *p);
