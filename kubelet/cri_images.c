/* SPDX-License-Identifier: Apache-2.0 */
/* cri_images.c - images over CRI. */
#include "kubelet/cri_wire.h"

#include "kubelet/cri.pb-c.h"

/* A pull moves gigabytes over slow lines; upstream gives it no deadline but progress. */
#define PULL_TIMEOUT_MS (60 * 60 * 1000)

static void read_image(const Cri__Image *item, struct arena *a, struct cri_image *out)
{
    *out = (struct cri_image){ .id = item->id, .size_bytes = item->size, .user = -1 };
    for (size_t i = 0; i < item->n_repo_tags; i++)
        cri_strings_add(&out->tags, a, item->repo_tags[i]);
    for (size_t i = 0; i < item->n_repo_digests; i++)
        cri_strings_add(&out->digests, a, item->repo_digests[i]);
    if (item->uid)
        out->user = item->uid->value;
    out->user_name = item->username;
}

int cri_list_images(struct cri_client *c, struct arena *a, struct cri_image **out, size_t *n,
                    struct error *err)
{
    Cri__ListImagesRequest request = CRI__LIST_IMAGES_REQUEST__INIT;
    Cri__ListImagesResponse *response;
    if (cri_call(c, "ImageService/ListImages", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__list_images_response__descriptor, a, &response, err) < 0)
        return -1;
    *n = response->n_images;
    *out = arena_zalloc(a, (*n + 1) * sizeof(**out));
    for (size_t i = 0; i < *n; i++)
        read_image(response->images[i], a, &(*out)[i]);
    return 0;
}

int cri_image_status(struct cri_client *c, const char *image, struct arena *a,
                     struct cri_image *out, struct error *err)
{
    Cri__ImageStatusRequest request = CRI__IMAGE_STATUS_REQUEST__INIT;
    Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    Cri__ImageStatusResponse *response;
    if (cri_call(c, "ImageService/ImageStatus", &request.base, CRI_CALL_TIMEOUT_MS,
                 &cri__image_status_response__descriptor, a, &response, err) < 0)
        return -1;
    if (!response->image)
        return 0;
    read_image(response->image, a, out);
    return 1;
}

int cri_pull_image(struct cri_client *c, const char *image, const struct cri_auth *auth,
                   const struct cri_sandbox_config *sandbox, struct arena *a, const char **ref,
                   struct error *err)
{
    Cri__PullImageRequest request = CRI__PULL_IMAGE_REQUEST__INIT;
    Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    Cri__AuthConfig wire = CRI__AUTH_CONFIG__INIT;
    if (auth) {
        wire.username = (char *)(auth->username ? auth->username : "");
        wire.password = (char *)(auth->password ? auth->password : "");
        wire.auth = (char *)(auth->auth ? auth->auth : "");
        wire.server_address = (char *)(auth->server_address ? auth->server_address : "");
        wire.identity_token = (char *)(auth->identity_token ? auth->identity_token : "");
        request.auth = &wire;
    }
    request.sandbox_config = cri_sandbox_config_wire(sandbox, a);
    Cri__PullImageResponse *response;
    if (cri_call(c, "ImageService/PullImage", &request.base, PULL_TIMEOUT_MS,
                 &cri__pull_image_response__descriptor, a, &response, err) < 0)
        return -1;
    *ref = response->image_ref;
    return 0;
}

int cri_remove_image(struct cri_client *c, const char *image, struct error *err)
{
    Cri__RemoveImageRequest request = CRI__REMOVE_IMAGE_REQUEST__INIT;
    Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    return cri_call(c, "ImageService/RemoveImage", &request.base, CRI_CALL_TIMEOUT_MS, NULL, NULL,
                    NULL, err);
}
