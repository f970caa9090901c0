/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - what the user asked for: flags, then environment, then the configuration file.
 *
 * Names follow k3s': --data-dir is CORACLE_DATA_DIR in the environment and `data-dir:` in
 * /etc/coracle/config.yaml.  A flag wins over the environment, which wins over the file; for lists
 * the places add up.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

#define CONFIG_LIST_MAX 64

struct config_list { /* ends with NULL */
    const char *items[CONFIG_LIST_MAX + 1];
    size_t n;
};

struct config {
    const char *config_file;
    const char *data_dir;
    const char *bind_address;
    const char *advertise_address; /* NULL: the node's address */
    int64_t https_listen_port;
    struct config_list tls_san;
    const char *datastore_endpoint; /* NULL: a store of our own */
    const char *datastore_cafile, *datastore_certfile, *datastore_keyfile;
    const char *token; /* NULL: in TOKEN_FILE, or made at the first start */
    const char *token_file;
    bool leader_elect;
    int64_t leader_elect_lease_duration_ns;
    int64_t leader_elect_renew_deadline_ns;
    int64_t leader_elect_retry_period_ns;
    const char *etcd_listen; /* NULL: the store is not served */
    const char *cluster_cidr;
    const char *service_cidr;
    const char *service_node_port_range;
    int64_t certificate_life_ns;
    const char *cluster_dns; /* NULL: the tenth address of service_cidr */
    const char *cluster_domain;
    const char *encryption_provider_config; /* NULL: the cluster's own */
    const char *
        write_kubeconfig; /* NULL: /etc/coracle/coracle.yaml, or in the data folder when not root */
    const char *write_kubeconfig_mode;
    const char *node_name; /* NULL: the host's name */
    const char *node_ip;   /* NULL: of the interface with the default route */
    struct config_list node_label;
    struct config_list node_taint;
    struct config_list disable;
    bool disable_agent;
    bool disable_scheduler;
    bool disable_controllers;
    bool disable_kube_proxy;
    const char *container_runtime_endpoint;
    const char *pod_manifest_path;
    const char *private_registry; /* a registries.yaml */
    int64_t kubelet_port;
    const char *tls_cert_file; /* of a kubelet that runs alone; NULL: it signs its own */
    const char *tls_private_key_file;
    const char *kubeconfig; /* of a part that runs alone */
    bool cleanup;           /* proxy: remove the rules and exit */
    bool debug;
    bool help;

    bool etcd_disable_snapshots;
    const char *etcd_snapshot_schedule_cron;
    int64_t etcd_snapshot_retention;
    const char *etcd_snapshot_dir; /* NULL: server/snapshots in data_dir */
    const char *etcd_snapshot_name;
    bool etcd_snapshot_compress;
    bool cluster_reset;
    const char *cluster_reset_restore_path;

    /* Of the tools, see tool.h. */
    struct config_list words; /* what is no flag */
    const char *name;
    const char *output;
    bool skip_hash_check;
    bool force;
    int64_t bump_revision;
    const char *from, *to;
    bool overwrite;
};

/* A command that takes flags; the bits say which flags. */
enum config_command {
    COMMAND_SERVER = 1 << 0,
    COMMAND_APISERVER = 1 << 1,
    COMMAND_SCHEDULER = 1 << 2,
    COMMAND_CONTROLLERS = 1 << 3,
    COMMAND_KUBELET = 1 << 4,
    COMMAND_PROXY = 1 << 5,
    COMMAND_SNAPSHOT_SAVE = 1 << 6,
    COMMAND_SNAPSHOT_LIST = 1 << 7,
    COMMAND_SNAPSHOT_DELETE = 1 << 8,
    COMMAND_SNAPSHOT_PRUNE = 1 << 9,
    COMMAND_SNAPSHOT_STATUS = 1 << 10,
    COMMAND_SNAPSHOT_RESTORE = 1 << 11,
    COMMAND_DATASTORE_MIGRATE = 1 << 12,
};

/* Fills CONFIG (defaults first); strings live in ARENA.  ARGS are the words after the command.
 * ERR_BAD_REQUEST with one line that names the flag, variable or file and what is wrong with it. */
must_check int config_load(struct config *config, enum config_command command, int args_n,
                           char **args, struct arena *arena, struct error *err);
void config_print_help(enum config_command command, const char *name);
