/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rollout.h - one reconcile of a deployment: what its steps share.
 *
 * Threads: the worker that reconciles.
 */
#pragma once

#include "controllers/pod_control.h"

/* How large a deployment was when a ReplicaSet was last written, for proportional scaling. */
#define ANNOTATION_DESIRED "deployment.kubernetes.io/desired-replicas"
#define ANNOTATION_MAX     "deployment.kubernetes.io/max-replicas"

/* One reconcile.  What is written replaces what it was made from, so later steps see it. */
struct rollout {
    struct controller *c;
    struct object *deployment;
    struct object_list sets; /* all of the deployment's ReplicaSets, oldest first */
    int current;             /* index of the one with the present template; -1: none yet */
};

/* ---- reading ---- */

int64_t rollout_replicas(const struct object *o); /* spec.replicas */
int64_t rollout_status_count(const struct object *o, const char *field);
bool rollout_is_rolling(const struct object *deployment); /* its strategy */
int64_t rollout_max_surge(const struct object *deployment);
int64_t rollout_max_unavailable(const struct object *deployment);
struct object *rollout_current(const struct rollout *r); /* borrowed; NULL: none yet */

enum which { ALL_SETS, OLD_SETS };
int64_t rollout_sum_replicas(const struct rollout *r, enum which which);
int64_t rollout_sum_status(const struct rollout *r, enum which which, const char *field);

/* ---- ReplicaSets ---- */

int rollout_by_age(const void *a, const void *b);  /* for qsort: oldest first */
int rollout_find_current(const struct rollout *r); /* an index, -1: none has the present template */
/* Makes the present ReplicaSet if there is none and MAY_CREATE; numbers it as the newest. */
int rollout_sync_revision(struct rollout *r, bool may_create, struct error *err);
int64_t rollout_new_size(const struct rollout *r, int64_t now); /* that the present one may have */
int rollout_scale(struct rollout *r, int index, int64_t replicas, struct error *err);
/* 1: scaled; 0: it has that size; -1. */
int rollout_scale_if_needed(struct rollout *r, int index, int64_t replicas, struct error *err);
int rollout_clean_up(struct rollout *r, struct error *err); /* beyond revisionHistoryLimit */

/* ---- status ---- */

const struct json *rollout_condition(const struct json *status, const char *type);
bool rollout_has_deadline(const struct object *deployment);
void rollout_set_progressing(struct rollout *r, struct draft *d, const char *status,
                             const char *reason, const char *message);
int rollout_write_status(struct rollout *r, const struct draft *d, struct error *err);
bool rollout_is_complete(const struct object *deployment, const struct json *status);
int rollout_sync_status(struct rollout *r, struct error *err);   /* counts and availability */
int rollout_sync_progress(struct rollout *r, struct error *err); /* and how the rollout goes */
