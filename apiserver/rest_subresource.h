/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest_subresource.h - what lies below an object: scale, binding, eviction, token, finalize, ...
 *
 * `status` and the subresources that take a part of the object go through rest_update_object();
 * those that talk to a kubelet are in kubelet_proxy.h.
 *
 * Threads: worker threads, except subresource_get.
 */
#pragma once

#include "apiserver/rest.h"

/* Any write: the verb of R->info on the object or on a subresource; kinds that are answered but not
 * stored too.  Not deletecollection. */
must_check int rest_write(struct request *r, const struct body *body, struct outcome *out,
                          struct error *err);
/* GET below an object; never blocks. */
must_check int subresource_get(struct request *r, struct outcome *out, struct error *err);
/* True for subresources whose content comes from a kubelet or a backend. */
bool subresource_is_connect(const struct request *r);

/* The pod of that name in the request's namespace: a reference.  ERR_NOT_FOUND. */
struct object *pod_of_request(struct request *r, const char *name, struct error *err);

/* One POST each; the answer is in OUT. */
must_check int post_binding(struct request *r, const struct body *body,
                            const struct write_options *o, struct outcome *out, struct error *err);
must_check int post_eviction(struct request *r, const struct body *body,
                             const struct write_options *o, struct outcome *out, struct error *err);
must_check int post_token(struct request *r, const struct body *body, const struct write_options *o,
                          struct outcome *out, struct error *err);

/* GET, PUT and PATCH of a Scale (rest_scale.c). */
must_check int scale_get(struct request *r, struct outcome *out, struct error *err);
must_check int scale_update(struct request *r, const struct body *body,
                            const struct write_options *o, struct outcome *out, struct error *err);
must_check int scale_apply(struct request *r, const struct body *body,
                           const struct write_options *o, struct outcome *out, struct error *err);
must_check int scale_patch(struct request *r, enum patch_type type, const struct body *body,
                           const struct write_options *o, struct outcome *out, struct error *err);
