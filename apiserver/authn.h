/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authn.h - who is asking: a client certificate, else a bearer token, else system:anonymous.
 *
 * Threads: loop threads; never blocks.
 */
#pragma once

#include "apiserver/request.h"

/* Start-up, before the first request and after pki_open(): sets A->tokens. */
must_check int authn_start(struct apiserver *a, struct error *err);
void authn_stop(struct apiserver *a);

/* Fills R->user (strings in R->arena or longer-lived).  ERR_UNAUTHORIZED for credentials that are
 * wrong: the answer is upstream's 401 with message "Unauthorized". */
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
