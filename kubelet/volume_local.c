/* SPDX-License-Identifier: Apache-2.0 */
/* volume_local.c - emptyDir and hostPath. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/quantity.h"
#include "base/files.h"
#include "kubelet/volume_kinds.h"

static int mount_memory(struct volume_setup *v, struct error *err)
{
    struct quantity limit;
    const char *text = json_str(v->source, "sizeLimit", NULL);
    const char *options = "mode=1777";
    if (text && quantity_parse(text, &limit) == 0 && limit.nano > 0)
        options = arena_printf(v->a, "mode=1777,size=%" PRId64, quantity_value(&limit));
    if (mount("tmpfs", v->dir, "tmpfs", 0, options) < 0)
        return error_errno(err, "mount a tmpfs on %s", v->dir);
    return 0;
}

int volume_setup_empty_dir(struct volume_setup *v, const char **path, struct error *err)
{
    *path = v->dir;
    if (files_make_dirs(v->dir, 0755, err) < 0)
        return -1;
    bool is_memory = str_equal(json_str(v->source, "medium", ""), "Memory");
    if (is_memory && !files_is_mount_point(v->dir))
        return mount_memory(v, err);
    struct stat st;
    bool is_fresh = stat(v->dir, &st) == 0 && (st.st_mode & 07777) == 0755;
    if (is_fresh && chmod(v->dir, 0777) < 0) /* the container's user is anyone */
        return error_errno(err, "set the mode of %s", v->dir);
    return 0;
}

static int make_file(const char *path, struct error *err)
{
    scoped(fd) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? error_errno(err, "make the file %s", path) : 0;
}

/* The kinds of things that hostPath.type may demand; 0 asks for none. */
static mode_t wanted_type(const char *type)
{
    return str_has_prefix(type, "Directory") ? S_IFDIR
           : str_has_prefix(type, "File")    ? S_IFREG
           : str_equal(type, "Socket")       ? S_IFSOCK
           : str_equal(type, "CharDevice")   ? S_IFCHR
           : str_equal(type, "BlockDevice")  ? S_IFBLK
                                             : 0;
}

int volume_setup_host_path(struct volume_setup *v, const char **path, struct error *err)
{
    *path = json_str(v->source, "path", "");
    const char *type = json_str(v->source, "type", "");
    struct stat st;
    bool exists = stat(*path, &st) == 0;
    if (!exists && (str_empty(type) || str_equal(type, "DirectoryOrCreate")))
        return files_make_dirs(*path, 0755, err);
    if (!exists && str_equal(type, "FileOrCreate"))
        return make_file(*path, err);
    mode_t wanted = wanted_type(type);
    if (!wanted || (exists && (st.st_mode & S_IFMT) == wanted))
        return 0;
    static const struct {
        const char *type, *words;
    } words[] = {
        { "Directory", "a directory" },      { "File", "a file" },
        { "Socket", "a socket file" },       { "CharDevice", "a character device" },
        { "BlockDevice", "a block device" },
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_has_prefix(type, words[i].type))
            return error_set(err, ERR_INVALID, "hostPath type check failed: %s is not %s", *path,
                             words[i].words);
    return 0;
}
