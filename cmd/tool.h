/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool.h - commands that do one thing and end: `coracle snapshot save`.
 */
#pragma once

#include "cmd/config.h"
#include "storage/storage.h"

#define EXIT_USAGE 2

struct tool {
    const char *name, *alias; /* NULL: none */
    const char *words;        /* what it takes besides flags, for its help; NULL: nothing */
    const char *help;
    const char *more; /* paragraphs for --help */
    enum config_command command;
    /* The exit status; a failure is told in ERR as well. */
    int (*run)(const struct config *config, struct arena *arena, struct error *err);
};

/* GROUP is the word before the tool's name; ARGS are the words after it. */
int tool_main(const char *group, const struct tool *tools, size_t n, int args_n, char **args);
int tool_usage(struct error *err, const char *fmt, ...) printf_like(2, 3); /* EXIT_USAGE */

/* An etcd cluster, which is looked after by somebody else. */
struct storage *tool_open_etcd(const struct config *config, const char *endpoints,
                               struct error *err);

int snapshot_main(int args_n, char **args);
int datastore_main(int args_n, char **args);

/* `coracle server --cluster-reset`: the exit status. */
int snapshot_cluster_reset(const struct config *config);
/* A start without that flag: the next --cluster-reset is meant. */
void snapshot_forget_reset(const struct config *config);
/* The folder of CONFIG's snapshots. */
const char *snapshot_dir(const struct config *config, struct arena *arena);
