/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - small things with files that several modules do. */
#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

int files_make_dirs(const char *path, mode_t mode, struct error *err)
{
    scoped(str) char *copy = xstrdup(path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return error_errno(err, "make the folder %s", copy);
        *p = kept;
        if (kept == '\0')
            return 0;
    }
}

int files_make_parents(const char *path, mode_t mode, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    scoped(str) char *dir = xasprintf("%.*s", (int)(slash - path), path);
    return files_make_dirs(dir, mode, err);
}

static int write_all(int fd, struct bytes text)
{
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.data + done, text.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

int files_write_all(int fd, struct bytes text, struct error *err)
{
    return write_all(fd, text) < 0 ? error_errno(err, "write") : 0;
}

/* 0, or why not. */
static int try_sync_dir(const char *dir)
{
    scoped(fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? errno : 0;
}

int files_sync_dir(const char *dir, struct error *err)
{
    errno = try_sync_dir(dir);
    return errno ? error_errno(err, "sync %s", dir) : 0;
}

int files_sync_parents(const char *path, struct error *err)
{
    scoped(str) char *copy = xstrdup(path);
    char *dir = copy;
    do {
        dir = dirname(dir);
        errno = try_sync_dir(dir);
        /* What we may not read, or what cannot be written, is not of our making. */
        if (errno && errno != EACCES && errno != EROFS && errno != EINVAL)
            return error_errno(err, "sync %s", dir);
    } while (!str_equal(dir, "/") && !str_equal(dir, "."));
    return 0;
}

static int write_beside(const char *path, struct bytes text, mode_t mode, bool is_durable,
                        struct error *err)
{
    scoped(str) char *beside = xasprintf("%s.XXXXXX", path);
    scoped(fd) int fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "write %s", path);
    if (write_all(fd, text) < 0 || fchmod(fd, mode) < 0 || (is_durable && fsync(fd) < 0) ||
        rename(beside, path) < 0) {
        error_errno(err, "write %s", path);
        unlink(beside);
        return -1;
    }
    return 0;
}

int files_write(const char *path, struct bytes text, mode_t mode, struct error *err)
{
    return write_beside(path, text, mode, false, err);
}

int files_write_durably(const char *path, struct bytes text, mode_t mode, struct error *err)
{
    if (write_beside(path, text, mode, true, err) < 0)
        return -1;
    scoped(str) char *copy = xstrdup(path);
    return files_sync_dir(dirname(copy), err);
}

int files_read(const char *path, size_t limit, struct arena *a, struct bytes *out,
               struct error *err)
{
    scoped(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        bool is_missing = errno == ENOENT || errno == ENOTDIR;
        error_errno(err, "read %s", path);
        if (is_missing)
            err->code = ERR_NOT_FOUND;
        return -1;
    }
    size_t capacity = 4096, len = 0;
    char *data = arena_alloc(a, capacity);
    for (;;) {
        ssize_t n = read(fd, data + len, capacity - len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "read %s", path);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > limit)
            return error_set(err, ERR_TOO_LARGE, "read %s: more than %zu bytes", path, limit);
        if (capacity - len < 2) {
            char *more = arena_alloc(a, capacity * 2);
            memcpy(more, data, len);
            data = more;
            capacity *= 2;
        }
    }
    data[len] = '\0';
    *out = (struct bytes){ data, len };
    return 0;
}

const char *files_line(const char *path, struct arena *a)
{
    struct error err = { 0 };
    struct bytes text;
    if (files_read(path, 1 << 20, a, &text, &err) < 0)
        return "";
    char *line = (char *)text.data;
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static int remove_entries(int dir_fd, dev_t device)
{
    DIR *dir = fdopendir(dir_fd);
    if (!dir) {
        close(dir_fd);
        return -1;
    }
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir))) {
        if (str_equal(entry->d_name, ".") || str_equal(entry->d_name, ".."))
            continue;
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            rc = errno == ENOENT ? 0 : -1;
        } else if (!S_ISDIR(st.st_mode)) {
            rc = unlinkat(dirfd(dir), entry->d_name, 0);
        } else if (st.st_dev != device) {
            errno = EBUSY; /* a mount: what lies behind it is not ours to delete */
            rc = -1;
        } else {
            int child =
                openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            rc = child < 0 ? -1 : remove_entries(child, device);
            if (rc == 0)
                rc = unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
        }
    }
    int saved = errno;
    closedir(dir);
    errno = saved;
    return rc;
}

int files_remove_tree(const char *path, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : error_errno(err, "remove %s", path);
    if (!S_ISDIR(st.st_mode))
        return unlink(path) < 0 ? error_errno(err, "remove %s", path) : 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || remove_entries(fd, st.st_dev) < 0 || rmdir(path) < 0)
        return error_errno(err, "remove %s", path);
    return 0;
}

bool files_is_below(const char *relative)
{
    if (relative[0] == '/')
        return false;
    for (const char *p = relative; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return false;
        p += len;
        p += strspn(p, "/");
    }
    return true;
}

bool files_is_mount_point(const char *path)
{
    scoped(str) char *parent = xasprintf("%s/..", path);
    struct stat st, up;
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || stat(parent, &up) < 0)
        return false;
    return st.st_dev != up.st_dev;
}

const char *files_find_program(const char *name, struct arena *a)
{
    const char *path = getenv("PATH");
    scoped(str) char *list = xasprintf(
        "%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", path ? path : "");
    char *rest = list;
    for (char *dir = strsep(&rest, ":"); dir; dir = strsep(&rest, ":")) {
        if (str_empty(dir))
            continue;
        const char *candidate = arena_printf(a, "%s/%s", dir, name);
        if (access(candidate, X_OK) == 0)
            return candidate;
    }
    return NULL;
}
