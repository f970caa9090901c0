/* SPDX-License-Identifier: Apache-2.0 */
/*
 * respond.h - answers over HTTP: objects from their shared bytes, lists as a chain of them, Status
 * documents for failures.
 *
 * Every other function answers the request, once.
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/discovery.h"
#include "apiserver/negotiate.h"
#include "apiserver/rest.h"

/* The form in which R is to be answered. */
must_check int respond_type(struct request *r, bool is_watch, struct answer_type *out,
                            struct error *err);

/* ABOUT is what failed (NULL: nothing is known). */
void respond_error(struct request *r, const struct error *err, const struct outcome *about);
/* TYPE's include is taken from the query. */
void respond_outcome(struct request *r, const struct answer_type *type, const struct outcome *o);
void respond_list(struct request *r, const struct answer_type *type,
                  const struct list_result *list);
void respond_document(struct request *r, const struct document *d); /* takes d->body's reference */
void respond_text(struct request *r, int status, const char *content_type,
                  struct bytes text); /* copied */
/* What is no API object is indented whoever asks, as upstream has it. */
void respond_pretty(struct request *r, const struct json *doc);

/* The headers that every answer carries, in the request's arena; also for streams.  CONTENT_TYPE
 * NULL: without. */
struct http_header *respond_headers(struct request *r, const char *content_type, size_t *n);
/* Counts the request in the metrics; the other functions here do it themselves. */
void respond_count(struct request *r, int status);

/* What a Table's rows say of their objects: ?includeObject=. */
enum table_include table_include_of(struct request *r);
