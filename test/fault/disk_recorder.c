/* SPDX-License-Identifier: Apache-2.0 */
/* disk_recorder.c - the hooks, and making folders from what they saw. */
#include "test/fault/disk_recorder.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"

#define HOOK         __attribute__((visibility("default")))
#define NODES_MAX    64
#define FDS_MAX      1024
#define SECTOR_BYTES 512
#define PAGE_BYTES   4096
#define PARENT       0 /* the node of the folder's parent */

enum op_type {
    OP_WRITE,
    OP_SIZE,       /* it grows at least to OFFSET */
    OP_NAME,       /* NODE, a folder, has NAME for TARGET (-1: no more) */
    OP_SYNC_BEGIN, /* of NODE */
    OP_SYNC_END,   /* of what was before operation BEGAN */
    OP_WRITE_END,  /* operation BEGAN, a write that syncs itself */
};
struct op {
    enum op_type type;
    int node, target;
    off_t offset;
    size_t len;
    size_t began; /* of a name: the operation that it is one with, or ALONE */
    char *data;   /* or a name */
};

struct node {
    bool is_folder;
    char path[160]; /* where it is now */
    char *base;     /* bytes on disk at the start; behind them zeros up to its size */
    off_t base_len, base_size;
    int in_base; /* the folder that had it at the start; -1: none */
    char base_name[64];
};

static struct {
    pthread_mutex_t lock;
    atomic_bool is_on;
    char parent[128], folder[128];
    struct node nodes[NODES_MAX];
    int nodes_n;
    int fd_node[FDS_MAX]; /* node + 1 */
    bool fd_syncs[FDS_MAX];
    struct op *ops;
    size_t n, capacity;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- recording ---- */

#define real(name, ...) ((__typeof__(&name))next_of(#name))(__VA_ARGS__)

static void *next_of(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    ensure(f);
    return f;
}

#define ALONE SIZE_MAX

static size_t add(struct op op)
{
    pthread_mutex_lock(&disk.lock);
    disk.ops = xgrow(disk.ops, disk.n, &disk.capacity, sizeof(disk.ops[0]));
    size_t at = disk.n++;
    disk.ops[at] = op;
    pthread_mutex_unlock(&disk.lock);
    return at;
}

static int node_at(const char *path)
{
    for (int i = 0; i < disk.nodes_n; i++)
        if (strcmp(disk.nodes[i].path, path) == 0)
            return i;
    return -1;
}

static bool is_inside(const char *path)
{
    size_t len = strlen(disk.folder);
    return atomic_load(&disk.is_on) && strncmp(path, disk.folder, len) == 0 &&
           (!path[len] || path[len] == '/');
}

static int parent_of(const char *path)
{
    char text[160];
    snprintf(text, sizeof(text), "%s", path);
    *strrchr(text, '/') = '\0';
    int parent = node_at(text);
    ensure(parent >= 0);
    return parent;
}

static const char *name_in(const char *path)
{
    return strrchr(path, '/') + 1;
}

static int node_add(const char *path, bool is_folder)
{
    ensure(disk.nodes_n < NODES_MAX);
    struct node *n = &disk.nodes[disk.nodes_n];
    *n = (struct node){ .is_folder = is_folder, .in_base = -1 };
    snprintf(n->path, sizeof(n->path), "%s", path);
    return disk.nodes_n++;
}

static size_t add_name(const char *path, int target, size_t with)
{
    return add((struct op){ .type = OP_NAME,
                            .node = parent_of(path),
                            .target = target,
                            .began = with,
                            .data = xstrdup(name_in(path)) });
}

static int node_of(int fd)
{
    return atomic_load(&disk.is_on) && fd >= 0 && fd < FDS_MAX ? disk.fd_node[fd] - 1 : -1;
}

/* It leads out of the folder: to what is in memory and no disk has. */
static bool is_link(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

static void note_open(const char *path, int flags, int fd, bool was_there)
{
    bool is_parent = atomic_load(&disk.is_on) && strcmp(path, disk.parent) == 0;
    if (fd < 0 || (!is_inside(path) && !is_parent) || is_link(path))
        return;
    ensure(fd < FDS_MAX && !(flags & O_TRUNC && was_there)); /* files only grow */
    int node = node_at(path);
    if (node < 0) {
        node = node_add(path, false);
        ensure(!was_there);
        add_name(path, node, ALONE);
    }
    disk.fd_node[fd] = node + 1;
    disk.fd_syncs[fd] = flags & O_DSYNC; /* O_SYNC has that bit, too */
}

static void note_write(int fd, const void *data, size_t len, off_t offset, size_t *at)
{
    int node = node_of(fd);
    if (node < 0 || !len)
        return;
    char *copy = xmalloc(len);
    memcpy(copy, data, len);
    *at = add(
        (struct op){ .type = OP_WRITE, .node = node, .offset = offset, .len = len, .data = copy });
}

static void note_written(int fd, size_t at, ssize_t done)
{
    if (node_of(fd) < 0 || done < 0 || !disk.fd_syncs[fd])
        return;
    add((struct op){ .type = OP_WRITE_END, .node = node_of(fd), .began = at });
}

/* Nothing is really synced: this disk is imagined, and waits for nobody. */
static int note_sync(int fd)
{
    int node = node_of(fd);
    if (node < 0)
        return 0;
    size_t began = add((struct op){ .type = OP_SYNC_BEGIN, .node = node });
    add((struct op){ .type = OP_SYNC_END, .node = node, .began = began });
    return 0;
}

static void note_size(int fd, off_t size)
{
    if (node_of(fd) >= 0)
        add((struct op){ .type = OP_SIZE, .node = node_of(fd), .offset = size });
}

/* ---- the hooks ---- */

static int open_recorded(const char *name, const char *path, int flags, mode_t mode)
{
    struct stat st;
    bool was_there = is_inside(path) && stat(path, &st) == 0;
    int fd = ((int (*)(const char *, int, ...))next_of(name))(path, flags & ~O_SYNC, mode);
    note_open(path, flags, fd, was_there);
    return fd;
}

#define MODE_ARGUMENT(flags, mode)                                                                 \
    do {                                                                                           \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode = (flags)&O_CREAT ? va_arg(args, mode_t) : 0;                                         \
        va_end(args);                                                                              \
    } while (0)

HOOK int open(const char *path, int flags, ...)
{
    mode_t mode;
    MODE_ARGUMENT(flags, mode);
    return open_recorded("open", path, flags, mode);
}

HOOK int open64(const char *path, int flags, ...)
{
    mode_t mode;
    MODE_ARGUMENT(flags, mode);
    return open_recorded("open64", path, flags, mode);
}

HOOK int close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX)
        disk.fd_node[fd] = 0;
    return real(close, fd);
}

HOOK ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    size_t at = 0;
    note_write(fd, data, len, offset, &at);
    ssize_t done = real(pwrite, fd, data, len, offset);
    note_written(fd, at, done);
    return done;
}

HOOK ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return pwrite(fd, data, len, offset);
}

HOOK ssize_t write(int fd, const void *data, size_t len)
{
    size_t at = 0;
    if (node_of(fd) >= 0)
        note_write(fd, data, len, lseek(fd, 0, SEEK_CUR), &at);
    ssize_t done = real(write, fd, data, len);
    note_written(fd, at, done);
    return done;
}

HOOK ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    size_t at = 0;
    for (int i = 0; i < n && node_of(fd) >= 0; i++) {
        ensure(!disk.fd_syncs[fd]);
        note_write(fd, parts[i].iov_base, parts[i].iov_len, offset, &at);
        offset += (off_t)parts[i].iov_len;
    }
    for (int i = 0; i < n && node_of(fd) >= 0; i++)
        offset -= (off_t)parts[i].iov_len;
    return real(pwritev, fd, parts, n, offset);
}

HOOK ssize_t writev(int fd, const struct iovec *parts, int n)
{
    size_t at = 0;
    off_t offset = node_of(fd) >= 0 ? lseek(fd, 0, SEEK_CUR) : 0;
    for (int i = 0; i < n && node_of(fd) >= 0; i++) {
        ensure(!disk.fd_syncs[fd]);
        note_write(fd, parts[i].iov_base, parts[i].iov_len, offset, &at);
        offset += (off_t)parts[i].iov_len;
    }
    return real(writev, fd, parts, n);
}

HOOK int fdatasync(int fd)
{
    return note_sync(fd);
}

HOOK int fsync(int fd)
{
    return note_sync(fd);
}

HOOK int ftruncate(int fd, off_t size)
{
    struct stat st;
    ensure(node_of(fd) < 0 || (fstat(fd, &st) == 0 && st.st_size <= size)); /* never shrinks */
    note_size(fd, size);
    return real(ftruncate, fd, size);
}

HOOK int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

HOOK int posix_fallocate(int fd, off_t offset, off_t len)
{
    note_size(fd, offset + len);
    return real(posix_fallocate, fd, offset, len);
}

HOOK int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return posix_fallocate(fd, offset, len);
}

HOOK int mkdir(const char *path, mode_t mode)
{
    int rc = real(mkdir, path, mode);
    if (rc == 0 && is_inside(path))
        add_name(path, node_add(path, true), ALONE);
    return rc;
}

HOOK int rename(const char *from, const char *to)
{
    int rc = real(rename, from, to);
    if (rc < 0 || !is_inside(from))
        return rc;
    int node = node_at(from), old = node_at(to);
    if (old >= 0)
        disk.nodes[old].path[0] = '\0';
    add_name(from, -1, add_name(to, node, ALONE)); /* both or neither */
    snprintf(disk.nodes[node].path, sizeof(disk.nodes[node].path), "%s", to);
    return rc;
}

static int note_removal(const char *path, int rc)
{
    int node = rc == 0 && is_inside(path) ? node_at(path) : -1;
    if (node >= 0) { /* not a link's */
        add_name(path, -1, ALONE);
        disk.nodes[node].path[0] = '\0';
    }
    return rc;
}

HOOK int unlink(const char *path)
{
    return note_removal(path, real(unlink, path));
}

HOOK int rmdir(const char *path)
{
    return note_removal(path, real(rmdir, path));
}

HOOK int msync(void *start, size_t len, int flags)
{
    ensure(!atomic_load(&disk.is_on)); /* nothing writes through a map */
    return real(msync, start, len, flags);
}

/* ---- starting: what is there is on disk ---- */

/* Logs are mostly room for later. */
static off_t end_of_data(int fd)
{
    off_t end = 0;
    for (off_t data; (data = lseek(fd, end, SEEK_DATA)) >= 0;)
        end = lseek(fd, data, SEEK_HOLE);
    return end;
}

static void load_bytes(struct node *n)
{
    int fd = real(open, n->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ensure(fd >= 0 && fstat(fd, &st) == 0);
    n->base_size = st.st_size;
    n->base_len = end_of_data(fd);
    n->base = xcalloc(1, (size_t)n->base_len + 1);
    for (off_t done = 0; done < n->base_len;) {
        ssize_t got = pread(fd, n->base + done, (size_t)(n->base_len - done), done);
        ensure(got > 0);
        done += got;
    }
    real(close, fd);
}

static int load(const char *path, int parent)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -1;
    int node = node_add(path, S_ISDIR(st.st_mode));
    struct node *n = &disk.nodes[node];
    n->in_base = parent;
    snprintf(n->base_name, sizeof(n->base_name), "%s", name_in(path));
    if (!n->is_folder)
        load_bytes(n);
    return node;
}

static void load_folder(const char *path, int parent)
{
    int node = load(path, parent);
    DIR *dir = node >= 0 ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        scoped(str) char *below = xasprintf("%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && e->d_type == DT_DIR)
            load_folder(below, node);
        else if (e->d_name[0] != '.')
            load(below, node);
    }
    if (dir)
        closedir(dir);
}

void disk_record(const char *folder)
{
    disk_record_stop();
    for (size_t i = 0; i < disk.n; i++)
        free(disk.ops[i].data);
    for (int i = 0; i < disk.nodes_n; i++)
        free(disk.nodes[i].base);
    disk.n = 0;
    disk.nodes_n = 0;
    snprintf(disk.folder, sizeof(disk.folder), "%s", folder);
    snprintf(disk.parent, sizeof(disk.parent), "%s", folder);
    *strrchr(disk.parent, '/') = '\0';
    node_add(disk.parent, true);
    load_folder(folder, PARENT);
    atomic_store(&disk.is_on, true);
}

void disk_record_stop(void)
{
    atomic_store(&disk.is_on, false);
    memset(disk.fd_node, 0, sizeof(disk.fd_node));
}

size_t disk_position(void)
{
    pthread_mutex_lock(&disk.lock);
    size_t n = disk.n;
    pthread_mutex_unlock(&disk.lock);
    return n;
}

/* ---- after the cut ---- */

struct cut {
    size_t position;
    enum disk_fate fate;
    struct rng *rng;
    bool *is_durable;  /* by operation */
    bool *survives;    /* those that are not durable too, by luck */
    size_t last_write; /* that is not durable; position: none */
};

static void find_durable(struct cut *c)
{
    c->is_durable = xcalloc(c->position + 1, sizeof(bool));
    for (size_t i = 0; i < c->position; i++) {
        const struct op *op = &disk.ops[i];
        if (op->type == OP_WRITE_END)
            c->is_durable[op->began] = true;
        for (size_t k = 0; op->type == OP_SYNC_END && k < op->began; k++)
            if (disk.ops[k].node == op->node)
                c->is_durable[k] = true;
    }
    c->last_write = c->position;
    for (size_t i = 0; i < c->position; i++)
        if (disk.ops[i].type == OP_WRITE && !c->is_durable[i])
            c->last_write = i;
}

static bool coin(struct cut *c)
{
    return rng_below(c->rng, 2);
}

static bool choose(struct cut *c, size_t i)
{
    const struct op *op = &disk.ops[i];
    if (c->is_durable[i])
        return true;
    switch (c->fate) {
    case DISK_LOSES_ALL:
        return false;
    case DISK_LOSES_BYTES:
        return op->type != OP_WRITE;
    case DISK_LOSES_NAMES:
        return op->type != OP_NAME;
    case DISK_KEEPS_LAST:
        return op->type == OP_WRITE ? i == c->last_write : coin(c);
    case DISK_LOSES_LAST:
        return op->type == OP_WRITE ? i != c->last_write : coin(c);
    case DISK_MIXES_SECTORS:
    case DISK_MIXES_PAGES:
        return op->type == OP_WRITE || coin(c);
    default:
        return true;
    }
}

static void find_survivors(struct cut *c)
{
    c->survives = xcalloc(c->position + 1, sizeof(bool));
    for (size_t i = 0; i < c->position; i++) {
        const struct op *op = &disk.ops[i];
        bool is_paired = op->type == OP_NAME && op->began != ALONE;
        c->survives[i] = is_paired ? c->survives[op->began] : choose(c, i);
    }
}

static void copy_range(const struct op *op, off_t from, off_t to, char *image)
{
    off_t start = op->offset > from ? op->offset : from;
    off_t end = op->offset + (off_t)op->len;
    end = end < to ? end : to;
    if (start < end)
        memcpy(image + start, op->data + (start - op->offset), (size_t)(end - start));
}

/* The writes to NODE that are not durable. */
static const struct op **pending_writes(struct cut *c, int node, size_t *n)
{
    const struct op **pending = xcalloc(c->position + 1, sizeof(pending[0]));
    *n = 0;
    for (size_t i = 0; i < c->position; i++)
        if (disk.ops[i].type == OP_WRITE && disk.ops[i].node == node && !c->is_durable[i])
            pending[(*n)++] = &disk.ops[i];
    return pending;
}

static bool touches(const struct op *op, off_t from, off_t to)
{
    return op->offset < to && op->offset + (off_t)op->len > from;
}

/* Each block of the file as it was at some moment since it was last durable. */
static void mix(struct cut *c, int node, off_t block, off_t size, char *image)
{
    size_t pending_n;
    const struct op **pending = pending_writes(c, node, &pending_n);
    for (off_t at = 0; at < size && pending_n; at += block) {
        off_t end = at + block < size ? at + block : size;
        size_t n = 0;
        for (size_t i = 0; i < pending_n; i++)
            n += touches(pending[i], at, end);
        size_t left = n ? rng_below(c->rng, n + 1) : 0;
        for (size_t i = 0; left; i++) {
            if (!touches(pending[i], at, end))
                continue;
            copy_range(pending[i], at, end, image);
            left--;
        }
    }
    free(pending);
}

static off_t size_of(struct cut *c, int node)
{
    off_t size = disk.nodes[node].base_size;
    for (size_t i = 0; i < c->position; i++) {
        const struct op *op = &disk.ops[i];
        bool grows = op->node == node && (op->type == OP_WRITE || op->type == OP_SIZE);
        off_t end = op->type == OP_WRITE ? op->offset + (off_t)op->len : op->offset;
        if (!grows || end <= size)
            continue;
        /* A write that is lost may have made the file longer all the same. */
        bool keeps_size = c->fate == DISK_LOSES_BYTES || c->survives[i];
        if (keeps_size)
            size = end;
    }
    return size;
}

/* The file's first *LEN bytes; behind them are zeros up to SIZE. */
static char *bytes_after(struct cut *c, int node, off_t size, off_t *len)
{
    const struct node *n = &disk.nodes[node];
    bool mixes = c->fate == DISK_MIXES_SECTORS || c->fate == DISK_MIXES_PAGES;
    *len = n->base_len;
    for (size_t i = 0; i < c->position; i++)
        if (disk.ops[i].type == OP_WRITE && disk.ops[i].node == node &&
            disk.ops[i].offset + (off_t)disk.ops[i].len > *len)
            *len = disk.ops[i].offset + (off_t)disk.ops[i].len;
    *len = *len < size ? *len : size;
    char *image = xcalloc(1, (size_t)*len + 1);
    if (n->base_len)
        memcpy(image, n->base, (size_t)(n->base_len < *len ? n->base_len : *len));
    for (size_t i = 0; i < c->position; i++) {
        const struct op *op = &disk.ops[i];
        if (op->type != OP_WRITE || op->node != node || (mixes && !c->is_durable[i]) ||
            !c->survives[i])
            continue;
        off_t end = *len;
        if (c->fate == DISK_TEARS && i == c->last_write) {
            off_t sectors = (off_t)op->len / SECTOR_BYTES + 1;
            end = op->offset / SECTOR_BYTES * SECTOR_BYTES +
                  (off_t)rng_below(c->rng, (uint64_t)sectors + 1) * SECTOR_BYTES;
            end = end < *len ? end : *len;
        }
        copy_range(op, 0, end, image);
    }
    if (mixes)
        mix(c, node, c->fate == DISK_MIXES_PAGES ? PAGE_BYTES : SECTOR_BYTES, *len, image);
    return image;
}

static void make_file(struct cut *c, int node, const char *path)
{
    off_t size = size_of(c, node), len;
    scoped(str) char *image = bytes_after(c, node, size, &len);
    int fd = real(open, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ensure(fd >= 0 && ftruncate(fd, size) == 0);
    ensure(real(pwrite, fd, image, (size_t)len, 0) == (ssize_t)len);
    real(close, fd);
}

/* The node that NAME stands for in FOLDER; -1: none. */
static int resolve(struct cut *c, int folder, const char *name)
{
    int node = -1;
    for (int i = 0; i < disk.nodes_n; i++)
        if (disk.nodes[i].in_base == folder && strcmp(disk.nodes[i].base_name, name) == 0)
            node = i;
    for (size_t i = 0; i < c->position; i++) {
        const struct op *op = &disk.ops[i];
        if (op->type == OP_NAME && op->node == folder && strcmp(op->data, name) == 0 &&
            c->survives[i])
            node = op->target;
    }
    return node;
}

static void make_folder(struct cut *c, int folder, const char *path);

static void make_name(struct cut *c, int folder, const char *name, const char *path)
{
    int node = resolve(c, folder, name);
    if (node < 0)
        return;
    if (disk.nodes[node].is_folder)
        make_folder(c, node, path);
    else
        make_file(c, node, path);
}

static void make_folder(struct cut *c, int folder, const char *path)
{
    struct stat st;
    ensure(real(mkdir, path, 0700) == 0);
    for (int i = 0; i < disk.nodes_n; i++) {
        scoped(str) char *below = xasprintf("%s/%s", path, disk.nodes[i].base_name);
        if (disk.nodes[i].in_base == folder)
            make_name(c, folder, disk.nodes[i].base_name, below);
    }
    for (size_t i = 0; i < c->position; i++) {
        const struct op *op = &disk.ops[i];
        if (op->type != OP_NAME || op->node != folder)
            continue;
        scoped(str) char *below = xasprintf("%s/%s", path, op->data);
        if (stat(below, &st) < 0)
            make_name(c, folder, op->data, below);
    }
}

void disk_make(const char *into, size_t position, enum disk_fate fate, struct rng *rng)
{
    ensure(!atomic_load(&disk.is_on));
    struct cut c = { .position = position, .fate = fate, .rng = rng };
    find_durable(&c);
    find_survivors(&c);
    make_name(&c, PARENT, name_in(disk.folder), into);
    free(c.is_durable);
    free(c.survives);
}
