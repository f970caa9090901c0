/* SPDX-License-Identifier: Apache-2.0 */
/* formats_test.c - names, keys, numbers and addresses. */
#include "apiserver/formats.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct format_case {
    const char *(*fault)(const char *);
    const char *text;
    bool is_good;
};

static void formats_take_what_upstream_takes(void **state)
{
    /* clang-format off */
    static const struct format_case cases[] = {
        { dns_label_fault, "a-1", true },              { dns_label_fault, "-a", false },
        { dns_label_fault, "a.b", false },             { dns_label_fault, "A", false },
        { dns_1035_label_fault, "1a", false },         { dns_1035_label_fault, "a1", true },
        { dns_subdomain_fault, "a.b-c.d", true },      { dns_subdomain_fault, "a..b", false },
        { dns_subdomain_fault, "a.-b", false },        { dns_subdomain_fault, "", false },
        { wildcard_subdomain_fault, "*.a.b", true },   { wildcard_subdomain_fault, "*", false },
        { label_key_fault, "a.b/C_d", true },          { label_key_fault, "/x", false },
        { label_key_fault, "a/b/c", false },           { label_key_fault, "A.b/c", false },
        { label_value_fault, "", true },               { label_value_fault, "a_", false },
        { lower_label_key_fault, "A.b/c", true },      { lower_label_key_fault, "A..b/c", false },
        { path_segment_fault, "a:b c", true },         { path_segment_fault, "..", false },
        { path_segment_fault, "a%", false },           { path_segment_fault, "a/b", false },
        { config_key_fault, ".a", true },              { config_key_fault, "..a", false },
        { config_key_fault, "a b", false },            { env_name_fault, "a b.c-d", true },
        { env_name_fault, "a=b", false },              { env_name_fault, "", false },
        { port_name_fault, "http-1", true },           { port_name_fault, "123", false },
        { port_name_fault, "a--b", false },            { port_name_fault, "abcdefghijklmnop", false },
        { percent_fault, "25%", true },                { percent_fault, "25", false },
        { http_header_name_fault, "X-A", true },       { http_header_name_fault, "X A", false },
        { ip_fault, "10.0.0.1", true },                { ip_fault, "010.0.0.1", false },
        { ip_fault, "::1", true },                     { ip_fault, "1.2.3", false },
        { endpoint_ip_fault, "10.0.0.1", true },       { endpoint_ip_fault, "169.254.1.1", false },
        { endpoint_ip_fault, "0.0.0.0", false },       { endpoint_ip_fault, "fe80::1", false },
        { cidr_fault, "10.0.0.0/8", true },            { cidr_fault, "10.0.0.0/33", false },
        { cidr_fault, "fd00::/64", true },             { cidr_fault, "10.0.0.0", false },
        { relative_path_fault, "a/..b", true },        { relative_path_fault, "a/../b", false },
        { relative_path_fault, "/a", false },          { domain_prefixed_path_fault, "a.b/c", true },
        { domain_prefixed_path_fault, "a", false },    { domain_prefixed_path_fault, "a/b c", false },
        { sysctl_name_fault, "net/ipv4.ip_local-x", true }, { sysctl_name_fault, "Foo Bar", false },
        { sysctl_name_fault, "net..a", false },        { sysctl_name_fault, "net.a_", false },
        { driver_name_fault, "CSI.example.com", true }, { driver_name_fault, "a_b", false },
    };
    /* clang-format on */
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if ((cases[i].fault(cases[i].text) == NULL) != cases[i].is_good)
            fail_msg("%s", cases[i].text);
    }
}

static void lengths_count_bytes(void **state)
{
    char name[300];
    (void)state;
    memset(name, 'a', sizeof(name));
    name[64] = '\0';
    assert_string_equal(dns_label_fault(name), "must be no more than 63 bytes");
    assert_string_equal(label_value_fault(name), "must be no more than 63 bytes");
    assert_string_equal(label_key_fault(name), "name part must be no more than 63 bytes");
    name[64] = 'a';
    name[254] = '\0';
    assert_string_equal(dns_subdomain_fault(name), "must be no more than 253 bytes");
}

static void a_label_key_may_have_two_faults(void **state)
{
    const char *faults[LABEL_FAULTS_MAX];
    (void)state;
    assert_int_equal(label_key_faults("", faults), 2);
    assert_string_equal(faults[0], "name part must be non-empty");
    assert_int_equal(label_key_faults("A_/", faults), 3);
    assert_int_equal(label_value_faults("ok", faults), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_take_what_upstream_takes),
        cmocka_unit_test(lengths_count_bytes),
        cmocka_unit_test(a_label_key_may_have_two_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
