/* SPDX-License-Identifier: Apache-2.0 */
/* regex.c - PCRE2, bounded. */
#include "base/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define HEAP_KIB_MAX 4096 /* memory of one match */

struct regex {
    pcre2_code *code;
    pcre2_match_context *limits;
};

static int set_error(struct error *err, const char *what, int code)
{
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(code, text, sizeof(text));
    return error_set(err, ERR_BAD_REQUEST, "%s: %s", what, (const char *)text);
}

struct regex *regex_new(const char *pattern, struct error *err)
{
    size_t len = strlen(pattern);
    if (len > REGEX_PATTERN_BYTES_MAX) {
        error_set(err, ERR_BAD_REQUEST, "pattern of %zu bytes is longer than %d", len,
                  REGEX_PATTERN_BYTES_MAX);
        return NULL;
    }
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, len,
                                         PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
                                         &code, &offset, NULL);
    if (!compiled) {
        scoped(str) char *what = xasprintf("error parsing regexp at offset %zu", (size_t)offset);
        set_error(err, what, code);
        return NULL;
    }
    struct regex *r = xcalloc(1, sizeof(*r));
    r->code = compiled;
    r->limits = pcre2_match_context_create(NULL);
    ensure(r->limits);
    pcre2_set_match_limit(r->limits, REGEX_STEPS_MAX);
    pcre2_set_depth_limit(r->limits, REGEX_STEPS_MAX);
    pcre2_set_heap_limit(r->limits, HEAP_KIB_MAX);
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_match_context_free(r->limits);
    pcre2_code_free(r->code);
    free(r);
}

int regex_matches(const struct regex *r, struct bytes text, struct error *err)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    ensure(data);
    int rc = pcre2_match(r->code, (PCRE2_SPTR)(text.data ? text.data : ""), text.len, 0, 0, data,
                         r->limits);
    pcre2_match_data_free(data);
    if (rc >= 0)
        return 1;
    return rc == PCRE2_ERROR_NOMATCH ? 0 : set_error(err, "regular expression", rc);
}
