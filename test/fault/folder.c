/* SPDX-License-Identifier: Apache-2.0 */
/* folder.c - where tests may write. */
#include "test/fault/folder.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/scoped.h"

#define ROOM_BYTES_MIN ((size_t)256 << 20)

void folder_make(char out[FOLDER_BYTES_MAX], const char *name)
{
    struct statvfs fs;
    bool has_room = statvfs("/dev/shm", &fs) == 0 && fs.f_bavail * fs.f_frsize > ROOM_BYTES_MIN;
    snprintf(out, FOLDER_BYTES_MAX, "%s/coracle-%s.XXXXXX", has_room ? "/dev/shm" : "/tmp", name);
    ensure(mkdtemp(out));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void folder_remove(const char *path)
{
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
