/* SPDX-License-Identifier: Apache-2.0 */
/* pause_image.c - the pause program as an OCI archive. */
#include "kubelet/pause_image.h"

#include "base/crypto.h"

#define TAR_BLOCK 512

#if defined(__x86_64__)
#define IMAGE_ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define IMAGE_ARCHITECTURE "arm64"
#endif

struct tar_header { /* POSIX ustar */
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a tar header is one block");

static void tar_add(struct buffer *tar, const char *name, unsigned mode, struct bytes content)
{
    struct tar_header h = { .type = '0', .magic = "ustar", .version = { '0', '0' } };
    snprintf(h.name, sizeof(h.name), "%s", name);
    snprintf(h.mode, sizeof(h.mode), "%07o", mode);
    snprintf(h.uid, sizeof(h.uid), "%07o", 0);
    snprintf(h.gid, sizeof(h.gid), "%07o", 0);
    snprintf(h.size, sizeof(h.size), "%011zo", content.len);
    snprintf(h.mtime, sizeof(h.mtime), "%011o", 0);
    memset(h.checksum, ' ', sizeof(h.checksum)); /* the sum counts its own field as spaces */
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(h); i++)
        sum += ((const unsigned char *)&h)[i];
    snprintf(h.checksum, sizeof(h.checksum), "%06o", sum);

    static const char zeros[TAR_BLOCK];
    buffer_add(tar, &h, sizeof(h));
    buffer_add_bytes(tar, content);
    buffer_add(tar, zeros, (TAR_BLOCK - content.len % TAR_BLOCK) % TAR_BLOCK);
}

static void tar_end(struct buffer *tar)
{
    static const char zeros[2 * TAR_BLOCK];
    buffer_add(tar, zeros, sizeof(zeros));
}

static const char *digest(struct bytes data, struct arena *a)
{
    uint8_t sum[SHA256_BYTES];
    crypto_sha256(data, sum);
    char *text = arena_alloc(a, 2 * SHA256_BYTES + 1);
    for (size_t i = 0; i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", sum[i]);
    return text;
}

/* Adds DATA under its digest, which is returned. */
static const char *add_blob(struct buffer *tar, struct bytes data, struct arena *a)
{
    const char *hex = digest(data, a);
    tar_add(tar, arena_printf(a, "blobs/sha256/%s", hex), 0644, data);
    return hex;
}

struct bytes pause_image_archive(struct bytes program, const char *name, struct arena *a)
{
    __attribute__((cleanup(buffer_scoped))) struct buffer tar = { 0 }, layer = { 0 };
    tar_add(&layer, "pause", 0755, program);
    tar_end(&layer);

    tar_add(&tar, "oci-layout", 0644, BYTES("{\"imageLayoutVersion\":\"1.0.0\"}"));
    const char *layer_hex = add_blob(&tar, buffer_bytes(&layer), a);
    const char *config = arena_printf(
        a,
        "{\"architecture\":\"" IMAGE_ARCHITECTURE "\",\"os\":\"linux\","
        "\"config\":{\"User\":\"65535:65535\",\"Env\":[\"PATH=/\"],\"Entrypoint\":[\"/pause\"]},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
        layer_hex);
    const char *config_hex = add_blob(&tar, bytes_of(config), a);
    const char *manifest = arena_printf(
        a,
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
        "\"digest\":\"sha256:%s\",\"size\":%zu},"
        "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\","
        "\"digest\":\"sha256:%s\",\"size\":%zu}]}",
        config_hex, strlen(config), layer_hex, layer.len);
    const char *manifest_hex = add_blob(&tar, bytes_of(manifest), a);
    const char *index = arena_printf(
        a,
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
        "\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"digest\":\"sha256:%s\",\"size\":%zu,"
        "\"annotations\":{\"io.containerd.image.name\":\"%s\"}}]}",
        manifest_hex, strlen(manifest), name);
    tar_add(&tar, "index.json", 0644, bytes_of(index));
    tar_end(&tar);
    return arena_bytes(a, buffer_bytes(&tar));
}
