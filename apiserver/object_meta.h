/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_meta.h - what the server does with metadata on create and update, for every kind.
 *
 * Threads: any.
 */
#pragma once

#include "api/status.h"
#include "apiserver/rest_storage.h"

/* Namespace of the request, uid, creationTimestamp; what only the server sets is cleared.
 * ERR_BAD_REQUEST when the namespaces differ. */
must_check int object_meta_prepare_create(struct strategy_call *c, struct draft *d,
                                          struct error *err);
/* "web-" -> "web-x7k2p", unless there is a name.  True if a name was made. */
bool object_meta_generate_name(struct draft *d);
/* uid, creationTimestamp, deletion and generation are those of OLD. */
void object_meta_prepare_update(const struct object *old, struct draft *d);

void object_meta_validate(const struct resource *r, const struct json *doc,
                          struct field_errors *errors);
void object_meta_validate_update(const struct object *old, const struct json *doc,
                                 struct field_errors *errors);
