/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_kinds.h - how each kind of volume comes to be: rows of volume.c's table.
 */
#pragma once

#include "kubelet/volume.h"

struct volume_setup {
    struct kubelet_context *k;
    const struct downward_context *pod;
    struct arena *a;
    const struct json *source; /* spec.volumes[].KIND */
    const char *name;
    const char *dir;          /* where it lives; not made yet */
    int64_t refresh_after_ns; /* out: when its content is due, 0: never */
};

/* Each sets *PATH to what containers mount. */
typedef int volume_setup_fn(struct volume_setup *v, const char **path, struct error *err);

volume_setup_fn volume_setup_empty_dir, volume_setup_host_path; /* volume_local.c */
volume_setup_fn volume_setup_config_map, volume_setup_secret, volume_setup_downward,
    volume_setup_projected; /* volume_files.c */
