/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the commands of the program. */

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/client_http.h"
#include "base/heap.h"
#include "base/log.h"
#include "cmd/alone.h"
#include "cmd/config.h"
#include "cmd/host.h"
#include "cmd/server.h"
#include "cmd/tool.h"
#include "proxy/proxy.h"

static const struct command {
    const char *name;
    enum config_command command;
    const char *help;
} commands[] = {
    { "server", COMMAND_SERVER, "a whole cluster: control plane and a node" },
    { "apiserver", COMMAND_APISERVER, "the API and its store alone" },
    { "scheduler", COMMAND_SCHEDULER, "the scheduler, against any API server" },
    { "controllers", COMMAND_CONTROLLERS, "the controllers, against any API server" },
    { "kubelet", COMMAND_KUBELET, "the kubelet, against any API server" },
    { "proxy", COMMAND_PROXY, "the service proxy, against any API server" },
};

static const struct {
    const char *name, *alias; /* as k3s calls it; NULL: none */
    const char *help;
    int (*main)(int args_n, char **args);
} groups[] = {
    { "snapshot", "etcd-snapshot", "save, list, check and restore snapshots of the store",
      snapshot_main },
    { "datastore", NULL, "move the store to an etcd cluster, or from one", datastore_main },
};

static void print_help(FILE *out)
{
    fprintf(out,
            "Coracle is Kubernetes in one small program.\n\nUsage: coracle COMMAND [flags]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        fprintf(out, "  %-12s %s\n", groups[i].name, groups[i].help);
    fprintf(out, "  %-12s %s\n\n`coracle COMMAND --help` lists its flags.\n", "version",
            "the version of this program");
}

static int usage_error(const char *message)
{
    fprintf(stderr, "coracle: %s\n", message);
    return EXIT_USAGE;
}

/* What the flags leave open and the machine knows. */
static int fill_from_host(struct config *c, struct arena *a, struct error *err)
{
    if (!c->node_name && host_name(a, &c->node_name, err) < 0)
        return -1;
    if (!c->node_ip && host_address(a, &c->node_ip, err) < 0)
        return -1;
    if (!c->cluster_dns && host_nth_address(c->service_cidr, 10, a, &c->cluster_dns, err) < 0)
        return -1;
    if (!c->advertise_address)
        c->advertise_address = c->node_ip;
    return 0;
}

/* Signals are taken by the main thread alone, in wait_for_end(). */
static void prepare_signals(sigset_t *ending)
{
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(ending);
    sigaddset(ending, SIGTERM);
    sigaddset(ending, SIGINT);
    pthread_sigmask(SIG_BLOCK, ending, NULL);
}

static void wait_for_end(const sigset_t *ending)
{
    int number;
    sigwait(ending, &number);
    log_info("main", "stopping on %s", strsignal(number));
    pthread_sigmask(SIG_UNBLOCK, ending, NULL); /* a second signal ends the process at once */
}

/* Watches and connections are descriptors; the soft limit is often 1,024. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(const struct command *command, const struct config *config)
{
    struct error err = { 0 };
    sigset_t ending;
    if (config->debug)
        log_set_level(LOG_DEBUG);
    if (command->command == COMMAND_PROXY && config->cleanup) {
        if (proxy_cleanup(&err) == 0)
            return EXIT_SUCCESS;
        log_error("main", "%s", err.message);
        return EXIT_FAILURE;
    }
    if (config->cluster_reset && !config->cluster_reset_restore_path)
        return usage_error("--cluster-reset: a store of one member has nothing to reset but its "
                           "contents; --cluster-reset-restore-path says to what");
    if (config->cluster_reset)
        return snapshot_cluster_reset(config);
    if (config->cluster_reset_restore_path)
        return usage_error("--cluster-reset-restore-path: needs --cluster-reset");
    if (command->command == COMMAND_SERVER && !config->disable_agent && geteuid() != 0)
        return usage_error("a node needs root; --disable-agent runs the control plane without it");
    raise_descriptor_limit();
    prepare_signals(&ending);

    if (command->command == COMMAND_SERVER || command->command == COMMAND_APISERVER) {
        struct server *s = server_start(config, command->command == COMMAND_SERVER, &err);
        if (s) {
            wait_for_end(&ending);
            server_stop(s);
            return EXIT_SUCCESS;
        }
    } else {
        if (!config->kubeconfig)
            return usage_error("--kubeconfig: needs a value");
        struct alone *a = alone_start(config, command->command, &err);
        if (a) {
            wait_for_end(&ending);
            alone_stop(a);
            return EXIT_SUCCESS;
        }
    }
    log_error("main", "%s", err.message);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    heap_configure();
    if (argc < 2 || str_equal(argv[1], "--help") || str_equal(argv[1], "-h") ||
        str_equal(argv[1], "help")) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_SUCCESS;
    }
    if (str_equal(argv[1], "version") || str_equal(argv[1], "--version") ||
        str_equal(argv[1], "-v")) {
        printf("coracle version %s (Kubernetes v%s)\n", CORACLE_VERSION, KUBERNETES_VERSION);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (str_equal(argv[1], groups[i].name) ||
            (groups[i].alias && str_equal(argv[1], groups[i].alias)))
            return groups[i].main(argc - 2, argv + 2);
    const struct command *command = NULL;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (str_equal(argv[1], commands[i].name))
            command = &commands[i];
    }
    if (!command) {
        fprintf(stderr, "coracle: unknown command \"%s\"; see coracle --help\n", argv[1]);
        return EXIT_USAGE;
    }

    scoped(arena) struct arena *arena = arena_new();
    struct config config;
    struct error err = { 0 };
    if (config_load(&config, command->command, argc - 2, argv + 2, arena, &err) < 0 ||
        (!config.help && fill_from_host(&config, arena, &err) < 0))
        return usage_error(err.message);
    if (config.help) {
        config_print_help(command->command, command->name);
        return EXIT_SUCCESS;
    }
    return run(command, &config);
}
