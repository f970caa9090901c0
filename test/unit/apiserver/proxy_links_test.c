/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_links_test.c - links of proxied answers. */
#include "apiserver/proxy_links.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct proxy_links links = { "/p/proxy", "10.1.2.3:80", "api:6443" };

static void links_to_the_backend_lead_through_the_proxy(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "/a/b?c=d#e", "/p/proxy/a/b?c=d#e" },
        { "/", "/p/proxy/" },
        { "http://10.1.2.3:80/a", "/p/proxy/a" },
        { "//10.1.2.3:80/a", "/p/proxy/a" },
        { "https://api:6443/a", "https://api:6443/p/proxy/a" },
        { "/p/proxy/a", "/p/proxy/a" },
        { "http://10.1.2.3:80/p/proxy/a", "/p/proxy/a" },
        { "http://10.1.2.3:80", "http://10.1.2.3:80" },
        { "http://10.1.2.3:81/a", "http://10.1.2.3:81/a" },
        { "//other/a", "//other/a" },
        { "a/b", "a/b" },
        { "?a", "?a" },
        { "#a", "#a" },
        { "mailto:a", "mailto:a" },
        { "", "" },
        { "http:", "http:" },
        { "http://", "http://" },
    };
    scoped(arena) struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes link = proxy_link(&links, bytes_of(cases[i][0]), a);
        assert_string_equal(arena_strndup(a, link.data, link.len), cases[i][1]);
    }
}

static void assert_page(struct bytes html, const char *wanted)
{
    scoped(buffer) struct buffer out = { 0 };
    proxy_links_rewrite(&links, html, &out);
    buffer_add_char(&out, '\0');
    assert_string_equal(out.data, wanted);
}

static void only_attributes_that_hold_links_change(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "<a href='/x'>/x</a>", "<a href='/p/proxy/x'>/x</a>" },
        { "<A\nHREF = /x>", "<A\nHREF = /p/proxy/x>" },
        { "<img src=/x/><p src=/x>", "<img src=/p/proxy/x/><p src=/x>" },
        { "<a title='/x' data-href=\"/x\" href=\"/y\">",
          "<a title='/x' data-href=\"/x\" href=\"/p/proxy/y\">" },
        { "<a href>b<a href=>c", "<a href>b<a href=>c" },
        { "<script>'<a href=/x>'</SCRIPT><a href=/x>",
          "<script>'<a href=/x>'</SCRIPT><a href=/p/proxy/x>" },
        { "<!-- <a href=/x> --><a href=/x>", "<!-- <a href=/x> --><a href=/p/proxy/x>" },
        { "</a href=/x> < a href=/x> <", "</a href=/x> < a href=/x> <" },
        { "no tags", "no tags" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_page(bytes_of(cases[i][0]), cases[i][1]);
}

/* Each text in a block of its own size, so that a byte too far is seen. */
static void what_breaks_off_anywhere_is_passed_on(void **state)
{
    (void)state;
    static const char text[] =
        "<a href='rel' x=\"y\" b = c/>\0<\0a \0href=\0q><!-- x --><script y>z</script><style>";
    for (size_t n = 0; n < sizeof(text); n++) {
        scoped(buffer) struct buffer out = { 0 };
        char *copy = xmalloc(n + 1);
        memcpy(copy + 1, text, n);
        proxy_links_rewrite(&links, (struct bytes){ copy + 1, n }, &out);
        assert_int_equal(out.len, n);
        assert_memory_equal(out.data ? out.data : "", text, n);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_to_the_backend_lead_through_the_proxy),
        cmocka_unit_test(only_attributes_that_hold_links_change),
        cmocka_unit_test(what_breaks_off_anywhere_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
