/* SPDX-License-Identifier: Apache-2.0 */
/*
 * revisions.h - ControllerRevisions: the templates that a DaemonSet or StatefulSet has had.
 *
 * A revision's data is a strategic merge patch that puts the template back; its label and name
 * carry the hash that the pods made from it have, too.
 *
 * Threads: workers.
 */
#pragma once

#include "controllers/pod_control.h"

#define LABEL_REVISION "controller-revision-hash"

/* All revisions of OWNER, oldest first.  Needs the index "controller" on
 * RESOURCE_CONTROLLERREVISIONS. */
void revisions_list(struct controller *c, const struct object *owner, struct object_list *out);

/* The revision of OWNER's present template: one of LIST (raised to be the newest), or a new one,
 * which LIST gets.  COLLISIONS counts up when a name is taken by another template.  A reference. */
struct object *revisions_current(struct controller *c, const struct object *owner,
                                 struct object_list *list, int64_t *collisions, struct error *err);

/* Deletes the oldest revisions that neither live nor fit into OWNER's spec.revisionHistoryLimit. */
int revisions_truncate(struct controller *c, const struct object *owner,
                       const struct object_list *list,
                       bool (*is_live)(const struct object *revision, void *arg), void *arg,
                       struct error *err);

/* The template that REVISION holds, in its document. */
const struct json *revision_template(const struct object *revision);
/* Its hash as pods have it in their label. */
const char *revision_hash(const struct object *revision);
