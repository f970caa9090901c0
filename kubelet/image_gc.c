/* SPDX-License-Identifier: Apache-2.0 */
/* image_gc.c - removes images that no container uses when the disk is nearly full. */
#include "kubelet/image_gc.h"

#include <inttypes.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "kubelet/image_import.h"

static bool is_named(const struct cri_image *image, const char *name)
{
    if (str_equal(image->id, name))
        return true;
    for (size_t i = 0; i < image->tags.n; i++)
        if (str_equal(image->tags.items[i], name))
            return true;
    for (size_t i = 0; i < image->digests.n; i++)
        if (str_equal(image->digests.items[i], name))
            return true;
    return false;
}

static bool is_used(const struct cri_image *image, const struct cri_strings *used)
{
    for (size_t i = 0; i < used->n; i++)
        if (is_named(image, used->items[i]))
            return true;
    return false;
}

static int largest_first(const void *x, const void *y)
{
    const struct cri_image *a = x, *b = y;
    return (a->size_bytes < b->size_bytes) - (a->size_bytes > b->size_bytes);
}

size_t image_gc_choose(struct cri_image *images, size_t n, const struct cri_strings *used,
                       uint64_t bytes)
{
    size_t unused = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_used(&images[i], used))
            continue;
        struct cri_image kept = images[unused];
        images[unused++] = images[i];
        images[i] = kept;
    }
    qsort(images, unused, sizeof(*images), largest_first);
    size_t chosen = 0;
    for (uint64_t freed = 0; chosen < unused && freed < bytes; chosen++)
        freed += images[chosen].size_bytes;
    return chosen;
}

/* How much is to be freed; 0: there is room. */
static uint64_t excess_bytes(const char *path)
{
    struct statvfs fs;
    if (statvfs(path, &fs) < 0 || fs.f_blocks == 0)
        return 0;
    uint64_t capacity = (uint64_t)fs.f_blocks * fs.f_frsize;
    uint64_t used = capacity - (uint64_t)fs.f_bavail * fs.f_frsize;
    if (used < capacity / 100 * IMAGE_GC_HIGH_PERCENT)
        return 0;
    return used - capacity / 100 * IMAGE_GC_LOW_PERCENT;
}

void image_gc_check(struct kubelet_context *k)
{
    uint64_t bytes = excess_bytes(k->data_dir);
    if (bytes == 0)
        return;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct cri_image *images;
    struct cri_container *containers;
    size_t images_n, containers_n;
    if (cri_list_images(k->cri, a, &images, &images_n, &err) < 0 ||
        cri_list_containers(k->cri, NULL, a, &containers, &containers_n, &err) < 0) {
        log_warn("kubelet", "collect images: %s", err.message);
        return;
    }
    struct cri_strings used = { 0 };
    cri_strings_add(&used, a, PAUSE_IMAGE);
    for (size_t i = 0; i < containers_n; i++) {
        cri_strings_add(&used, a, containers[i].image);
        cri_strings_add(&used, a, containers[i].image_ref);
    }
    size_t n = image_gc_choose(images, images_n, &used, bytes);
    log_info("kubelet", "disk is %d %% full: removing %zu unused images to free %" PRIu64 " bytes",
             IMAGE_GC_HIGH_PERCENT, n, bytes);
    for (size_t i = 0; i < n; i++)
        if (cri_remove_image(k->cri, images[i].id, &err) < 0)
            log_warn("kubelet", "remove image %s: %s", images[i].id, err.message);
}
