/* SPDX-License-Identifier: Apache-2.0 */
/* volume_subpath.c - a part of a volume, as a mount of its own. */
#include "kubelet/volume_subpath.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

/* A folder that is missing gets the volume's mode: the container's user may be anyone. */
static int make_folder(int at, const char *part, mode_t mode)
{
    if (mkdirat(at, part, 0750) < 0 && errno != EEXIST)
        return -1;
    scoped(fd) int fd = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -1 : fchmod(fd, mode & (0777 | S_ISGID));
}

/* One step down; *IS_LINK if PART is a symbolic link, which is not followed.  A descriptor, or -1
 * with errno. */
static int descend(int at, const char *part, mode_t mode, bool *is_link)
{
    struct stat st;
    *is_link = false;
    if (fstatat(at, part, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
        (errno != ENOENT || make_folder(at, part, mode) < 0))
        return -1;
    int fd = openat(at, part, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && !S_ISLNK(st.st_mode))
        return fd;
    *is_link = true;
    close(fd);
    errno = ELOOP;
    return -1;
}

/* Holds VOLUME/BELOW. */
static int hold(const char *volume, const char *below, struct arena *a, bool *is_link)
{
    struct stat st;
    int at = open(volume, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *is_link = false;
    if (at < 0 || fstat(at, &st) < 0)
        return at;
    char *rest = arena_strdup(a, below);
    for (char *part = strsep(&rest, "/"); part && at >= 0; part = strsep(&rest, "/")) {
        if (str_empty(part) || str_equal(part, "."))
            continue;
        int next = descend(at, part, st.st_mode, is_link);
        int saved = errno;
        close(at);
        errno = saved;
        at = next;
    }
    return at;
}

/* The same where links lead on inside the volume: a ConfigMap's file is one to ..data. */
static int hold_resolved(const struct sub_path *s, struct arena *a, struct error *err)
{
    bool is_link;
    int fd = hold(s->volume->host_path, s->below, a, &is_link);
    if (fd < 0 && is_link) {
        scoped(str) char *root = realpath(s->volume->host_path, NULL);
        scoped(str) char *path =
            realpath(arena_printf(a, "%s/%s", root ? root : "", s->below), NULL);
        size_t len = root ? strlen(root) : 0;
        if (!path || !str_has_prefix(path, root) || path[len] != '/')
            return error_set(err, ERR_BAD_REQUEST,
                             "failed to prepare subPath for volumeMount \"%s\" of container \"%s\"",
                             s->volume->name, s->container);
        fd = hold(root, path + len + 1, a, &is_link);
    }
    return fd < 0 ? error_errno(err, "open the subPath %s", s->below) : fd;
}

/* What the mount goes over: a folder or an empty file. */
static int make_target(const char *target, bool is_folder, struct error *err)
{
    while (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        ; /* of the container before */
    struct stat st;
    if (lstat(target, &st) == 0 && S_ISDIR(st.st_mode) != is_folder &&
        files_remove_tree(target, err) < 0)
        return -1;
    if (is_folder)
        return files_make_dirs(target, 0750, err);
    scoped(str) char *dir = xstrdup(target);
    *strrchr(dir, '/') = '\0';
    if (files_make_dirs(dir, 0750, err) < 0)
        return -1;
    scoped(fd) int fd = open(target, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
    return fd < 0 ? error_errno(err, "make %s", target) : 0;
}

int volume_sub_path(const struct sub_path *s, struct arena *a, const char **out, struct error *err)
{
    if (!files_is_below(s->below))
        return error_set(err, ERR_BAD_REQUEST,
                         "failed to create subPath directory for volumeMount \"%s\" of container "
                         "\"%s\"",
                         s->volume->name, s->container);
    scoped(fd) int fd = hold_resolved(s, a, err);
    struct stat st;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "stat the subPath %s", s->below);
    const char *target = arena_printf(a, "%s/%s/volume-subpaths/%s/%s/%u", s->pods_dir, s->uid,
                                      s->volume->name, s->container, s->index);
    if (make_target(target, S_ISDIR(st.st_mode), err) < 0)
        return -1;
    char held[32];
    snprintf(held, sizeof(held), "/proc/self/fd/%d", fd);
    if (mount(held, target, NULL, MS_BIND, NULL) < 0)
        return error_errno(err, "mount the subPath %s", s->below);
    *out = target;
    return 0;
}
