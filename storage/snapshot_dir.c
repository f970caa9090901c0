/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_dir.c - a folder of snapshots: what is in it, and what has to go. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "storage/storage.h"

#define ZIP_SUFFIX ".zip"

/* The time at the end of the name, if there is one. */
static bool time_of_name(const char *name, int64_t *out)
{
    const char *dash = strrchr(name, '-');
    char *end;
    if (!dash || dash[1] < '0' || dash[1] > '9')
        return false;
    errno = 0;
    *out = strtoll(dash + 1, &end, 10);
    return !errno && (!*end || str_equal(end, ZIP_SUFFIX));
}

static int by_age(const void *a, const void *b)
{
    const struct storage_snapshot *x = a, *y = b;
    if (x->created_s != y->created_s)
        return x->created_s < y->created_s ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int read_entries(DIR *entries, const char *dir, struct arena *arena,
                        struct storage_snapshot **out, size_t *n, struct error *err)
{
    size_t capacity = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(entries))) {
        struct stat st;
        if (entry->d_name[0] == '.' ||
            fstatat(dirfd(entries), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        if (*n == capacity)
            *out = arena_grow(arena, *out, *n, &capacity, sizeof((*out)[0]));
        struct storage_snapshot *s = &(*out)[(*n)++];
        s->name = arena_strdup(arena, entry->d_name);
        s->path = arena_printf(arena, "%s/%s", dir, entry->d_name);
        s->size_bytes = (uint64_t)st.st_size;
        if (!time_of_name(s->name, &s->created_s))
            s->created_s = st.st_mtime;
    }
    return errno ? error_errno(err, "read the folder %s", dir) : 0;
}

int storage_snapshot_list(const char *dir, struct arena *arena, struct storage_snapshot **out,
                          size_t *n, struct error *err)
{
    *out = NULL;
    *n = 0;
    DIR *entries = opendir(dir);
    if (!entries)
        return errno == ENOENT ? 0 : error_errno(err, "read the folder %s", dir);
    int rc = read_entries(entries, dir, arena, out, n, err);
    closedir(entries);
    if (*n)
        qsort(*out, *n, sizeof((*out)[0]), by_age);
    return rc;
}

int storage_snapshot_delete(const char *dir, const char *name, struct error *err)
{
    if (str_empty(name) || *name == '.' || strchr(name, '/'))
        return error_set(err, ERR_BAD_REQUEST, "\"%s\" is not the name of a snapshot", name);
    scoped(str) char *path = xasprintf("%s/%s", dir, name);
    if (unlink(path) == 0)
        return files_sync_dir(dir, err);
    if (errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "no snapshot %s in %s", name, dir);
    return error_errno(err, "delete %s", path);
}

const char *storage_snapshot_path(const struct storage_snapshot_series *series, int64_t now_s,
                                  struct arena *arena)
{
    return arena_printf(arena, "%s/%s-%s-%lld%s", series->dir, series->base, series->node,
                        (long long)now_s, series->form == STORAGE_SNAPSHOT_ZIP ? ZIP_SUFFIX : "");
}

/* Archives and plain files are one series: the option may have been changed. */
static bool is_of_series(const struct storage_snapshot *s, const char *prefix)
{
    int64_t created;
    return str_has_prefix(s->name, prefix) && !strchr(s->name + strlen(prefix), '-') &&
           time_of_name(s->name, &created);
}

int storage_snapshot_prune(const struct storage_snapshot_series *series, struct arena *arena,
                           struct storage_snapshot **out, size_t *n, struct error *err)
{
    struct storage_snapshot *all;
    size_t all_n, members = 0;
    *n = 0;
    *out = NULL;
    if (series->retention <= 0)
        return 0;
    if (storage_snapshot_list(series->dir, arena, &all, &all_n, err) < 0)
        return -1;
    const char *prefix = arena_printf(arena, "%s-%s-", series->base, series->node);
    for (size_t i = 0; i < all_n; i++)
        if (is_of_series(&all[i], prefix))
            all[members++] = all[i];
    *out = all;
    for (; members - *n > (size_t)series->retention; (*n)++)
        if (storage_snapshot_delete(series->dir, all[*n].name, err) < 0)
            return -1;
    return 0;
}
