/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_fuzz.c - a snapshot with bytes changed is read, or refused as corrupt.
 *
 * The input is a list of changes to a good file, three bytes of place and one of value; the sums of
 * the meta pages are made right again, since nothing would be looked at behind a wrong one. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/files.h"
#include "storage/bolt.h"
#include "storage/storage.h"
#include "test/fuzz/fuzz.h"

#define KEYS       400
#define PAGE_BYTES 4096

static struct arena *arena;
static struct bytes good;
static int fd = -1;

static void fill(struct storage *s)
{
    struct error err = { 0 };
    int64_t lease;
    ensure(storage_lease_grant(s, 7, 600, &lease, &err) == 0);
    for (int i = 0; i < KEYS; i++) {
        struct storage_op op = { .type = i % 9 ? STORAGE_PUT : STORAGE_DELETE,
                                 .key = bytes_of(arena_printf(arena, "key-%d", i / 2)),
                                 .value = BYTES("value"),
                                 .lease = i % 5 ? 0 : lease };
        struct storage_txn txn = { .success = &op, .success_n = 1 };
        struct storage_txn_result result;
        ensure(storage_txn(s, &txn, arena, &result, &err) == 0);
    }
}

static void make_good(void)
{
    char dir[] = "/tmp/coracle-fuzz.XXXXXX";
    struct error err = { 0 };
    arena = arena_new();
    ensure(mkdtemp(dir));
    struct storage_embedded_config config = { .dir = dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&config, &err);
    ensure(s);
    fill(s);
    const char *path = arena_printf(arena, "%s/file", dir);
    ensure(storage_snapshot_save(s, path, STORAGE_SNAPSHOT_PLAIN, &err) == 0);
    ensure(files_read(path, 1 << 20, arena, &good, &err) == 0);
    storage_close(s);
    ensure(files_remove_tree(dir, &err) == 0);
    fd = memfd_create("snapshot", MFD_CLOEXEC);
    ensure(fd >= 0);
}

static void correct_sum(char *page)
{
    struct bolt_meta meta;
    memcpy(&meta, page + sizeof(struct bolt_page), sizeof(meta));
    meta.checksum = bolt_meta_checksum(&meta);
    memcpy(page + sizeof(struct bolt_page), &meta, sizeof(meta));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fd < 0)
        make_good();
    scoped(mem) void *copy = xmalloc(good.len);
    char *text = copy, path[64];
    memcpy(text, good.data, good.len);
    for (size_t i = 0; i + 4 <= size; i += 4)
        text[(data[i] << 16 | data[i + 1] << 8 | data[i + 2]) % good.len] = (char)data[i + 3];
    correct_sum(text);
    correct_sum(text + PAGE_BYTES);
    ensure(pwrite(fd, text, good.len, 0) == (ssize_t)good.len);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    struct error err = { 0 };
    struct storage_snapshot_status status;
    if (storage_snapshot_status(path, STORAGE_SNAPSHOT_SKIP_SUM, &status, &err) < 0)
        ensure(err.code == ERR_IO && err.message[0]);
    return 0;
}
