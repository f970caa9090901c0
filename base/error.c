/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - error values, and the only place where their codes meet the wire. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const struct {
    int http_status;
    const char *reason;
} wire[ERR_CODES] = {
    // clang-format off
    [ERR_NONE]                   = { 200, "" },
    [ERR_INTERNAL]               = { 500, "InternalError" },
    [ERR_BAD_REQUEST]            = { 400, "BadRequest" },
    [ERR_UNAUTHORIZED]           = { 401, "Unauthorized" },
    [ERR_FORBIDDEN]              = { 403, "Forbidden" },
    [ERR_NOT_FOUND]              = { 404, "NotFound" },
    [ERR_METHOD_NOT_ALLOWED]     = { 405, "MethodNotAllowed" },
    [ERR_NOT_ACCEPTABLE]         = { 406, "NotAcceptable" },
    [ERR_ALREADY_EXISTS]         = { 409, "AlreadyExists" },
    [ERR_CONFLICT]               = { 409, "Conflict" },
    [ERR_COMPACTED]              = { 410, "Expired" },
    [ERR_GONE]                   = { 410, "Gone" },
    [ERR_TOO_LARGE]              = { 413, "RequestEntityTooLarge" },
    [ERR_UNSUPPORTED_MEDIA_TYPE] = { 415, "UnsupportedMediaType" },
    [ERR_INVALID]                = { 422, "Invalid" },
    [ERR_TOO_MANY_REQUESTS]      = { 429, "TooManyRequests" },
    [ERR_UNAVAILABLE]            = { 503, "ServiceUnavailable" },
    [ERR_TIMEOUT]                = { 504, "Timeout" },
    [ERR_FUTURE_REVISION]        = { 504, "Timeout" },
    [ERR_NO_SPACE]               = { 507, "" },
    [ERR_IO]                     = { 500, "InternalError" },
    [ERR_CANCELED]               = { 500, "InternalError" },
    [ERR_UNKNOWN]                = { 500, "" },
    // clang-format on
};

int error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    char message[ERROR_MESSAGE_BYTES]; /* an argument may be err->message itself */
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    memcpy(err->message, message, sizeof(message));
    err->code = code;
    return -1;
}

/* Puts `MESSAGE: ` before, or `: MESSAGE` after, what is there; what does not fit is cut. */
static void join(struct error *err, const char *first, const char *second)
{
    char joined[ERROR_MESSAGE_BYTES];
    size_t n = strnlen(first, sizeof(joined) - 1);
    memcpy(joined, first, n);
    for (const char *s = ": "; *s && n < sizeof(joined) - 1; s++)
        joined[n++] = *s;
    size_t m = strnlen(second, sizeof(joined) - 1 - n);
    memcpy(joined + n, second, m);
    joined[n + m] = 0;
    memcpy(err->message, joined, n + m + 1);
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    join(err, text, err->message);
    return -1;
}

int error_errno(struct error *err, const char *fmt, ...)
{
    int number = errno;
    char text[ERROR_MESSAGE_BYTES], reason[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    join(err, text, strerror_r(number, reason, sizeof(reason)));
    err->code = number == ENOSPC || number == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    return -1;
}

int error_http_status(enum error_code code)
{
    return code < ERR_CODES ? wire[code].http_status : 500;
}

const char *error_reason(enum error_code code)
{
    return code < ERR_CODES ? wire[code].reason : "";
}

enum error_code error_from_http(int http_status, const char *reason)
{
    if (reason && strcmp(reason, "ServerTimeout") == 0) /* upstream sends it with 500 */
        return ERR_TIMEOUT;
    if (reason && *reason)
        for (enum error_code c = ERR_INTERNAL; c < ERR_CODES; c++)
            if (strcmp(wire[c].reason, reason) == 0)
                return c;
    if (http_status == 409)
        return ERR_CONFLICT;
    for (enum error_code c = ERR_INTERNAL; c < ERR_CODES; c++)
        if (wire[c].http_status == http_status)
            return c;
    if (http_status < 400)
        return ERR_NONE;
    return http_status < 500 ? ERR_BAD_REQUEST : ERR_INTERNAL;
}
