/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_token.h - service account tokens for pods: asked for once, kept, renewed when 80 % of
 * their life (or a day) has passed.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/kubelet_context.h"

struct token_request {
    const struct object *pod;
    const char *audience; /* "": the API server's own */
    int64_t expiration_s;
};
/* *TOKEN is in ARENA; *RENEW_AFTER_NS from now. */
must_check int volume_token_get(struct kubelet_context *k, const struct token_request *r,
                                struct arena *a, const char **token, int64_t *renew_after_ns,
                                struct error *err);
