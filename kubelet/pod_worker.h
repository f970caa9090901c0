/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_worker.h - one keyed queue of pods; each key is brought forward by pod_sync().
 *
 *     informer, manifests, runtime events, probes, jobs  --uid-->  queue  -->  pod_sync()
 *
 * A pod is an entry from the moment a source or the runtime has it until nothing of it is left.
 * What takes long (pulls, stops, hooks) is a job on a pool of its own, which puts the key back when
 * it is done, so that a sync never waits for a registry or a grace period.
 *
 * Threads: any.
 */
#pragma once

#include <pthread.h>

#include "base/hashmap.h"
#include "base/worker_pool.h"
#include "base/workqueue.h"
#include "kubelet/kubelet_context.h"

#define POD_THREADS_MAX 128 /* every pod of a full node may be in a call at once */
#define POD_JOBS_MAX    512 /* pulls, hooks and grace periods: several for each of its pods */
#define POD_QUEUED_MAX  4096

enum pull_state { PULL_IDLE, PULL_RUNNING, PULL_DONE, PULL_FAILED };

/* What outlives a sync for one container name. */
struct container_memory {
    struct container_memory *next;
    char *name;
    /* Only the sync's: crash back-off as upstream keeps it. */
    int64_t backoff_ms, backoff_updated_ns;
    char *reason, *message; /* why it waits; NULL: it does not */
    /* Only the sync's: pull back-off. */
    int64_t pull_backoff_ms, pull_not_before_ns;
    char *pull_failure_reason;

    /* Under the worker's lock: jobs write here. */
    enum pull_state pull;
    char *pull_error;
    unsigned stops;           /* jobs that stop it */
    int64_t stop_deadline_ns; /* of the earliest */
    char *stop_id;            /* the container they stop */
    char *stop_error;         /* why the last one did not; NULL: it did */
    char *hooked_id;          /* the container whose postStart is being run */
};

struct pod_worker;

struct pod_entry {
    struct pod_worker *worker;
    char *uid;
    /* Under the worker's lock. */
    struct object *pod; /* the newest the source had; NULL: only the runtime knows it */
    bool is_gone;       /* no source has it any more */
    bool is_static;
    unsigned jobs;
    uint64_t said; /* pod_status_digest() of what we say of it; 0: nothing yet */
    /* Only the sync's. */
    struct container_memory *containers;
    const char *failed_reason, *failed_message; /* we ended it */
    bool is_finished;                           /* nothing is left of it on this node */
    bool has_status;                            /* its first status has been written */
};

struct pod_worker {
    struct kubelet_context *k;
    struct workqueue *queue;
    struct worker_pool *pool, *jobs; /* of turns; of what takes long */
    pthread_t dispatcher, housekeeper;
    bool is_started;
    pthread_mutex_t lock; /* no other lock is taken under it */
    pthread_cond_t wake;
    bool is_stopping;
    struct hashmap entries; /* by uid */
};

struct pod_worker *pod_worker_new(struct kubelet_context *k, struct error *err);
/* After the informers have their first list and the runtime answers: from now on pods are worked
 * on. */
must_check int pod_worker_start(struct pod_worker *w, struct error *err);
/* When it returns nothing is worked on any more; late wake-ups are dropped until it is freed. */
void pod_worker_stop(struct pod_worker *w);
void pod_worker_free(struct pod_worker *w);

/* A source has this pod (again); the newest version wins. */
void pod_worker_update(struct pod_worker *w, const struct object *pod, bool is_static);
/* The same pod with another status: kept, and worked on only if it is not the one that we wrote
 * (the node lifecycle controller marks pods of a silent node as not ready). */
void pod_worker_note(struct pod_worker *w, const struct object *pod);
struct object *pod_worker_newest(struct pod_worker *w,
                                 struct pod_entry *e); /* a reference, or NULL */
void pod_worker_says(struct pod_worker *w, struct pod_entry *e, const struct json *status);
void pod_worker_remove(struct pod_worker *w, const char *uid);
void pod_worker_wake(struct pod_worker *w, const char *uid);
void pod_worker_wake_after(struct pod_worker *w, const char *uid, int64_t delay_ms);
void pod_worker_wake_all(struct pod_worker *w);

/* The pod by name, static ones included: a reference, or NULL.  For the kubelet's server. */
struct object *pod_worker_find(struct pod_worker *w, const char *ns, const char *name);
void pod_worker_list(struct pod_worker *w, struct object_list *out);

/* ---- for pod_sync.c and what it is made of ---- */

/* Runs FN(E, ARG) on the jobs' pool; E stays until it has returned, then its key is queued. */
must_check int pod_worker_job(struct pod_entry *e, void (*fn)(struct pod_entry *e, void *arg),
                              void *arg, struct error *err);
struct container_memory *container_memory(struct pod_entry *e, const char *name);

/* Brings one pod forward (pod_sync.c). */
void pod_sync(struct pod_entry *e);
