/* SPDX-License-Identifier: Apache-2.0 */
/* migrate.c - `coracle datastore migrate`: between a data folder and an etcd cluster. */

#include <unistd.h>

#include "base/clock.h"
#include "cmd/tool.h"
#include "storage/storage.h"

#define EXIT_TARGET_NOT_EMPTY 3
#define EXIT_SOURCE_CHANGED   4
#define PROGRESS_EVERY_NS     NS_PER_S

struct place {
    const char *dir; /* of an embedded store; NULL: endpoints */
    const char *endpoints;
};

static struct place place_of(const char *text, struct arena *arena)
{
    if (strstr(text, "://") || str_has_prefix(text, "unix:"))
        return (struct place){ .endpoints = text };
    return (struct place){ .dir = arena_printf(arena, "%s/server/db", text) };
}

static struct storage *open_place(const struct place *p, const struct config *config,
                                  struct arena *arena, struct error *err)
{
    if (p->endpoints)
        return tool_open_etcd(config, p->endpoints, err);
    if (access(arena_printf(arena, "%s/data.mdb", p->dir), F_OK) < 0) {
        error_set(err, ERR_NOT_FOUND, "no store in %s", p->dir);
        return NULL;
    }
    struct storage_embedded_config embedded = { .dir = p->dir, .compact_interval_ms = -1 };
    return storage_open_embedded(&embedded, err);
}

struct progress {
    const char *what;
    int64_t told_ns;
};

/* A line a second, and the last one of each kind. */
static void show_progress(const char *what, int64_t done, int64_t total, void *arg)
{
    struct progress *p = arg;
    int64_t now = clock_monotonic_ns(&system_clock);
    if (!str_equal(what, p->what))
        *p = (struct progress){ what, now };
    if (done < total && now - p->told_ns < PROGRESS_EVERY_NS)
        return;
    p->told_ns = now;
    printf("%s %lld of %lld\n", what, (long long)done, (long long)total);
    fflush(stdout);
}

static void show_result(const struct config *config, const struct storage_migrate_result *r)
{
    printf("Migrated %lld keys and %lld leases from %s (revision %lld) to %s (revision %lld), "
           "sha256:",
           (long long)r->keys, (long long)r->leases, config->from, (long long)r->from_revision,
           config->to, (long long)r->to_revision);
    for (size_t i = 0; i < sizeof(r->digest); i++)
        printf("%02x", r->digest[i]);
    printf("\n");
}

/* What the store of a data folder is of no use without. */
static void show_keys(const struct config *config, const struct place *from, const struct place *to,
                      struct arena *arena)
{
    if (!from->dir)
        return;
    const char *keys = arena_printf(arena, "%s/server/cred/encryption-config.json", config->from);
    if (access(keys, F_OK) < 0)
        return;
    if (to->dir)
        fprintf(stderr, "Secrets in it are sealed: copy %s/server/cred and tls to %s/server\n",
                config->from, config->to);
    else
        fprintf(stderr,
                "Secrets in it are sealed: start its first server with --data-dir %s, which has "
                "the keys\n",
                config->from);
}

static int migrate_opened(const struct config *config, struct storage *from, struct storage *to,
                          const char *to_dir, struct error *err)
{
    struct progress progress = { 0 };
    struct storage_migrate_result result;
    struct storage_migrate_config migrate = {
        .from = from,
        .to = to,
        .to_dir = to_dir,
        .is_overwrite = config->overwrite,
        .progress = show_progress,
        .arg = &progress,
    };
    if (storage_migrate(&migrate, &result, err) == 0) {
        show_result(config, &result);
        return EXIT_SUCCESS;
    }
    if (err->code == ERR_ALREADY_EXISTS) {
        fputs("coracle: --overwrite replaces what the target holds\n", stderr);
        return EXIT_TARGET_NOT_EMPTY;
    }
    return err->code == ERR_CONFLICT ? EXIT_SOURCE_CHANGED : EXIT_FAILURE;
}

static int migrate(const struct config *config, struct arena *arena, struct error *err)
{
    if (!config->from || !config->to)
        return tool_usage(err, "datastore migrate: needs --from and --to");
    if (str_equal(config->from, config->to))
        return tool_usage(err, "--from and --to are the same");
    struct place from = place_of(config->from, arena), to = place_of(config->to, arena);
    struct storage *source = open_place(&from, config, arena, err);
    if (!source)
        return EXIT_FAILURE;
    struct storage *target = to.endpoints ? open_place(&to, config, arena, err) : NULL;
    int status = EXIT_FAILURE;
    if (target || to.dir)
        status = migrate_opened(config, source, target, to.dir, err);
    if (status == EXIT_SUCCESS)
        show_keys(config, &from, &to, arena);
    if (target)
        storage_close(target);
    storage_close(source);
    return status;
}

int datastore_main(int args_n, char **args)
{
    static const struct tool tools[] = {
        { "migrate", NULL, NULL, "copy everything from one store to another, and compare",
          "Stop every server that uses the source first.  The target's revision is not\n"
          "lower than the source's afterwards.  In a data folder keys keep their revisions;\n"
          "in etcd all of them are above the source's, for which the difference is used up\n"
          "by writes: some 10,000 a second, up to 20,000,000.  A store that was restored is\n"
          "farther ahead: let `etcdctl snapshot restore` make the cluster of its snapshot.\n"
          "Clients list anew either way.\n\n"
          "After a failure run it again: it starts over, and no server starts on a target\n"
          "that is not complete.  Secrets stay sealed as they are, with the keys of\n"
          "server/cred/encryption-config.json in --data-dir.\n\n"
          "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the target is not empty, 4 the\n"
          "source was written to meanwhile, or is no complete store itself.",
          COMMAND_DATASTORE_MIGRATE, migrate },
    };
    return tool_main("datastore", tools, ARRAY_LEN(tools), args_n, args);
}
