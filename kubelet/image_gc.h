/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_gc.h - removes images that no container uses when the disk is nearly full: above
 * IMAGE_GC_HIGH_PERCENT, largest first, until IMAGE_GC_LOW_PERCENT.
 *
 * Threads: one at a time.
 */
#pragma once

#include "kubelet/kubelet_context.h"

#define IMAGE_GC_HIGH_PERCENT 85 /* upstream's */
#define IMAGE_GC_LOW_PERCENT  80

void image_gc_check(struct kubelet_context *k);

/* Which of IMAGES (sorted by this call, what may go first in front) to remove so that BYTES are
 * freed: how many of them.  An image that one of USED names, by id, tag or digest, stays. */
size_t image_gc_choose(struct cri_image *images, size_t n, const struct cri_strings *used,
                       uint64_t bytes);
