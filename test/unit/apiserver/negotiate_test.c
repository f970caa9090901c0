/* SPDX-License-Identifier: Apache-2.0 */
/* negotiate_test.c - Accept headers of real clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apiserver/negotiate.h"

static const struct {
    const char *accept;
    bool is_watch;
    bool is_served;
    enum answer_form form;
    bool is_yaml;
} cases[] = {
    { "", false, true, ANSWER_OBJECT, false },
    { "*/*", false, true, ANSWER_OBJECT, false },
    { "application/json", false, true, ANSWER_OBJECT, false },
    { "application/yaml", false, true, ANSWER_OBJECT, true },
    { "application/yaml", true, false, ANSWER_OBJECT, false },
    { "application/vnd.kubernetes.protobuf", false, false, ANSWER_OBJECT, false },
    { "application/vnd.kubernetes.protobuf,application/json", false, true, ANSWER_OBJECT, false },
    { "application/json;as=Table;v=v1;g=meta.k8s.io,application/"
      "json;as=Table;v=v1beta1;g=meta.k8s.io,"
      "application/json",
      false, true, ANSWER_TABLE, false },
    { "application/json;as=Table;v=v9;g=meta.k8s.io, application/json", false, true, ANSWER_OBJECT,
      false },
    { "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", false, true,
      ANSWER_METADATA_LIST, false },
    { "application/json;stream=watch", true, true, ANSWER_OBJECT, false },
    { "application/json;q=0.1, application/yaml;q=0.9", false, true, ANSWER_OBJECT, true },
    { "text/html", false, false, ANSWER_OBJECT, false },
};

static void the_best_form_that_is_served_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer_type type;
        struct error err = { 0 };
        int rc = negotiate(bytes_of(cases[i].accept), cases[i].is_watch, &type, &err);
        assert_int_equal(rc, cases[i].is_served ? 0 : -1);
        if (rc < 0) {
            assert_int_equal(err.code, ERR_NOT_ACCEPTABLE);
            continue;
        }
        assert_int_equal(type.form, cases[i].form);
        assert_int_equal(type.text, cases[i].is_yaml ? ANSWER_YAML : ANSWER_JSON);
    }
}

static void json_is_indented_for_people(void **state)
{
    (void)state;
    static const struct {
        const char *query, *user_agent;
        bool is_pretty;
    } asked[] = {
        { "", "kubectl/v1.36.2", false },
        { "", "", false },
        { "", "curl/7.88.1", true },
        { "limit=1", "Wget/1.21.3", true },
        { "", "Mozilla/5.0 (X11; Linux)", true },
        { "", "libcurl/7", false },
        { "pretty=true", "kubectl/v1.36.2", true },
        { "limit=1&pretty=1", "", true },
        { "pretty=false", "curl/7.88.1", false },
        { "pretty=", "curl/7.88.1", true },
        { "pretty=T", "", true },
        { "pretty=yes", "curl/7.88.1", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        scoped(arena) struct arena *a = arena_new();
        assert_int_equal(negotiate_pretty(bytes_of(asked[i].query), asked[i].user_agent, a),
                         asked[i].is_pretty);
    }
}

static void gzip_is_a_word_of_accept_encoding(void **state)
{
    (void)state;
    static const struct {
        const char *accepts;
        bool is_gzip;
    } asked[] = { { "gzip", true },       { "gzip, deflate, br", true },
                  { "br,\tgzip ", true }, { "", false },
                  { "identity", false },  { "x-gzip", false },
                  { "gzip;q=0", false },  { ",,", false } };
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        assert_int_equal(negotiate_gzip(bytes_of(asked[i].accepts)), asked[i].is_gzip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_form_that_is_served_is_taken),
        cmocka_unit_test(json_is_indented_for_people),
        cmocka_unit_test(gzip_is_a_word_of_accept_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
