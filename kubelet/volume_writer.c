/* SPDX-License-Identifier: Apache-2.0 */
/* volume_writer.c - files that all change at once. */
#include "kubelet/volume_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/files.h"

#define FILE_BYTES_MAX (4 * 1024 * 1024)

int volume_files_add(struct volume_files *f, struct arena *a, struct volume_file file,
                     struct error *err)
{
    if (str_empty(file.path) || !files_is_below(file.path) || str_has_prefix(file.path, ".."))
        return error_set(err, ERR_INVALID, "invalid path: %s", file.path);
    if (f->n >= VOLUME_FILES_MAX)
        return error_set(err, ERR_TOO_LARGE, "more than %d files", VOLUME_FILES_MAX);
    for (size_t i = 0; i < f->n; i++) { /* later sources of a projected volume win */
        if (str_equal(f->items[i].path, file.path)) {
            f->items[i] = file;
            return 0;
        }
    }
    f->items = arena_grow(a, f->items, f->n, &f->capacity, sizeof(*f->items));
    f->items[f->n++] = file;
    return 0;
}

/* The files below DIR, counted; -1 if it cannot be read. */
static int count_files(const char *dir, struct arena *a)
{
    DIR *d = opendir(dir);
    if (!d)
        return -1;
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d))) {
        if (str_equal(e->d_name, ".") || str_equal(e->d_name, ".."))
            continue;
        int below =
            e->d_type == DT_DIR ? count_files(arena_printf(a, "%s/%s", dir, e->d_name), a) : 1;
        n += below > 0 ? below : 0;
    }
    closedir(d);
    return n;
}

static bool is_current(const char *dir, const struct volume_files *files, struct arena *a)
{
    const char *data = arena_printf(a, "%s/..data", dir);
    if (count_files(arena_printf(a, "%s/.", data), a) != (int)files->n)
        return false;
    for (size_t i = 0; i < files->n; i++) {
        struct error err = { 0 };
        struct bytes old;
        if (files_read(arena_printf(a, "%s/%s", data, files->items[i].path), FILE_BYTES_MAX, a,
                       &old, &err) < 0 ||
            !bytes_equal(old, files->items[i].data))
            return false;
    }
    return true;
}

static int write_file(const char *path, const struct volume_file *f, int64_t group,
                      struct error *err)
{
    scoped(fd) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "write %s", f->path); /* PATH has the time in it: each try would be
                                                         another event */
    for (size_t done = 0; done < f->data.len;) {
        ssize_t n = write(fd, f->data.data + done, f->data.len - done);
        if (n < 0 && errno != EINTR)
            return error_errno(err, "write %s", f->path);
        done += n > 0 ? (size_t)n : 0;
    }
    if (group >= 0 && fchown(fd, (uid_t)-1, (gid_t)group) < 0)
        return error_errno(err, "give %s to group %lld", path, (long long)group);
    if (fchmod(fd, f->mode | (group >= 0 ? 0440 : 0)) < 0)
        return error_errno(err, "set the mode of %s", path);
    return 0;
}

static int own_dir(const char *path, mode_t mode, int64_t group, struct error *err)
{
    if (group >= 0 && chown(path, (uid_t)-1, (gid_t)group) < 0)
        return error_errno(err, "give %s to group %lld", path, (long long)group);
    if (chmod(path, mode | (group >= 0 ? S_ISGID | 0550 : 0)) < 0)
        return error_errno(err, "set the mode of %s", path);
    return 0;
}

static int own_top(const char *dir, int64_t group, struct error *err)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return error_errno(err, "stat %s", dir);
    return own_dir(dir, 0777 | (st.st_mode & S_ISVTX), group, err);
}

static int write_set(const char *set, const struct volume_files *files, int64_t group,
                     struct arena *a, struct error *err)
{
    for (size_t i = 0; i < files->n; i++) {
        char *path = arena_printf(a, "%s/%s", set, files->items[i].path);
        for (char *p = path + strlen(set) + 1; (p = strchr(p, '/')); p++) {
            *p = '\0';
            if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return error_errno(err, "make the folder of %s", files->items[i].path);
            if (own_dir(path, 0755, group, err) < 0)
                return -1;
            *p = '/';
        }
        if (write_file(path, &files->items[i], group, err) < 0)
            return -1;
    }
    return 0;
}

static const char *first_part(const char *path, struct arena *a)
{
    return arena_strndup(a, path, strcspn(path, "/"));
}

/* Links dir/key -> ..data/key for each first part; removes links to what is no more. */
static int link_names(const char *dir, const struct volume_files *files, struct arena *a,
                      struct error *err)
{
    for (size_t i = 0; i < files->n; i++) {
        const char *name = first_part(files->items[i].path, a);
        const char *link = arena_printf(a, "%s/%s", dir, name);
        if (symlink(arena_printf(a, "..data/%s", name), link) < 0 && errno != EEXIST)
            return error_errno(err, "link %s", link);
    }
    DIR *d = opendir(dir);
    if (!d)
        return error_errno(err, "read %s", dir);
    struct dirent *e;
    while ((e = readdir(d))) {
        bool is_wanted = str_has_prefix(e->d_name, "..") || str_equal(e->d_name, ".");
        for (size_t i = 0; i < files->n && !is_wanted; i++)
            is_wanted = str_equal(first_part(files->items[i].path, a), e->d_name);
        if (!is_wanted)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
    return 0;
}

/* A name that sorts by time and is not there yet. */
static int make_set(const char *dir, struct arena *a, const char **set, struct error *err)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    char text[32];
    strftime(text, sizeof(text), "..%Y_%m_%d_%H_%M_%S", &tm);
    *set = arena_printf(a, "%s/%s.%09ld", dir, text, now.tv_nsec);
    return mkdir(*set, 0755) < 0 ? error_errno(err, "make a folder in %s", dir) : 0;
}

bool volume_is_written(const char *dir)
{
    scoped(str) char *data = xasprintf("%s/..data", dir);
    return access(data, F_OK) == 0;
}

int volume_write(const char *dir, const struct volume_files *files, int64_t group,
                 struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    const char *data = arena_printf(a, "%s/..data", dir);
    const char *data_new = arena_printf(a, "%s/..data_tmp", dir);
    char old[NAME_MAX + 1];
    ssize_t old_len = readlink(data, old, sizeof(old) - 1);
    if (old_len > 0 && is_current(dir, files, a))
        return 0;
    if (files_make_dirs(dir, 0755, err) < 0 || own_top(dir, group, err) < 0)
        return -1;
    const char *set;
    if (make_set(dir, a, &set, err) < 0)
        return -1;
    if (own_dir(set, 0755, group, err) < 0 || write_set(set, files, group, a, err) < 0) {
        struct error ignored = { 0 };
        if (files_remove_tree(set, &ignored) < 0)
            return -1;
        return -1;
    }
    unlink(data_new);
    if (symlink(strrchr(set, '/') + 1, data_new) < 0 || rename(data_new, data) < 0)
        return error_errno(err, "swap %s", data);
    if (link_names(dir, files, a, err) < 0)
        return -1;
    if (old_len <= 0)
        return 0;
    old[old_len] = '\0';
    return files_remove_tree(arena_printf(a, "%s/%s", dir, old), err);
}
