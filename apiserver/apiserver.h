/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apiserver.h - the API over HTTPS, on top of a store.
 */
#pragma once

#include "api/client.h"
#include "storage/storage.h"

struct apiserver;

struct apiserver_config {
    struct storage *storage;
    const char *data_dir;          /* certificates and keys live in <data_dir>/server/tls */
    const char *bind_address;      /* "0.0.0.0" */
    int port;                      /* 6443; 0: any free one */
    const char *advertise_address; /* what endpoints of the kubernetes Service say */
    const char *const *tls_sans;   /* further names and addresses; ends with NULL; may be NULL */
    const char *service_cidr;      /* "10.43.0.0/16" */
    const char *node_port_range;   /* "30000-32767" */
    const char *cluster_domain;    /* "cluster.local" */
    const char *own_node;          /* this process' node, which gets the role; NULL: none */
    /* An EncryptionConfiguration; NULL: <data_dir>/server/cred/encryption-config.json, which is
     * made with a new key for Secrets if there is none. */
    const char *encryption_config;
    bool has_scheduler, has_controllers; /* in this process, without an election */
    int64_t certificate_life_ns;         /* of all but the authorities; 0: a year */
    int loops;                           /* loop threads; 0: one per core, at most 4 */
};

/* For servers that share a store: makes the certificate authorities and keys of CONFIG's data
 * folder those of all, kept in the store and sealed with TOKEN.  Before apiserver_start().
 * ERR_CONFLICT: the cluster has another token, or this folder holds other keys. */
must_check int apiserver_share_keys(const struct apiserver_config *config, struct bytes token,
                                    struct error *err);

/* Serves as soon as it returns.  Makes the CA, certificates and keys that are missing, and the
 * objects that a cluster starts with (namespaces, RBAC bootstrap policy, priority classes, the
 * kubernetes Service and its endpoints). */
struct apiserver *apiserver_start(const struct apiserver_config *config, struct error *err);
void apiserver_stop(struct apiserver *a); /* after every loopback client is closed */
int apiserver_port(const struct apiserver *a);

/* The API without a socket, as USER with GROUPS (ends with NULL; system:authenticated is added):
 * the same authorization and admission. */
struct client *apiserver_loopback(struct apiserver *a, const char *user, const char *const *groups);

/* ---- the cluster's certificates ---- */

/* Signs anew what the server shows to clients and kubelets, where a third of its life is left.  To
 * be called at the wall time that the second function tells; one at a time. */
must_check int apiserver_renew_certificates(struct apiserver *a, struct error *err);
int64_t apiserver_renew_at_ns(struct apiserver *a);

/* Adds to OUT a kubeconfig with a new client certificate of the cluster's CA for USER in GROUPS. */
must_check int apiserver_print_kubeconfig(struct apiserver *a, const char *server_url,
                                          const char *user, const char *const *groups,
                                          struct buffer *out, struct error *err);
/* A serving certificate of the cluster's CA (the kubelet's), and the CA itself. */
must_check int apiserver_serving_certificate(struct apiserver *a, const char *common_name,
                                             const char *const *dns_names,
                                             const char *const *ip_addresses, struct arena *arena,
                                             struct bytes *cert_pem, struct bytes *key_pem,
                                             struct error *err);
/* Who signs serving certificates (what clients trust), and who signs client certificates (what the
 * kubelet's own port trusts).  Valid as long as A. */
struct bytes apiserver_ca_pem(const struct apiserver *a);
struct bytes apiserver_client_ca_pem(const struct apiserver *a);
