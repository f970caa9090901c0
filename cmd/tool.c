/* SPDX-License-Identifier: Apache-2.0 */
/* tool.c - picking a tool, its flags, its exit status. */
#include "cmd/tool.h"

#include <signal.h>
#include <stdarg.h>

#include "base/log.h"
#include "cmd/host.h"

int tool_usage(struct error *err, const char *fmt, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_set(err, ERR_BAD_REQUEST, "%s", text);
    return EXIT_USAGE;
}

struct storage *tool_open_etcd(const struct config *config, const char *endpoints,
                               struct error *err)
{
    struct storage_remote_config remote = {
        .endpoints = endpoints,
        .ca_file = config->datastore_cafile,
        .cert_file = config->datastore_certfile,
        .key_file = config->datastore_keyfile,
        .compact_interval_ms = -1,
    };
    return storage_open_remote(&remote, err);
}

static void print_group(const char *group, const struct tool *tools, size_t n, FILE *out)
{
    fprintf(out, "Usage: coracle %s COMMAND [flags]\n\n", group);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-12s %s\n", tools[i].name, tools[i].help);
    fprintf(out, "\n`coracle %s COMMAND --help` lists its flags.\n", group);
}

static void print_tool(const char *group, const struct tool *t)
{
    char name[128];
    snprintf(name, sizeof(name), "%s %s%s%s", group, t->name, t->words ? " " : "",
             t->words ? t->words : "");
    config_print_help(t->command, name);
    if (t->more)
        printf("\n%s\n", t->more);
}

static const struct tool *find_tool(const struct tool *tools, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_equal(tools[i].name, name) || (tools[i].alias && str_equal(tools[i].alias, name)))
            return &tools[i];
    return NULL;
}

static int run(const struct tool *t, const struct config *config, struct arena *arena)
{
    struct error err = { 0 };
    signal(SIGPIPE, SIG_IGN);
    log_set_level(config->debug ? LOG_DEBUG : LOG_WARN);
    int status = t->run(config, arena, &err);
    if (err.code)
        fprintf(stderr, "coracle: %s\n", err.message);
    return status;
}

int tool_main(const char *group, const struct tool *tools, size_t n, int args_n, char **args)
{
    const struct tool *t = args_n ? find_tool(tools, n, args[0]) : NULL;
    if (!args_n || str_equal(args[0], "--help") || str_equal(args[0], "-h")) {
        print_group(group, tools, n, args_n ? stdout : stderr);
        return args_n ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (!t) {
        fprintf(stderr, "coracle: unknown command \"%s %s\"; see coracle %s --help\n", group,
                args[0], group);
        return EXIT_USAGE;
    }
    scoped(arena) struct arena *arena = arena_new();
    struct config config;
    struct error err = { 0 };
    int rc = config_load(&config, t->command, args_n - 1, args + 1, arena, &err);
    if (rc == 0 && !config.help && !config.node_name)
        rc = host_name(arena, &config.node_name, &err);
    if (rc < 0) {
        fprintf(stderr, "coracle: %s\n", err.message);
        return EXIT_USAGE;
    }
    if (!config.help)
        return run(t, &config, arena);
    print_tool(group, t);
    return EXIT_SUCCESS;
}
