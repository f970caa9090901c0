/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_http.h - the client over HTTPS, against any Kubernetes API server.
 */
#pragma once

#include "api/client.h"

/* PATH: a kubeconfig file; its current context is used. */
struct client *client_http_open(const char *kubeconfig_path, struct error *err);

/* Writes go by this name in managedFields; constant text.  Before the first call of C and of the
 * clients that are opened from it. */
void client_http_set_agent(struct client *c, const char *agent);

/* Acts as a service account, with tokens that ISSUER (a client of client_http_open that outlives
 * this one) asks for when they are needed; an account that does not exist is made. */
struct client *client_http_open_account(struct client *issuer, const char *ns, const char *name,
                                        struct error *err);

/* The certificate authority that the kubeconfig trusts, PEM; empty if it names none.  Lives as long
 * as C. */
struct bytes client_http_ca_pem(struct client *c);
