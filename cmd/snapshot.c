/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c - `coracle snapshot`: save, list, delete, prune, status, restore. */

#include <errno.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "cmd/tool.h"
#include "storage/storage.h"

#define ON_DEMAND_NAME "on-demand"

const char *snapshot_dir(const struct config *config, struct arena *arena)
{
    return config->etcd_snapshot_dir ? config->etcd_snapshot_dir
                                     : arena_printf(arena, "%s/server/snapshots", config->data_dir);
}

static struct storage_snapshot_series series(const struct config *config, const char *base,
                                             struct arena *arena)
{
    return (struct storage_snapshot_series){
        .dir = snapshot_dir(config, arena),
        .base = base,
        .node = config->node_name,
        .form = config->etcd_snapshot_compress ? STORAGE_SNAPSHOT_ZIP : STORAGE_SNAPSHOT_PLAIN,
        .retention = config->etcd_snapshot_retention,
    };
}

static int64_t now_s(void)
{
    return clock_wall_ns(&system_clock) / NS_PER_S;
}

/* ---- how things are shown ---- */

/* As etcdctl does: powers of 1000, one decimal below 10. */
static const char *human_size(uint64_t bytes, struct arena *arena)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1000;
        unit++;
    }
    if (unit == 0)
        return arena_printf(arena, "%llu B", (unsigned long long)bytes);
    value = floor(value * 10 + 0.5) / 10;
    return arena_printf(arena, value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static bool is_output(const struct config *config, const char *form, const char *fallback)
{
    return str_equal(config->output ? config->output : fallback, form);
}

static const char *absolute(const char *path, struct arena *arena)
{
    scoped(str) char *real = realpath(path, NULL);
    return real ? arena_strdup(arena, real) : path;
}

/* A file, or the name of one in the snapshots' folder. */
static const char *find_file(const struct config *config, const char *word, struct arena *arena)
{
    const char *there = arena_printf(arena, "%s/%s", snapshot_dir(config, arena), word);
    bool is_name = !strchr(word, '/') && access(word, F_OK) < 0 && access(there, F_OK) == 0;
    return is_name ? there : word;
}

/* ---- save ---- */

static const char *sealing_keys(const struct config *config, struct arena *arena)
{
    return arena_printf(arena, "%s/server/cred/encryption-config.json", config->data_dir);
}

/* The store of a data folder whose server is stopped. */
static struct storage *open_stopped(const struct config *config, struct arena *arena,
                                    struct error *err)
{
    const char *db = arena_printf(arena, "%s/server/db", config->data_dir);
    if (access(arena_printf(arena, "%s/data.mdb", db), F_OK) < 0) {
        error_set(err, ERR_NOT_FOUND, "no store in %s, and no server that runs on it", db);
        return NULL;
    }
    struct storage_embedded_config embedded = { .dir = db, .compact_interval_ms = -1 };
    return storage_open_embedded(&embedded, err);
}

static int save_opened(struct storage *s, const char *path, enum storage_snapshot_form form,
                       struct error *err)
{
    int rc = s ? storage_snapshot_save(s, path, form, err) : -1;
    if (s)
        storage_close(s);
    return rc;
}

static int save_to(const struct config *config, const char *path, enum storage_snapshot_form form,
                   struct arena *arena, struct error *err)
{
    if (config->datastore_endpoint)
        return save_opened(tool_open_etcd(config, config->datastore_endpoint, err), path, form,
                           err);
    const char *socket = arena_printf(arena, "unix:%s/server/etcd.sock", config->data_dir);
    int rc = storage_snapshot_fetch(socket, path, form, err);
    if (rc == 0 || err->code != ERR_UNAVAILABLE)
        return rc;
    *err = (struct error){ 0 };
    return save_opened(open_stopped(config, arena, err), path, form, err);
}

static int save(const struct config *config, struct arena *arena, struct error *err)
{
    struct storage_snapshot_series of =
        series(config, config->name ? config->name : ON_DEMAND_NAME, arena);
    const char *path = storage_snapshot_path(&of, now_s(), arena);
    struct stat st = { 0 };
    if (save_to(config, path, of.form, arena, err) < 0)
        return EXIT_FAILURE;
    if (stat(path, &st) < 0) {
        error_errno(err, "stat %s", path);
        return EXIT_FAILURE;
    }
    if (access(sealing_keys(config, arena), F_OK) == 0)
        fprintf(stderr, "Secrets in it are sealed: keep a copy of %s with it\n",
                sealing_keys(config, arena));
    printf("Snapshot %s saved: %s, %s\n", strrchr(path, '/') + 1, absolute(path, arena),
           human_size((uint64_t)st.st_size, arena));
    return EXIT_SUCCESS;
}

/* ---- list, delete, prune ---- */

static void print_json(const struct storage_snapshot *all, size_t n, struct arena *arena)
{
    scoped(buffer) struct buffer out = { 0 };
    buffer_add_str(&out, "[");
    for (size_t i = 0; i < n; i++) {
        char created[TIME_TEXT_BYTES];
        time_format(all[i].created_s * NS_PER_S, created);
        buffer_add_str(&out, i ? ",{\"name\":" : "{\"name\":");
        json_print_string(bytes_of(all[i].name), &out);
        buffer_add_str(&out, ",\"location\":");
        json_print_string(bytes_of(arena_printf(arena, "file://%s", absolute(all[i].path, arena))),
                          &out);
        buffer_printf(&out, ",\"size\":%llu,\"createdAt\":\"%s\"}",
                      (unsigned long long)all[i].size_bytes, created);
    }
    buffer_add_str(&out, "]");
    puts(out.data);
}

static void print_list(const struct storage_snapshot *all, size_t n, struct arena *arena)
{
    int name = (int)strlen("Name"), location = (int)strlen("Location");
    for (size_t i = 0; i < n; i++) {
        int name_len = (int)strlen(all[i].name);
        int location_len = (int)strlen(absolute(all[i].path, arena)) + (int)strlen("file://");
        name = name_len > name ? name_len : name;
        location = location_len > location ? location_len : location;
    }
    printf("%-*s  %-*s  %-12s  %s\n", name, "Name", location, "Location", "Size", "Created");
    for (size_t i = 0; i < n; i++) {
        char created[TIME_TEXT_BYTES];
        time_format(all[i].created_s * NS_PER_S, created);
        printf("%-*s  %-*s  %-12llu  %s\n", name, all[i].name, location,
               arena_printf(arena, "file://%s", absolute(all[i].path, arena)),
               (unsigned long long)all[i].size_bytes, created);
    }
}

static int list(const struct config *config, struct arena *arena, struct error *err)
{
    struct storage_snapshot *all;
    size_t n;
    if (!is_output(config, "json", "table") && !is_output(config, "table", "table"))
        return tool_usage(err, "--output: \"%s\" is neither table nor json", config->output);
    if (storage_snapshot_list(snapshot_dir(config, arena), arena, &all, &n, err) < 0)
        return EXIT_FAILURE;
    if (is_output(config, "json", "table"))
        print_json(all, n, arena);
    else
        print_list(all, n, arena);
    return EXIT_SUCCESS;
}

static int delete (const struct config *config, struct arena *arena, struct error *err)
{
    if (!config->words.n)
        return tool_usage(err, "snapshot delete: needs the name of a snapshot");
    for (size_t i = 0; i < config->words.n; i++) {
        if (storage_snapshot_delete(snapshot_dir(config, arena), config->words.items[i], err) < 0)
            return EXIT_FAILURE;
        printf("Snapshot %s deleted.\n", config->words.items[i]);
    }
    return EXIT_SUCCESS;
}

static int prune(const struct config *config, struct arena *arena, struct error *err)
{
    struct storage_snapshot_series of =
        series(config, config->name ? config->name : "etcd-snapshot", arena);
    struct storage_snapshot *gone;
    size_t n;
    int rc = storage_snapshot_prune(&of, arena, &gone, &n, err);
    for (size_t i = 0; i < n; i++)
        printf("Snapshot %s deleted.\n", gone[i].name);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- status ---- */

static void print_line(const int *widths, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("+%.*s", widths[i] + 2, "----------------------------------------");
    puts("+");
}

/* etcdctl's table: titles in the middle, values to the right. */
static void print_table(const char *const *titles, const char *const *cells, size_t n)
{
    int widths[4];
    for (size_t i = 0; i < n; i++) {
        int title = (int)strlen(titles[i]), cell = (int)strlen(cells[i]);
        widths[i] = title > cell ? title : cell;
    }
    print_line(widths, n);
    for (size_t i = 0; i < n; i++) {
        int gap = widths[i] - (int)strlen(titles[i]);
        printf("| %*s%s%*s ", gap / 2, "", titles[i], gap - gap / 2, "");
    }
    puts("|");
    print_line(widths, n);
    for (size_t i = 0; i < n; i++)
        printf("| %*s ", widths[i], cells[i]);
    puts("|");
    print_line(widths, n);
}

static void print_status(const struct config *config, const struct storage_snapshot_status *st,
                         struct arena *arena)
{
    static const char *const titles[] = { "HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE" };
    const char *cells[] = { arena_printf(arena, "%x", st->hash),
                            arena_printf(arena, "%lld", (long long)st->revision),
                            arena_printf(arena, "%lld", (long long)st->keys),
                            human_size(st->size_bytes, arena) };
    if (is_output(config, "json", "simple"))
        printf("{\"hash\":%u,\"revision\":%lld,\"totalKey\":%lld,\"totalSize\":%llu}\n", st->hash,
               (long long)st->revision, (long long)st->keys, (unsigned long long)st->size_bytes);
    else if (is_output(config, "table", "simple"))
        print_table(titles, cells, ARRAY_LEN(titles));
    else
        printf("%s, %s, %s, %s\n", cells[0], cells[1], cells[2], cells[3]);
}

static enum storage_snapshot_check check_of(const struct config *config)
{
    return config->skip_hash_check ? STORAGE_SNAPSHOT_SKIP_SUM : STORAGE_SNAPSHOT_CHECK_SUM;
}

static int status(const struct config *config, struct arena *arena, struct error *err)
{
    struct storage_snapshot_status st;
    if (config->words.n != 1)
        return tool_usage(err, "snapshot status: needs one snapshot");
    if (!is_output(config, "simple", "simple") && !is_output(config, "table", "simple") &&
        !is_output(config, "json", "simple"))
        return tool_usage(err, "--output: \"%s\" is none of simple, table and json",
                          config->output);
    const char *path = find_file(config, config->words.items[0], arena);
    if (storage_snapshot_status(path, check_of(config), &st, err) < 0)
        return EXIT_FAILURE;
    print_status(config, &st, arena);
    return EXIT_SUCCESS;
}

/* ---- restore ---- */

static int restore_to(const struct config *config, const char *word, enum storage_import_mode mode,
                      struct arena *arena, struct error *err)
{
    struct storage_restore restore = {
        .path = find_file(config, word, arena),
        .check = check_of(config),
        .dir = arena_printf(arena, "%s/server/db", config->data_dir),
        .mode = mode,
        .bump_revision = config->bump_revision,
    };
    int64_t revision, keys;
    if (storage_snapshot_restore(&restore, &revision, &keys, err) < 0)
        return -1;
    printf("Snapshot %s restored into %s: %lld keys, revision %lld\n", restore.path, restore.dir,
           (long long)keys, (long long)revision);
    return 0;
}

static int restore(const struct config *config, struct arena *arena, struct error *err)
{
    if (config->words.n != 1)
        return tool_usage(err, "snapshot restore: needs one snapshot");
    enum storage_import_mode mode = config->force ? STORAGE_IMPORT_REPLACE : STORAGE_IMPORT_NEW;
    if (restore_to(config, config->words.items[0], mode, arena, err) == 0)
        return EXIT_SUCCESS;
    if (err->code == ERR_ALREADY_EXISTS)
        fputs("coracle: --force replaces the store that is there\n", stderr);
    return EXIT_FAILURE;
}

/* ---- coracle server --cluster-reset ---- */

static const char *reset_mark(const struct config *config, struct arena *arena)
{
    return arena_printf(arena, "%s/server/reset-flag", config->data_dir);
}

/* Who restarts the server for ever with the flag still there must not lose what was written since
 * the first time. */
static int check_reset_mark(const char *mark, struct error *err)
{
    if (access(mark, F_OK) < 0)
        return 0;
    return error_set(err, ERR_BAD_REQUEST,
                     "the store was reset before; start without --cluster-reset, or delete %s to "
                     "reset it once more",
                     mark);
}

static int reset(const struct config *config, struct arena *arena, struct error *err)
{
    const char *mark = reset_mark(config, arena);
    if (check_reset_mark(mark, err) < 0 || restore_to(config, config->cluster_reset_restore_path,
                                                      STORAGE_IMPORT_REPLACE, arena, err) < 0)
        return -1;
    return files_write_durably(mark, (struct bytes){ 0 }, 0600, err);
}

int snapshot_cluster_reset(const struct config *config)
{
    scoped(arena) struct arena *arena = arena_new();
    struct error err = { 0 };
    if (reset(config, arena, &err) < 0) {
        log_error("server", "%s", err.message);
        return EXIT_FAILURE;
    }
    log_info("server", "the store has been reset; restart without --cluster-reset");
    return EXIT_SUCCESS;
}

void snapshot_forget_reset(const struct config *config)
{
    scoped(arena) struct arena *arena = arena_new();
    unlink(reset_mark(config, arena));
}

#define KEYS_NOTE                                                                                  \
    "A snapshot holds what the store holds, Secrets as they are sealed there: keep the\n"          \
    "keys, server/cred/encryption-config.json in --data-dir, beside it (and server/tls,\n"         \
    "if certificates shall stay valid), and put them into a new data folder before its\n"          \
    "first start."

int snapshot_main(int args_n, char **args)
{
    static const struct tool tools[] = {
        { "save", NULL, NULL,
          "save the store of a running server, of a stopped one, or an etcd cluster", KEYS_NOTE,
          COMMAND_SNAPSHOT_SAVE, save },
        { "list", "ls", NULL, "list the snapshots", NULL, COMMAND_SNAPSHOT_LIST, list },
        { "delete", NULL, "NAME...", "delete snapshots", NULL, COMMAND_SNAPSHOT_DELETE, delete },
        { "prune", NULL, NULL, "delete the oldest, as the scheduled ones do", NULL,
          COMMAND_SNAPSHOT_PRUNE, prune },
        { "status", NULL, "FILE", "check one, and tell its hash, revision, keys and size", NULL,
          COMMAND_SNAPSHOT_STATUS, status },
        { "restore", NULL, "FILE", "make a store from one, ours or etcd's, with a new identity",
          "The server must be stopped.  What older watches ask for is 410 afterwards, and\n"
          "revisions go on above all that were ever given out.\n\n" KEYS_NOTE,
          COMMAND_SNAPSHOT_RESTORE, restore },
    };
    return tool_main("snapshot", tools, ARRAY_LEN(tools), args_n, args);
}
