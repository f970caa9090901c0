/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_import.h - images that come as archives: <data-dir>/agent/images (*.tar, OCI or
 * docker-archive) and the pause image inside our own binary.
 *
 * What was imported is remembered by name, size and time of change, so a start with nothing new
 * costs one read of a folder.
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/error.h"

#define PAUSE_IMAGE "coracle.local/pause:1"

struct image_import {
    const char *data_dir;
    const char *socket;      /* containerd's */
    const char *snapshotter; /* into which layers are unpacked */
};

must_check int image_import_pause(const struct image_import *i, struct error *err);
/* An archive that cannot be imported is logged and tried again at the next start. */
must_check int image_import_folder(const struct image_import *i, struct error *err);
