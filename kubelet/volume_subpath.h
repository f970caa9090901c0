/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_subpath.h - a part of a volume, as a mount of its own.
 *
 * Containers of the pod may change what is in the volume while another one starts: a folder that
 * was looked at can be a symbolic link to / a moment later.  So what was found is held by a
 * descriptor and mounted where no container reaches:
 *
 *     <pods_dir>/<uid>/volume-subpaths/<volume>/<container>/<index>
 *
 * volume_teardown() ends these mounts.  Threads: any; one at a time for one pod.
 */
#pragma once

#include "kubelet/volume.h"

struct sub_path {
    const char *pods_dir, *uid, *container;
    const struct volume *volume;
    const char *below; /* relative to the volume; made as a folder if it is not there */
    unsigned index;    /* of the mount, unique in the container */
};

/* *OUT: the mount's place.  The error's message is the one for CreateContainerConfigError. */
must_check int volume_sub_path(const struct sub_path *s, struct arena *a, const char **out,
                               struct error *err);
