/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - flags, environment and configuration file as one table. */

#include "cmd/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cron_schedule.h"
#include "base/files.h"
#include "base/yaml.h"
#include "storage/storage.h"

#define CONFIG_FILE_BYTES_MAX (1 << 20)
#define CONFIG_FILE_DEFAULT   "/etc/coracle/config.yaml"
#define BUMP_REVISION_DEFAULT                                                                      \
    "1000000000" /* far more than a cluster writes between two snapshots */

enum option_type {
    OPTION_TEXT,
    OPTION_BOOL,
    OPTION_PORT,
    OPTION_LIST,
    OPTION_IP,
    OPTION_CIDR,
    OPTION_PORT_RANGE,
    OPTION_MODE,
    OPTION_NAME,
    OPTION_LABELS,
    OPTION_TAINTS,
    OPTION_LISTEN, /* address:port or unix:/path */
    OPTION_NUMBER,
    OPTION_CRON,
    OPTION_BASE_NAME, /* of a file: no folder in it */
    OPTION_ENDPOINTS,
    OPTION_DURATION,
    OPTION_FILE, /* that is there, if it was named: a default need not be */
};

#define CONTROL_PLANE (COMMAND_SERVER | COMMAND_APISERVER)
#define NODE          (COMMAND_SERVER | COMMAND_KUBELET)
#define PART_ALONE    (COMMAND_SCHEDULER | COMMAND_CONTROLLERS | COMMAND_KUBELET | COMMAND_PROXY)
#define ELECTED       (COMMAND_SCHEDULER | COMMAND_CONTROLLERS)
#define ALL           (CONTROL_PLANE | PART_ALONE)
#define SNAPSHOT_FILE (COMMAND_SNAPSHOT_DELETE | COMMAND_SNAPSHOT_STATUS | COMMAND_SNAPSHOT_RESTORE)
#define SNAPSHOTS                                                                                  \
    (SNAPSHOT_FILE | COMMAND_SNAPSHOT_SAVE | COMMAND_SNAPSHOT_LIST | COMMAND_SNAPSHOT_PRUNE)
#define SERIES      (COMMAND_SNAPSHOT_SAVE | COMMAND_SNAPSHOT_PRUNE)
#define TOOLS       (SNAPSHOTS | COMMAND_DATASTORE_MIGRATE)
#define FLAG_ONLY   (1u << 31) /* said each time: neither in the environment nor in the file */
#define TAKES_WORDS SNAPSHOT_FILE
#define NUMBER_MAX  (INT64_C(1) << 60)

struct option {
    const char *name;
    char letter; /* the one-letter form k3s has, or 0 */
    enum option_type type;
    size_t offset;
    unsigned commands;
    const char *fallback;
    const char *help;
};

#define AT(field) offsetof(struct config, field)

/* clang-format off */
static const struct option options[] = {
    { "config", 'c', OPTION_TEXT, AT(config_file), ALL | TOOLS, CONFIG_FILE_DEFAULT, "configuration file (YAML, keys are flag names)" },
    { "debug", 0, OPTION_BOOL, AT(debug), ALL | TOOLS, NULL, "log more" },
    { "help", 'h', OPTION_BOOL, AT(help), ALL | TOOLS, NULL, "this text" },
    { "data-dir", 'd', OPTION_TEXT, AT(data_dir), ALL | TOOLS, "/var/lib/coracle", "folder that holds the state" },
    { "bind-address", 0, OPTION_IP, AT(bind_address), CONTROL_PLANE, "0.0.0.0", "address the API listens on" },
    { "https-listen-port", 0, OPTION_PORT, AT(https_listen_port), CONTROL_PLANE, "6443", "port the API listens on" },
    { "advertise-address", 0, OPTION_IP, AT(advertise_address), CONTROL_PLANE, NULL, "address the API is announced under (default: the node's)" },
    { "tls-san", 0, OPTION_LIST, AT(tls_san), CONTROL_PLANE, NULL, "further names or addresses for the API's certificate" },
    { "certificate-life", 0, OPTION_DURATION, AT(certificate_life_ns), CONTROL_PLANE | COMMAND_KUBELET, "8760h", "how long certificates that are signed here are valid; with a third of it left they are renewed" },
    { "datastore-endpoint", 0, OPTION_ENDPOINTS, AT(datastore_endpoint), CONTROL_PLANE | COMMAND_SNAPSHOT_SAVE, NULL, "etcd cluster to keep everything in, https://a:2379,https://b:2379 (default: a store of our own)" },
    { "datastore-cafile", 0, OPTION_FILE, AT(datastore_cafile), CONTROL_PLANE | COMMAND_DATASTORE_MIGRATE | COMMAND_SNAPSHOT_SAVE, NULL, "authority of the etcd cluster's certificates" },
    { "datastore-certfile", 0, OPTION_FILE, AT(datastore_certfile), CONTROL_PLANE | COMMAND_DATASTORE_MIGRATE | COMMAND_SNAPSHOT_SAVE, NULL, "certificate to show to the etcd cluster" },
    { "datastore-keyfile", 0, OPTION_FILE, AT(datastore_keyfile), CONTROL_PLANE | COMMAND_DATASTORE_MIGRATE | COMMAND_SNAPSHOT_SAVE, NULL, "its key" },
    { "token", 't', OPTION_TEXT, AT(token), CONTROL_PLANE, NULL, "secret that all servers of a cluster share" },
    { "token-file", 0, OPTION_FILE, AT(token_file), CONTROL_PLANE, NULL, "file that holds it" },
    { "leader-elect", 0, OPTION_BOOL, AT(leader_elect), ELECTED, NULL, "work only while this process is the elected leader" },
    { "leader-elect-lease-duration", 0, OPTION_DURATION, AT(leader_elect_lease_duration_ns), COMMAND_SERVER | ELECTED, "15s", "how long others wait for a leader that is silent" },
    { "leader-elect-renew-deadline", 0, OPTION_DURATION, AT(leader_elect_renew_deadline_ns), COMMAND_SERVER | ELECTED, "10s", "how long a leader tries to stay it" },
    { "leader-elect-retry-period", 0, OPTION_DURATION, AT(leader_elect_retry_period_ns), COMMAND_SERVER | ELECTED, "2s", "time between two attempts" },
    { "etcd-listen", 0, OPTION_LISTEN, AT(etcd_listen), CONTROL_PLANE, NULL, "where to serve the store as etcd does: address:port with client certificates, or unix:/path" },
    { "cluster-cidr", 0, OPTION_CIDR, AT(cluster_cidr), ALL, "10.42.0.0/16", "addresses for pods" },
    { "encryption-provider-config", 0, OPTION_FILE, AT(encryption_provider_config), CONTROL_PLANE, NULL, "EncryptionConfiguration: what is sealed in the store, and with which keys (default: Secrets, with a key made at the first start)" },
    { "service-cidr", 0, OPTION_CIDR, AT(service_cidr), ALL, "10.43.0.0/16", "addresses for services" },
    { "service-node-port-range", 0, OPTION_PORT_RANGE, AT(service_node_port_range), CONTROL_PLANE, "30000-32767", "ports for NodePort services" },
    { "cluster-dns", 0, OPTION_IP, AT(cluster_dns), ALL, NULL, "address of the DNS service (default: the tenth of --service-cidr)" },
    { "cluster-domain", 0, OPTION_TEXT, AT(cluster_domain), ALL, "cluster.local", "domain of the cluster" },
    { "write-kubeconfig", 'o', OPTION_TEXT, AT(write_kubeconfig), CONTROL_PLANE, NULL, "where to write the administrator's kubeconfig (default: /etc/coracle/coracle.yaml)" },
    { "write-kubeconfig-mode", 0, OPTION_MODE, AT(write_kubeconfig_mode), CONTROL_PLANE, "0600", "its file mode" },
    { "node-name", 0, OPTION_NAME, AT(node_name), ALL | SERIES, NULL, "name of this node (default: the host's)" },
    { "node-ip", 'i', OPTION_IP, AT(node_ip), ALL, NULL, "address of this node (default: of the default route)" },
    { "node-label", 0, OPTION_LABELS, AT(node_label), NODE, NULL, "label for the node, key=value" },
    { "node-taint", 0, OPTION_TAINTS, AT(node_taint), NODE, NULL, "taint for the node, key=value:Effect" },
    { "disable", 0, OPTION_LIST, AT(disable), COMMAND_SERVER, NULL, "packaged components to leave out" },
    { "disable-agent", 0, OPTION_BOOL, AT(disable_agent), COMMAND_SERVER, NULL, "control plane only: no kubelet, no proxy, no root needed" },
    { "disable-scheduler", 0, OPTION_BOOL, AT(disable_scheduler), COMMAND_SERVER, NULL, "no scheduler" },
    { "disable-controller-manager", 0, OPTION_BOOL, AT(disable_controllers), COMMAND_SERVER, NULL, "no controllers" },
    { "disable-kube-proxy", 0, OPTION_BOOL, AT(disable_kube_proxy), COMMAND_SERVER, NULL, "no service proxy" },
    { "container-runtime-endpoint", 0, OPTION_TEXT, AT(container_runtime_endpoint), NODE, NULL, "CRI socket to use instead of a containerd of our own" },
    { "pod-manifest-path", 0, OPTION_TEXT, AT(pod_manifest_path), NODE, NULL, "folder of static pods (default: agent/pod-manifests in --data-dir)" },
    { "private-registry", 0, OPTION_FILE, AT(private_registry), NODE, "/etc/coracle/registries.yaml", "mirrors and credentials of registries, in k3s' format" },
    { "kubelet-port", 0, OPTION_PORT, AT(kubelet_port), NODE, "10250", "port the kubelet listens on" },
    { "tls-cert-file", 0, OPTION_FILE, AT(tls_cert_file), COMMAND_KUBELET, NULL, "certificate the kubelet serves with (default: one it signs itself)" },
    { "tls-private-key-file", 0, OPTION_FILE, AT(tls_private_key_file), COMMAND_KUBELET, NULL, "its key" },
    { "kubeconfig", 0, OPTION_FILE, AT(kubeconfig), PART_ALONE, NULL, "kubeconfig of the API server to work with" },
    { "cleanup", 0, OPTION_BOOL, AT(cleanup), COMMAND_PROXY, NULL, "remove every iptables rule of ours and exit" },
    { "etcd-disable-snapshots", 0, OPTION_BOOL, AT(etcd_disable_snapshots), CONTROL_PLANE, NULL, "no scheduled snapshots of the store" },
    { "etcd-snapshot-schedule-cron", 0, OPTION_CRON, AT(etcd_snapshot_schedule_cron), CONTROL_PLANE, "0 */12 * * *", "when to save one" },
    { "etcd-snapshot-retention", 0, OPTION_NUMBER, AT(etcd_snapshot_retention), CONTROL_PLANE | COMMAND_SNAPSHOT_PRUNE, "5", "how many to keep; 0 keeps all" },
    { "snapshot-retention", 0, OPTION_NUMBER, AT(etcd_snapshot_retention), COMMAND_SNAPSHOT_PRUNE | FLAG_ONLY, NULL, "the same" },
    { "etcd-snapshot-dir", 0, OPTION_TEXT, AT(etcd_snapshot_dir), CONTROL_PLANE | SNAPSHOTS, NULL, "folder of the snapshots (default: server/snapshots in --data-dir)" },
    { "snapshot-dir", 0, OPTION_TEXT, AT(etcd_snapshot_dir), SNAPSHOTS | FLAG_ONLY, NULL, "the same" },
    { "dir", 0, OPTION_TEXT, AT(etcd_snapshot_dir), SNAPSHOTS | FLAG_ONLY, NULL, "the same" },
    { "etcd-snapshot-name", 0, OPTION_BASE_NAME, AT(etcd_snapshot_name), CONTROL_PLANE, "etcd-snapshot", "first part of their names; the node's and the time follow" },
    { "name", 0, OPTION_BASE_NAME, AT(name), SERIES | FLAG_ONLY, NULL, "first part of the names (default: on-demand; prune: etcd-snapshot)" },
    { "etcd-snapshot-compress", 0, OPTION_BOOL, AT(etcd_snapshot_compress), CONTROL_PLANE | COMMAND_SNAPSHOT_SAVE, NULL, "put them into .zip archives" },
    { "snapshot-compress", 0, OPTION_BOOL, AT(etcd_snapshot_compress), COMMAND_SNAPSHOT_SAVE | FLAG_ONLY, NULL, "the same" },
    { "cluster-reset", 0, OPTION_BOOL, AT(cluster_reset), COMMAND_SERVER | FLAG_ONLY, NULL, "make the store anew from a snapshot, and exit" },
    { "cluster-reset-restore-path", 0, OPTION_TEXT, AT(cluster_reset_restore_path), COMMAND_SERVER | FLAG_ONLY, NULL, "that snapshot: a file, or a name in --etcd-snapshot-dir" },
    { "output", 'o', OPTION_TEXT, AT(output), COMMAND_SNAPSHOT_LIST | COMMAND_SNAPSHOT_STATUS | FLAG_ONLY, NULL, "table, json or simple" },
    { "write-out", 'w', OPTION_TEXT, AT(output), COMMAND_SNAPSHOT_STATUS | FLAG_ONLY, NULL, "the same, as etcdctl calls it" },
    { "skip-hash-check", 0, OPTION_BOOL, AT(skip_hash_check), COMMAND_SNAPSHOT_STATUS | COMMAND_SNAPSHOT_RESTORE | FLAG_ONLY, NULL, "take a file without a sum: the database that an etcd left in member/snap/db" },
    { "force", 0, OPTION_BOOL, AT(force), COMMAND_SNAPSHOT_RESTORE | FLAG_ONLY, NULL, "replace the store that is there; it is kept as server/db-old-TIME" },
    { "bump-revision", 0, OPTION_NUMBER, AT(bump_revision), COMMAND_SNAPSHOT_RESTORE | COMMAND_SERVER | FLAG_ONLY, BUMP_REVISION_DEFAULT, "added to the snapshot's revision, so that no client sees revisions go back" },
    { "from", 0, OPTION_TEXT, AT(from), COMMAND_DATASTORE_MIGRATE | FLAG_ONLY, NULL, "a --data-dir, or https:// or http:// endpoints of etcd with commas between, or unix:/path" },
    { "to", 0, OPTION_TEXT, AT(to), COMMAND_DATASTORE_MIGRATE | FLAG_ONLY, NULL, "the same" },
    { "overwrite", 0, OPTION_BOOL, AT(overwrite), COMMAND_DATASTORE_MIGRATE | FLAG_ONLY, NULL, "replace what the target holds; a data folder's store is kept as server/db-old-TIME" },
};
/* clang-format on */

static bool is_list(const struct option *o)
{
    return o->type == OPTION_LIST || o->type == OPTION_LABELS || o->type == OPTION_TAINTS;
}

static const struct option *find_option(const char *name, size_t len, unsigned command)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        bool is_name = strlen(o->name) == len && memcmp(o->name, name, len) == 0;
        if ((o->commands & command) && (is_name || (len == 1 && o->letter == *name)))
            return o;
    }
    return NULL;
}

static bool is_ip(const char *text)
{
    unsigned char binary[16];
    return inet_pton(AF_INET, text, binary) == 1 || inet_pton(AF_INET6, text, binary) == 1;
}

static bool parse_number(const char *text, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < 0 || v > max)
        return false;
    *out = v;
    return true;
}

static bool is_cidr(const char *text)
{
    char address[64];
    const char *slash = strchr(text, '/');
    int64_t bits;
    if (!slash || (size_t)(slash - text) >= sizeof(address))
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    return is_ip(address) && parse_number(slash + 1, strchr(address, ':') ? 128 : 32, &bits);
}

static bool is_port_range(const char *text)
{
    char first[8];
    const char *dash = strchr(text, '-');
    int64_t from, to;
    if (!dash || (size_t)(dash - text) >= sizeof(first))
        return false;
    memcpy(first, text, (size_t)(dash - text));
    first[dash - text] = '\0';
    return parse_number(first, 65535, &from) && parse_number(dash + 1, 65535, &to) && from <= to &&
           from > 0;
}

static bool is_listen_address(const char *text)
{
    char address[64];
    int64_t port;
    if (str_has_prefix(text, "unix:"))
        return text[strlen("unix:")] == '/';
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool has_brackets = len > 2 && text[0] == '[' && colon[-1] == ']';
    if (has_brackets) {
        text++;
        len -= 2;
    }
    if (!len || len >= sizeof(address) || !parse_number(colon + 1, 65535, &port))
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    return is_ip(address) && !strchr(address, ':') == !has_brackets;
}

static bool is_mode(const char *text)
{
    size_t n = strspn(text, "01234567");
    return n >= 3 && n <= 4 && !text[n] && strtoul(text, NULL, 8) <= 0777;
}

/* A DNS subdomain, as names of nodes are. */
static bool is_node_name(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > 253 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool is_first = i == 0 || text[i - 1] == '.', is_last = i + 1 == len || text[i + 1] == '.';
        if (text[i] == '.' ? is_first : (text[i] == '-' && (is_first || is_last)))
            return false;
    }
    return text[len - 1] != '.';
}

/* A key or a value, by its characters; the API server has the last word. */
static bool is_label_text(const char *text, size_t len, const char *marks)
{
    for (size_t i = 0; i < len; i++) {
        bool is_plain = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
                        (text[i] >= '0' && text[i] <= '9');
        if (!is_plain && (i == 0 || i + 1 == len || !strchr(marks, text[i])))
            return false;
    }
    return true;
}

static bool is_label(const char *text)
{
    size_t key = strcspn(text, "=");
    return key && text[key] && is_label_text(text, key, "-_./") &&
           is_label_text(text + key + 1, strlen(text + key + 1), "-_.");
}

static bool is_taint(const char *text)
{
    const char *effect = strrchr(text, ':');
    size_t key = strcspn(text, "=:");
    if (!effect || !key || !is_label_text(text, key, "-_./"))
        return false;
    const char *value = text + key + (text[key] == '=');
    return is_label_text(value, (size_t)(effect - value), "-_.") &&
           (str_equal(effect, ":NoSchedule") || str_equal(effect, ":PreferNoSchedule") ||
            str_equal(effect, ":NoExecute"));
}

static int check_items(const struct config_list *list, enum option_type type, const char *place,
                       struct error *err)
{
    for (size_t i = 0; i < list->n; i++) {
        if (type == OPTION_LABELS && !is_label(list->items[i]))
            return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" is not a label like key=value",
                             place, list->items[i]);
        if (type == OPTION_TAINTS && !is_taint(list->items[i]))
            return error_set(err, ERR_BAD_REQUEST,
                             "%s: \"%s\" is not a taint like key=value:NoSchedule", place,
                             list->items[i]);
    }
    return 0;
}

static int list_add(struct config_list *list, const char *value, const char *place,
                    struct arena *arena, struct error *err)
{
    while (*value) {
        size_t len = strcspn(value, ",");
        if (list->n == CONFIG_LIST_MAX)
            return error_set(err, ERR_BAD_REQUEST, "%s: more than %d values", place,
                             CONFIG_LIST_MAX);
        if (len)
            list->items[list->n++] = arena_strndup(arena, value, len);
        value += len + (value[len] == ',');
    }
    return 0;
}

/* PLACE says where the value was found, for the error message: `--node-ip`, `CORACLE_NODE_IP`. */
static bool is_base_name(const char *value)
{
    return *value && *value != '.' && !strchr(value, '/');
}

/* Text that is kept as it is. */
static int check_text(enum option_type type, const char *value, const char *place,
                      struct error *err)
{
    static const struct {
        bool (*is_valid)(const char *value);
        const char *complaint;
    } forms[] = {
        [OPTION_MODE] = { is_mode, "is not a file mode like 0600" },
        [OPTION_NAME] = { is_node_name, "is not a name like node-1" },
        [OPTION_IP] = { is_ip, "is not an IP address" },
        [OPTION_CIDR] = { is_cidr, "is not a network like 10.42.0.0/16" },
        [OPTION_PORT_RANGE] = { is_port_range, "is not a range like 30000-32767" },
        [OPTION_BASE_NAME] = { is_base_name, "is not the name of a file" },
        [OPTION_LISTEN] = { is_listen_address,
                            "is neither like 127.0.0.1:2379 nor like unix:/path" },
    };
    if ((type == OPTION_TEXT || type == OPTION_FILE) && !*value)
        return error_set(err, ERR_BAD_REQUEST, "%s: needs a value", place);
    if ((size_t)type >= ARRAY_LEN(forms) || !forms[type].is_valid || forms[type].is_valid(value))
        return 0;
    return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" %s", place, value, forms[type].complaint);
}

static int check_schedule(const char *text, const char *place, struct arena *arena,
                          struct error *err)
{
    const struct cron_schedule *schedule = cron_schedule_parse(text, NULL, arena, err);
    if (!schedule)
        return error_wrap(err, "%s", place);
    if (cron_schedule_next(schedule, clock_wall_ns(&system_clock)) == 0)
        return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" never comes", place, text);
    return 0;
}

static int option_set(struct config *config, const struct option *o, const char *value,
                      const char *place, struct arena *arena, struct error *err)
{
    void *field = (char *)config + o->offset;
    switch (o->type) {
    case OPTION_BOOL:
        if (!str_equal(value, "true") && !str_equal(value, "false"))
            return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" is neither true nor false", place,
                             value);
        *(bool *)field = str_equal(value, "true");
        return 0;
    case OPTION_PORT:
        if (!parse_number(value, 65535, field))
            return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" is not a port", place, value);
        return 0;
    case OPTION_NUMBER:
        if (!parse_number(value, NUMBER_MAX, field))
            return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" is not a number", place, value);
        return 0;
    case OPTION_DURATION:
        if (duration_parse(value, field) < 0 || *(int64_t *)field <= 0)
            return error_set(err, ERR_BAD_REQUEST, "%s: \"%s\" is not a time like 15s", place,
                             value);
        return 0;
    case OPTION_LIST:
        return list_add(field, value, place, arena, err);
    case OPTION_LABELS:
    case OPTION_TAINTS:
        if (list_add(field, value, place, arena, err) < 0)
            return -1;
        return check_items(field, o->type, place, err);
    case OPTION_CRON:
        if (check_schedule(value, place, arena, err) < 0)
            return -1;
        break;
    case OPTION_ENDPOINTS:
        if (storage_check_endpoints(value, err) < 0)
            return error_wrap(err, "%s", place);
        break;
    default:
        if (check_text(o->type, value, place, err) < 0)
            return -1;
    }
    *(const char **)field = arena_strdup(arena, value);
    return 0;
}

static int load_flags(struct config *config, unsigned command, int n, char **args,
                      const char **seen, struct arena *arena, struct error *err)
{
    for (int i = 0; i < n; i++) {
        const char *word = args[i];
        size_t dashes = strspn(word, "-");
        if (dashes == 0 && (command & TAKES_WORDS) && config->words.n < CONFIG_LIST_MAX) {
            config->words.items[config->words.n++] = word;
            continue;
        }
        if (dashes == 0 || dashes > 2 || !word[dashes])
            return error_set(err, ERR_BAD_REQUEST, "unexpected argument \"%s\"", word);
        const char *name = word + dashes;
        size_t len = strcspn(name, "=");
        const struct option *o = find_option(name, len, command);
        if (!o)
            return error_set(err, ERR_BAD_REQUEST, "unknown flag: %.*s", (int)(dashes + len), word);
        char place[64];
        snprintf(place, sizeof(place), "--%s", o->name);

        const char *value = "true";
        if (name[len] == '=')
            value = name + len + 1;
        else if (o->type != OPTION_BOOL && i + 1 == n)
            return error_set(err, ERR_BAD_REQUEST, "%s: needs a value", place);
        else if (o->type != OPTION_BOOL)
            value = args[++i];
        if (option_set(config, o, value, place, arena, err) < 0)
            return -1;
        seen[o - options] = arena_strdup(arena, place);
    }
    return 0;
}

static int load_environment(struct config *config, unsigned command, const char **seen,
                            struct arena *arena, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        char name[64] = "CORACLE_";
        size_t at = strlen(name);
        for (const char *c = o->name; *c; c++)
            name[at++] = *c == '-' ? '_' : (char)(*c - 'a' + 'A');
        bool is_taken = (o->commands & command) && !(o->commands & FLAG_ONLY);
        const char *value = is_taken ? getenv(name) : NULL;
        if (!value || (seen[i] && !is_list(o)))
            continue;
        if (option_set(config, o, value, name, arena, err) < 0)
            return -1;
        seen[i] = arena_strdup(arena, name);
    }
    return 0;
}

static int set_from_yaml(struct config *config, const struct option *o, const struct json *value,
                         const char *place, struct arena *arena, struct error *err)
{
    if (value->type == JSON_ARRAY && is_list(o)) {
        json_each_item (value, item) {
            if (set_from_yaml(config, o, item, place, arena, err) < 0)
                return -1;
        }
        return 0;
    }
    scoped(buffer) struct buffer text = { 0 };
    if (value->type == JSON_STRING)
        buffer_add_str(&text, value->string);
    else if (value->type == JSON_INT || value->type == JSON_BOOL)
        json_print(value, &text);
    else
        return error_set(err, ERR_BAD_REQUEST, "%s: not a plain value", place);
    return option_set(config, o, text.data ? text.data : "", place, arena, err);
}

static int load_file(struct config *config, unsigned command, const char **seen,
                     struct arena *arena, struct error *err)
{
    struct bytes text;
    bool is_default = str_equal(config->config_file, CONFIG_FILE_DEFAULT);
    struct error unread = { 0 };
    if (files_read(config->config_file, CONFIG_FILE_BYTES_MAX, arena, &text, &unread) < 0) {
        if (is_default && unread.code == ERR_NOT_FOUND)
            return 0;
        *err = unread;
        return is_default ? -1 : error_wrap(err, "--config");
    }
    struct json *doc;
    int found = yaml_next(&text, arena, &doc, err);
    if (found < 0)
        return error_wrap(err, "%s", config->config_file);
    if (found == 0 || !doc)
        return 0;
    if (doc->type != JSON_OBJECT)
        return error_set(err, ERR_BAD_REQUEST, "%s: not a list of settings", config->config_file);
    json_each_member (doc, m) {
        /* The file is shared by all commands, so a key of another command is no mistake. */
        const struct option *o = find_option(m->name, strlen(m->name), ALL | TOOLS);
        if (!o || (o->commands & FLAG_ONLY) || strlen(m->name) == 1)
            return error_set(err, ERR_BAD_REQUEST, "%s: unknown key \"%s\"", config->config_file,
                             m->name);
        if (!(o->commands & command) || (seen[o - options] && !is_list(o)))
            continue;
        const char *place = arena_printf(arena, "%s: %s", config->config_file, m->name);
        if (set_from_yaml(config, o, &m->value, place, arena, err) < 0)
            return -1;
        seen[o - options] = place;
    }
    return 0;
}

/* What is wrong with flags only beside one another. */
static int check_together(const struct config *c, struct error *err)
{
    if (c->datastore_endpoint && c->etcd_listen)
        return error_set(err, ERR_BAD_REQUEST,
                         "--etcd-listen serves a store of our own: not with --datastore-endpoint");
    if (!c->datastore_certfile != !c->datastore_keyfile)
        return error_set(err, ERR_BAD_REQUEST,
                         "--datastore-certfile and --datastore-keyfile go together");
    if (!c->tls_cert_file != !c->tls_private_key_file)
        return error_set(err, ERR_BAD_REQUEST,
                         "--tls-cert-file and --tls-private-key-file go together");
    if (c->token && c->token_file)
        return error_set(err, ERR_BAD_REQUEST, "--token or --token-file, not both");
    if (c->leader_elect_lease_duration_ns < c->leader_elect_renew_deadline_ns ||
        c->leader_elect_renew_deadline_ns < c->leader_elect_retry_period_ns)
        return error_set(
            err, ERR_BAD_REQUEST,
            "--leader-elect-lease-duration must be longer than "
            "--leader-elect-renew-deadline, and that than --leader-elect-retry-period");
    return 0;
}

/* Told now: what opens the file later may not know who named it. */
static int check_file(const char *path, const char *place, struct error *err)
{
    struct stat st;
    if (stat(path, &st) < 0 || faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0) {
        error_errno(err, "%s: read %s", place, path);
        err->code = ERR_BAD_REQUEST;
        return -1;
    }
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERR_BAD_REQUEST, "%s: %s is a folder", place, path);
    return 0;
}

static int check_files(const struct config *config, const char *const *seen, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const char *const *path = (const void *)((const char *)config + options[i].offset);
        if (options[i].type == OPTION_FILE && seen[i] && check_file(*path, seen[i], err) < 0)
            return -1;
    }
    return 0;
}

int config_load(struct config *config, enum config_command command, int args_n, char **args,
                struct arena *arena, struct error *err)
{
    const char *seen[ARRAY_LEN(options)] = { NULL }; /* where it was said */
    *config = (struct config){ 0 };
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        if (o->fallback && option_set(config, o, o->fallback, o->name, arena, err) < 0)
            return -1;
    }
    if (load_flags(config, command, args_n, args, seen, arena, err) < 0)
        return -1;
    if (config->help)
        return 0;
    if (load_environment(config, command, seen, arena, err) < 0)
        return -1;
    if (load_file(config, command, seen, arena, err) < 0 || check_together(config, err) < 0)
        return -1;
    return check_files(config, seen, err);
}

void config_print_help(enum config_command command, const char *name)
{
    printf("Usage: coracle %s [flags]\n\n", name);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *o = &options[i];
        if (!(o->commands & command))
            continue;
        char flag[64];
        snprintf(flag, sizeof(flag), "--%s%s", o->name, o->type == OPTION_BOOL ? "" : " VALUE");
        printf("  %-36s %s%s%s%s\n", flag, o->help, o->fallback ? " (default " : "",
               o->fallback ? o->fallback : "", o->fallback ? ")" : "");
    }
}
