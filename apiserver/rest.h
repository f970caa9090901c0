/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.h - the verbs: (request, body) -> (answer | error), the same over HTTP and the loopback.
 *
 * The request has been authenticated and authorized.  Verbs that write block: worker threads.
 */
#pragma once

#include "api/client.h"
#include "api/status.h"
#include "apiserver/request.h"

/* The body of a request: text over HTTP, a document over the loopback (borrowed, never changed). */
struct body {
    struct bytes text;
    struct bytes content_type;
    const struct json *doc;
};

enum field_validation { FIELD_VALIDATION_WARN, FIELD_VALIDATION_STRICT, FIELD_VALIDATION_IGNORE };

/* What the query of a write may say. */
struct write_options {
    bool is_dry_run;
    bool force;     /* apply */
    bool has_force; /* the query says whether to */
    enum field_validation field_validation;
    const char *field_manager;
    bool is_apply; /* the draft's managedFields are what is to be stored */
};
must_check int write_options_parse(struct request *r, struct write_options *out, struct error *err);
/* What depends on the type of a patch. */
must_check int patch_options_check(struct request *r, enum patch_type type,
                                   const struct write_options *o, struct error *err);

/* What a verb answers: an object (a reference of the caller's) or a document in the request's
 * arena. */
struct outcome {
    int http_status;
    struct object *object;
    const struct json *doc;
    /* Of a failure: goes into the Status. */
    struct status_details details;
    const char *list_continue; /* an expired list: where to go on, inconsistently */
};
void outcome_deinit(struct outcome *o);
static inline void outcome_scoped(struct outcome *o)
{
    outcome_deinit(o);
}

must_check int rest_create(struct request *r, const struct body *body,
                           const struct write_options *o, struct outcome *out, struct error *err);
must_check int rest_update(struct request *r, const struct body *body,
                           const struct write_options *o, struct outcome *out, struct error *err);
/* Server-side apply: creates what is not there. */
must_check int rest_apply(struct request *r, const struct body *body, const struct write_options *o,
                          struct outcome *out, struct error *err);
must_check int rest_patch(struct request *r, enum patch_type type, const struct body *body,
                          const struct write_options *o, struct outcome *out, struct error *err);

struct delete_options {
    int64_t grace_s; /* -1: not given */
    enum propagation propagation;
    const char *uid, *resource_version; /* preconditions; NULL: none */
    bool is_dry_run;
};
/* From the body (DeleteOptions) and the query. */
must_check int delete_options_parse(struct request *r, const struct body *body,
                                    struct delete_options *out, struct error *err);
must_check int rest_delete(struct request *r, const struct delete_options *o, struct outcome *out,
                           struct error *err);

/* ---- lists ---- */

struct list_options {
    const char *ns;
    const char *label_selector, *field_selector; /* text; NULL: none */
    int64_t limit;
    const char *continue_token;                            /* NULL: none */
    const char *resource_version, *resource_version_match; /* NULL: not given */
};
struct list_result { /* zero-initialise; deinit with list_result_deinit */
    const struct resource *resource;
    struct object_list objects;
    int64_t resource_version;
    const char *continue_token; /* in the arena; NULL: complete */
    int64_t remaining;          /* -1: not known */
};
void list_result_deinit(struct list_result *l);
static inline void list_result_scoped(struct list_result *l)
{
    list_result_deinit(l);
}
must_check int list_options_parse(struct request *r, struct list_options *out, struct error *err);
enum list_outcome {
    LIST_FAILED = -1,
    LIST_DONE = 0,
    LIST_WOULD_BLOCK = 1, /* needs the store, or to wait: call again with MAY_BLOCK on a worker */
};
must_check enum list_outcome rest_list(struct request *r, const struct list_options *o,
                                       bool may_block, struct list_result *out,
                                       struct outcome *failure, struct error *err);
must_check int rest_delete_collection(struct request *r, const struct list_options *list,
                                      const struct delete_options *o, struct list_result *deleted,
                                      struct outcome *out, struct error *err);

/* GET of an object, or ERR_NOT_FOUND: a reference.  Never blocks. */
must_check int rest_get(struct request *r, struct object **out, struct error *err);

/* ---- what the verbs share (rest_common.c) ---- */

/* An object as a draft in an arena of its own: decoded, checked, shaped; not defaulted.  Warnings
 * go to the request. */
must_check int body_decode(struct request *r, const struct body *body,
                           const struct resource *resource, const struct write_options *o,
                           struct draft **out, struct error *err);
/* The same for a kind that is not stored (Scale, Binding, DeleteOptions): a document in the
 * request's arena. */
must_check int body_decode_document(struct request *r, const struct body *body,
                                    const struct schema_type *type, const char *api_version,
                                    const char *kind, const struct write_options *o,
                                    struct json **out, struct error *err);
/* DeleteOptions, of whichever version. */
must_check int body_decode_options(struct request *r, const struct body *body, struct json **out,
                                   struct error *err);
/* The name, and the namespace if there is one, must be the path's. */
must_check int body_check_names(const struct request *r, const struct draft *d, struct error *err);
/* What an apply sends: YAML, of which JSON is a part.  What upstream's strict decoder says of keys
 * that are repeated is told in *REPEATED. */
must_check int body_parse_config(struct request *r, const struct body *body, struct json **out,
                                 struct json_duplicates *repeated, struct error *err);
/* A patch: JSON text, whatever its content type. */
must_check int body_parse_patch(struct request *r, enum patch_type type, const struct body *body,
                                struct json **out, struct error *err);

struct object_key request_key(const struct request *r);
/* A reference; NULL if there is none, or what is stored cannot be read. */
struct object *rest_find(const struct request *r, const struct resource *resource,
                         const struct object_key *key, struct error *err);
/* A failure about the request's object: fills OUT->details. */
void outcome_about(struct outcome *out, const struct request *r);
int outcome_invalid(struct outcome *out, const struct request *r, const char *name,
                    const struct field_errors *errors, struct error *err); /* always -1 */

/* The tail that update and patch share: NEW (taken) has been shaped and defaulted and replaces OLD.
 * 0: done; 1: OLD is no longer what is stored; -1. */
struct update_call {
    struct request *request;
    const struct write_options *options;
    const char *subresource; /* "" for the object itself */
};
must_check int rest_update_object(const struct update_call *c, const struct object *old,
                                  struct draft *new_take, struct outcome *out, struct error *err);
/* Creates from a draft whose body has been decoded and defaulted. */
must_check int rest_create_object(struct request *r, struct draft *new_take,
                                  const struct write_options *o, struct outcome *out,
                                  struct error *err);

/* How often a write that meets a conflict which is not the caller's is tried again. */
#define WRITE_ATTEMPTS_MAX 16
