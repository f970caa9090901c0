/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - failure as a value on the caller's stack.
 *
 * A function that can fail takes a `struct error *err` last, never NULL, and leaves it
 * untouched on success.  Callers branch on the code, people read the message.
 */
#pragma once

#include "base/scoped.h"

enum error_code {
    ERR_NONE,
    ERR_INTERNAL,               /* 500 InternalError */
    ERR_BAD_REQUEST,            /* 400 BadRequest */
    ERR_UNAUTHORIZED,           /* 401 Unauthorized */
    ERR_FORBIDDEN,              /* 403 Forbidden */
    ERR_NOT_FOUND,              /* 404 NotFound */
    ERR_METHOD_NOT_ALLOWED,     /* 405 MethodNotAllowed */
    ERR_NOT_ACCEPTABLE,         /* 406 NotAcceptable */
    ERR_ALREADY_EXISTS,         /* 409 AlreadyExists */
    ERR_CONFLICT,               /* 409 Conflict */
    ERR_COMPACTED,              /* 410 Expired: the revision is older than the last compaction */
    ERR_GONE,                   /* 410 Gone */
    ERR_TOO_LARGE,              /* 413 RequestEntityTooLarge */
    ERR_UNSUPPORTED_MEDIA_TYPE, /* 415 UnsupportedMediaType */
    ERR_INVALID,                /* 422 Invalid: causes travel beside it as field errors */
    ERR_TOO_MANY_REQUESTS,      /* 429 TooManyRequests */
    ERR_UNAVAILABLE,            /* 503 ServiceUnavailable */
    ERR_TIMEOUT,                /* 504 Timeout */
    ERR_FUTURE_REVISION,        /* 504 Timeout: the revision lies in the future */
    ERR_NO_SPACE,               /* 507: disk or quota full */
    ERR_IO,                     /* 500: a disk or socket failed */
    ERR_CANCELED,               /* 500: stopped by us, not by a fault */
    ERR_UNKNOWN,                /* 500 without a reason, as upstream answers what has no Status */
    ERR_CODES
};

/* The longest message that must survive whole is RBAC's with two 253-byte names in it. */
#define ERROR_MESSAGE_BYTES 1024

struct error {
    enum error_code code;
    char message[ERROR_MESSAGE_BYTES];
};

/* All return -1, so that `return error_set(err, ...)` reads well.  error_wrap puts "TEXT: " before
 * the message that is there and keeps the code; error_errno appends strerror(errno). */
int error_set(struct error *err, enum error_code code, const char *fmt, ...) printf_like(3, 4);
int error_wrap(struct error *err, const char *fmt, ...) printf_like(2, 3);
int error_errno(struct error *err, const char *fmt, ...) printf_like(2, 3);

int error_http_status(enum error_code code);
const char *error_reason(enum error_code code); /* Status.reason, "" where upstream has none */

/* The code that a remote Status stands for; REASON may be NULL. */
enum error_code error_from_http(int http_status, const char *reason);
