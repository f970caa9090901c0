/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_client.h - the Container Runtime Interface as plain structs; protobuf stays in cri_*.c.
 *
 * Every call blocks until the runtime has answered.  What a call returns lives in the ARENA given.
 * ERR_UNAVAILABLE: the runtime is not there; ERR_NOT_FOUND as the runtime says it.  Messages of the
 * runtime are as upstream's kubelet has them: "rpc error: code = NotFound desc = ...".
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct cri_client;

struct cri_client *cri_client_new(const char *endpoint, struct error *err); /* "unix:/path" */
void cri_client_free(struct cri_client *c);
DEFINE_SCOPED(cri_client, struct cri_client *, cri_client_free)

/* Ends calls that wait for a grace period, a command or a download, now and later, with
 * ERR_CANCELED: the node's agent stops, its containers do not. */
void cri_client_interrupt(struct cri_client *c);
bool cri_client_is_interrupted(struct cri_client *c); /* false for NULL */

/* ERR's message without what tells of the protocol: upstream shows some without. */
const char *cri_error_message(const struct error *err);

/* ---- pieces ---- */

struct cri_pair {
    const char *name;
    const char *value;
};
struct cri_pairs { /* zero-initialised is empty */
    struct cri_pair *items;
    size_t n, capacity;
};
void cri_pairs_add(struct cri_pairs *p, struct arena *a, const char *name, const char *value);
const char *cri_pairs_get(const struct cri_pairs *p, const char *name); /* NULL: none */

struct cri_strings { /* zero-initialised is empty */
    char **items;
    size_t n, capacity;
};
void cri_strings_add(struct cri_strings *s, struct arena *a, const char *text);

enum cri_namespace {
    CRI_NAMESPACE_POD,
    CRI_NAMESPACE_CONTAINER,
    CRI_NAMESPACE_NODE,
    CRI_NAMESPACE_TARGET
};
enum cri_profile { CRI_PROFILE_RUNTIME_DEFAULT, CRI_PROFILE_UNCONFINED, CRI_PROFILE_LOCALHOST };
enum cri_propagation {
    CRI_PROPAGATION_PRIVATE,
    CRI_PROPAGATION_HOST_TO_CONTAINER,
    CRI_PROPAGATION_BIDIRECTIONAL
};

struct cri_security_profile {
    enum cri_profile type;
    const char *localhost_ref;
};

struct cri_security {
    enum cri_namespace network, pid, ipc;
    const char *target_id; /* of a container, for CRI_NAMESPACE_TARGET */
    bool privileged;
    bool readonly_rootfs;
    bool no_new_privileges;
    int64_t user;  /* -1: the image's */
    int64_t group; /* -1: the image's */
    const char *user_name;
    int64_t *groups; /* supplementary */
    size_t groups_n;
    struct cri_strings add_capabilities, drop_capabilities;
    const struct cri_security_profile *seccomp;  /* NULL: the runtime's choice */
    const struct cri_security_profile *apparmor; /* NULL: the runtime's choice */
    struct cri_strings masked_paths, readonly_paths;
};

struct cri_resources {
    int64_t cpu_period, cpu_quota, cpu_shares;
    int64_t memory_limit_bytes;
    int64_t oom_score_adj;
};

struct cri_port {
    const char *protocol; /* "TCP", "UDP", "SCTP" */
    int container_port, host_port;
    const char *host_ip;
};

struct cri_sandbox_config {
    const char *name, *ns, *uid;
    unsigned attempt;
    const char *hostname;
    const char *log_directory;
    bool has_dns;
    struct cri_strings dns_servers, dns_searches, dns_options;
    struct cri_port *ports;
    size_t ports_n;
    struct cri_pairs labels, annotations, sysctls;
    const char *cgroup_parent;
    const char *runtime_handler; /* NULL: the runtime's own choice */
    struct cri_security security;
};

struct cri_mount {
    const char *container_path, *host_path;
    bool readonly;
    enum cri_propagation propagation;
};
struct cri_device {
    const char *container_path, *host_path, *permissions;
};

struct cri_container_config {
    const char *name;
    unsigned attempt;
    const char *image; /* the id the runtime knows it by */
    struct cri_strings command, args;
    const char *working_dir;
    struct cri_pairs envs, labels, annotations;
    struct cri_mount *mounts;
    size_t mounts_n, mounts_capacity;
    struct cri_device *devices;
    size_t devices_n, devices_capacity;
    const char *log_path; /* below the sandbox' log directory */
    bool has_stdin, stdin_once, tty;
    struct cri_resources resources;
    struct cri_security security;
};

/* ---- pod sandboxes ---- */

struct cri_sandbox {
    const char *id, *name, *ns, *uid;
    unsigned attempt;
    bool is_ready;
    int64_t created_ns;
    struct cri_pairs labels, annotations;
    struct cri_strings ips; /* cri_sandbox_status() only */
    bool is_host_network;   /* cri_sandbox_status() only */
};

must_check int cri_run_sandbox(struct cri_client *c, const struct cri_sandbox_config *config,
                               struct arena *a, const char **id, struct error *err);
must_check int cri_stop_sandbox(struct cri_client *c, const char *id, struct error *err);
must_check int cri_remove_sandbox(struct cri_client *c, const char *id, struct error *err);
must_check int cri_sandbox_status(struct cri_client *c, const char *id, struct arena *a,
                                  struct cri_sandbox *out, struct error *err);
/* Of the pod with that uid, or all (NULL). */
must_check int cri_list_sandboxes(struct cri_client *c, const char *pod_uid, struct arena *a,
                                  struct cri_sandbox **out, size_t *n, struct error *err);

/* ---- containers ---- */

enum cri_container_state { /* CRI's numbers */
                           CRI_CONTAINER_CREATED,
                           CRI_CONTAINER_RUNNING,
                           CRI_CONTAINER_EXITED,
                           CRI_CONTAINER_UNKNOWN,
};

struct cri_container {
    const char *id, *sandbox_id, *name;
    unsigned attempt;
    enum cri_container_state state;
    int64_t created_ns;
    const char *image, *image_ref;
    struct cri_pairs labels, annotations;
    /* cri_container_status() only: */
    int64_t started_ns, finished_ns; /* 0: not yet */
    int exit_code;
    const char *reason, *message;
    const char *log_path;
};

must_check int cri_create_container(struct cri_client *c, const char *sandbox_id,
                                    const struct cri_container_config *config,
                                    const struct cri_sandbox_config *sandbox, struct arena *a,
                                    const char **id, struct error *err);
must_check int cri_start_container(struct cri_client *c, const char *id, struct error *err);
/* SIGTERM, then SIGKILL after TIMEOUT_S. */
must_check int cri_stop_container(struct cri_client *c, const char *id, int64_t timeout_s,
                                  struct error *err);
must_check int cri_remove_container(struct cri_client *c, const char *id, struct error *err);
must_check int cri_container_status(struct cri_client *c, const char *id, struct arena *a,
                                    struct cri_container *out, struct error *err);
must_check int cri_list_containers(struct cri_client *c, const char *pod_uid, struct arena *a,
                                   struct cri_container **out, size_t *n, struct error *err);
must_check int cri_reopen_log(struct cri_client *c, const char *id, struct error *err);

struct cri_exec_result {
    struct bytes output; /* standard output, then standard error */
    int exit_code;
};
/* ERR_TIMEOUT when it did not end within TIMEOUT_S (0: none). */
must_check int cri_exec_sync(struct cri_client *c, const char *id,
                             const struct cri_strings *command, int64_t timeout_s, struct arena *a,
                             struct cri_exec_result *out, struct error *err);

/* Streaming: each gives the URL of the runtime's own server, which speaks SPDY and WebSocket. */
struct cri_stream_request {
    const char *container_id; /* for port-forward the sandbox' */
    struct cri_strings command;
    bool has_stdin, has_stdout, has_stderr, tty;
};
must_check int cri_exec_url(struct cri_client *c, const struct cri_stream_request *r,
                            struct arena *a, const char **url, struct error *err);
must_check int cri_attach_url(struct cri_client *c, const struct cri_stream_request *r,
                              struct arena *a, const char **url, struct error *err);
/* PORTS are those of a WebSocket client; a SPDY client names them in its streams. */
must_check int cri_port_forward_url(struct cri_client *c, const char *sandbox_id,
                                    const int32_t *ports, size_t ports_n, struct arena *a,
                                    const char **url, struct error *err);

struct cri_stats {
    const char *id, *name;
    struct cri_pairs labels;
    int64_t timestamp_ns;
    uint64_t cpu_core_ns;
    uint64_t memory_working_set_bytes, memory_usage_bytes, memory_rss_bytes;
    uint64_t rootfs_used_bytes, rootfs_inodes_used;
};
must_check int cri_list_stats(struct cri_client *c, const char *pod_uid, struct arena *a,
                              struct cri_stats **out, size_t *n, struct error *err);

/* ---- the runtime ---- */

struct cri_version {
    const char *runtime_name, *runtime_version;
};
must_check int cri_version(struct cri_client *c, struct arena *a, struct cri_version *out,
                           struct error *err);
struct cri_status {
    bool is_runtime_ready, is_network_ready;
    const char *runtime_reason, *runtime_message;
    const char *network_reason, *network_message;
};
must_check int cri_status(struct cri_client *c, struct arena *a, struct cri_status *out,
                          struct error *err);

/* ---- images (cri_images.c) ---- */

struct cri_image {
    const char *id;
    struct cri_strings tags, digests;
    uint64_t size_bytes;
    int64_t user; /* -1: not a number */
    const char *user_name;
};
struct cri_auth {
    const char *username, *password, *auth, *server_address, *identity_token;
};
must_check int cri_list_images(struct cri_client *c, struct arena *a, struct cri_image **out,
                               size_t *n, struct error *err);
/* 1: present and in *OUT; 0: not present; -1. */
must_check int cri_image_status(struct cri_client *c, const char *image, struct arena *a,
                                struct cri_image *out, struct error *err);
must_check int cri_pull_image(struct cri_client *c, const char *image, const struct cri_auth *auth,
                              const struct cri_sandbox_config *sandbox, struct arena *a,
                              const char **ref, struct error *err);
must_check int cri_remove_image(struct cri_client *c, const char *image, struct error *err);

/* ---- what happens without our doing (cri_events.c) ---- */

enum cri_event_type { CRI_EVENT_CONTAINER_EXITED, CRI_EVENT_CONTAINER_OOM };
struct cri_events;
/* Calls EVENT for each exit of a container or a sandbox until closed, on a thread of its own;
 * connects again when the stream breaks, after which CONNECTED says that exits may have been
 * missed. */
struct cri_events *cri_events_open(const char *endpoint,
                                   void (*event)(enum cri_event_type type, const char *container_id,
                                                 void *arg),
                                   void (*connected)(void *arg), void *arg, struct error *err);
void cri_events_close(struct cri_events *e);
