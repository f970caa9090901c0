/* SPDX-License-Identifier: Apache-2.0 */
/* image_import.c - images that come as archives. */
#include "kubelet/image_import.h"

#include <dirent.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "base/process.h"
#include "kubelet/pause_image.h"

#define RECORD_BYTES_MAX  (1024 * 1024)
#define IMPORT_TIMEOUT_MS (10 * 60 * 1000)

/* Imports through ctr, which comes with containerd: it knows both archive formats, unpacks, and
 * holds a lease meanwhile, so that nothing is collected half-way. */
static int import_file(const struct image_import *i, const char *path, struct error *err)
{
    const char *argv[] = { "ctr",          "--address", i->socket, "--namespace",
                           "k8s.io",       "images",    "import",  "--snapshotter",
                           i->snapshotter, path,        NULL };
    if (process_run(argv, (struct bytes){ 0 }, NULL, IMPORT_TIMEOUT_MS, err) < 0)
        return error_wrap(err, "import %s", path);
    return 0;
}

static const char *record_path(const struct image_import *i, struct arena *a)
{
    return arena_printf(a, "%s/agent/containerd/imported", i->data_dir);
}

/* One line per archive; a file that changed has another line. */
static const char *record_line(const char *name, const struct stat *st, struct arena *a)
{
    return arena_printf(a, "%" PRId64 " %" PRId64 ".%09ld %s\n", (int64_t)st->st_size,
                        (int64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, name);
}

static bool is_recorded(struct bytes record, const char *line)
{
    for (const char *p = record.data; p && (p = strstr(p, line)); p++)
        if (p == record.data || p[-1] == '\n')
            return true;
    return false;
}

static struct bytes read_record(const struct image_import *i, struct arena *a)
{
    struct error err = { 0 };
    struct bytes record = BYTES("");
    if (files_read(record_path(i, a), RECORD_BYTES_MAX, a, &record, &err) < 0 &&
        err.code != ERR_NOT_FOUND)
        log_warn("kubelet", "%s", err.message);
    return record;
}

static int append_record(const struct image_import *i, const char *line, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct bytes old = read_record(i, a);
    const char *text = arena_printf(a, "%.*s%s", (int)old.len, old.data, line);
    return files_write(record_path(i, a), bytes_of(text), 0600, err);
}

int image_import_pause(const struct image_import *i, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct bytes archive = pause_image_archive(pause_program(), PAUSE_IMAGE, a);
    uint64_t sum = 14695981039346656037u; /* FNV-1a: a new build may bring a new program */
    for (size_t n = 0; n < archive.len; n++)
        sum = (sum ^ (unsigned char)archive.data[n]) * 1099511628211u;
    const char *line = arena_printf(a, "pause %016" PRIx64 "\n", sum);
    if (is_recorded(read_record(i, a), line))
        return 0;
    const char *path = arena_printf(a, "%s/agent/containerd/pause.tar", i->data_dir);
    if (files_write(path, archive, 0600, err) < 0 || import_file(i, path, err) < 0)
        return -1;
    unlink(path);
    return append_record(i, line, err);
}

int image_import_folder(const struct image_import *i, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    const char *folder = arena_printf(a, "%s/agent/images", i->data_dir);
    if (files_make_dirs(folder, 0755, err) < 0)
        return -1;
    DIR *dir = opendir(folder);
    if (!dir)
        return error_errno(err, "read the folder %s", folder);
    struct bytes record = read_record(i, a);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        const char *path = arena_printf(a, "%s/%s", folder, entry->d_name);
        struct stat st;
        if (!str_has_suffix(entry->d_name, ".tar") || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        const char *line = record_line(entry->d_name, &st, a);
        if (is_recorded(record, line))
            continue;
        struct error failure = { 0 };
        if (import_file(i, path, &failure) < 0 || append_record(i, line, &failure) < 0)
            log_error("kubelet", "%s", failure.message);
        else
            log_info("kubelet", "images of %s imported", path);
    }
    closedir(dir);
    return 0;
}
