/* SPDX-License-Identifier: Apache-2.0 */
/* pause_image.h - the pause program as an OCI archive. */
#pragma once

#include "base/arena.h"

/* The program's bytes, embedded by the build (kubelet/pause/pause.c). */
struct bytes pause_program(void);

/* A tar file: layout, index, manifest, configuration and one layer with PROGRAM at /pause. */
struct bytes pause_image_archive(struct bytes program, const char *name, struct arena *a);
