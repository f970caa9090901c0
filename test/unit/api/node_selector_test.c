/* SPDX-License-Identifier: Apache-2.0 */
/* node_selector_test.c - requirements on a node's labels and its name. */
#include "api/node_selector.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct json *parse(struct arena *a, const char *text)
{
    struct error err = { 0 };
    char *doc = arena_strdup(a, text);
    for (char *c = doc; *c; c++)
        if (*c == '\'')
            *c = '"';
    const struct json *v = json_parse(bytes_of(doc), a, NULL, &err);
    if (!v)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static void a_term_holds_where_all_its_requirements_do(void **state)
{
    (void)state;
    static const struct {
        const char *term;
        bool holds;
    } cases[] = {
        { "{}", false },
        { "{'matchExpressions':[]}", false },
        { "{'matchExpressions':[{'key':'disk','operator':'In','values':['hdd','ssd']}]}", true },
        { "{'matchExpressions':[{'key':'disk','operator':'In','values':['hdd']}]}", false },
        { "{'matchExpressions':[{'key':'none','operator':'In','values':['']}]}", false },
        { "{'matchExpressions':[{'key':'disk','operator':'NotIn','values':['ssd']}]}", false },
        { "{'matchExpressions':[{'key':'none','operator':'NotIn','values':['ssd']}]}", true },
        { "{'matchExpressions':[{'key':'disk','operator':'Exists'}]}", true },
        { "{'matchExpressions':[{'key':'disk','operator':'DoesNotExist'}]}", false },
        { "{'matchExpressions':[{'key':'gen','operator':'Gt','values':['6']}]}", true },
        { "{'matchExpressions':[{'key':'gen','operator':'Lt','values':['8']}]}", true },
        { "{'matchExpressions':[{'key':'gen','operator':'Gt','values':['7']}]}", false },
        { "{'matchExpressions':[{'key':'disk','operator':'Lt','values':['8']}]}", false },
        { "{'matchExpressions':[{'key':'gen','operator':'Gt','values':[null]}]}", false },
        { "{'matchExpressions':[{'key':'gen','operator':'Like','values':['7']}]}", false },
        { "{'matchFields':[{'key':'metadata.name','operator':'In','values':['n1']}]}", true },
        { "{'matchFields':[{'key':'metadata.name','operator':'NotIn','values':['n1']}]}", false },
        { "{'matchFields':[{'key':'spec.x','operator':'NotIn','values':['n1']}]}", false },
        { "{'matchExpressions':[{'key':'disk','operator':'Exists'}],"
          "'matchFields':[{'key':'metadata.name','operator':'In','values':['n2']}]}",
          false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        const struct json *labels = parse(a, "{'disk':'ssd','gen':'7'}");
        if (node_term_matches(parse(a, cases[i].term), labels, "n1") != cases[i].holds)
            fail_msg("%s", cases[i].term);
    }
}

static void labels_and_one_of_the_terms_are_needed(void **state)
{
    (void)state;
    static const struct {
        const char *exact, *required;
        bool matches;
    } cases[] = {
        { "null", NULL, true },
        { "{'disk':'ssd'}", NULL, true },
        { "{'disk':'ssd','gen':'8'}", NULL, false },
        { "{'none':''}", NULL, false },
        { "{}", "{'nodeSelectorTerms':[]}", false },
        { "{'disk':'ssd'}",
          "{'nodeSelectorTerms':[{},{'matchExpressions':[{'key':'gen','operator':'Exists'}]}]}",
          true },
        { "{'disk':'hdd'}",
          "{'nodeSelectorTerms':[{'matchExpressions':[{'key':'gen','operator':'Exists'}]}]}",
          false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        const struct json *labels = parse(a, "{'disk':'ssd','gen':'7'}");
        const struct json *required = cases[i].required ? parse(a, cases[i].required) : NULL;
        assert_int_equal(node_selector_matches(parse(a, cases[i].exact), required, labels, "n1"),
                         cases[i].matches);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_term_holds_where_all_its_requirements_do),
        cmocka_unit_test(labels_and_one_of_the_terms_are_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
