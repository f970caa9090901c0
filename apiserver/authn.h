/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authn.h - who is asking: a client certificate, else a bearer token, else system:anonymous; then
 * whom they ask to be instead (Impersonate-User and its like).
 *
 * Threads: loop threads; never blocks.
 */
#pragma once

#include "apiserver/request.h"

/* Start-up, once the PKI is open. */
must_check int authn_start(struct apiserver *a, struct error *err);
void authn_stop(struct apiserver *a);

/* Fills R->user (strings in R->arena or longer-lived).  ERR_UNAUTHORIZED for credentials that are
 * wrong: the answer is upstream's 401 with message "Unauthorized".  ERR_FORBIDDEN for an
 * impersonation that is not allowed. */
must_check int authenticate(struct apiserver *a, struct request *r, struct error *err);

/* Judges a token for TokenReview.  AUDIENCES ends with NULL and may be NULL.  0: *OUT is filled and
 * *AUDIENCES_OUT lists those that matched; -1: ERR_UNAUTHORIZED with the reason. */
must_check int authenticate_token(struct apiserver *a, struct bytes token,
                                  const char *const *audiences, struct arena *arena,
                                  struct user *out, const char *const **audiences_out,
                                  struct error *err);

/* Answers a TokenRequest for SERVICE_ACCOUNT: signs a token and gives the TokenRequest with its
 * status, in ARENA.  REQUEST_DOC is the body, shaped and defaulted.  Runs on a worker thread. */
must_check int token_request(struct apiserver *a, const struct object *service_account,
                             const struct json *request_doc, struct arena *arena, struct json **out,
                             struct error *err);

/* The issuer of our tokens, and its audience unless another is asked for. */
const char *token_issuer(const struct apiserver *a);

/* The user for NAME: a service account's groups are derived from its name, then
 * system:authenticated (for system:anonymous: system:unauthenticated) is added.  GROUPS ends with
 * NULL and may be NULL. */
void user_with_groups(struct user *out, const char *name, const char *const *groups,
                      struct arena *arena);
