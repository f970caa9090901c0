/* SPDX-License-Identifier: Apache-2.0 */
/* pki_test.c - the cluster's own certificates. */
#include "apiserver/pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"

#define YEAR_NS (INT64_C(365) * 86400 * NS_PER_S)

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/coracle-pki-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static struct pki *open_at(const struct clock *clock)
{
    struct error err = { 0 };
    struct apiserver_config config = { .data_dir = dir,
                                       .advertise_address = "192.0.2.7",
                                       .service_cidr = "10.43.0.0/16",
                                       .cluster_domain = "cluster.local" };
    struct pki *p = pki_open_at(&config, clock, &err);
    if (!p)
        fail_msg("%s", err.message);
    return p;
}

static char *content(const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/server/tls/%s", dir, name);
    scoped(file) FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s", path);
    char *text = calloc(1, 8192);
    assert_true(fread(text, 1, 8191, f) > 0);
    return text;
}

static void keys_are_made_for_their_owner_only(void **state)
{
    (void)state;
    scoped(pki) struct pki *p = open_at(&system_clock);
    static const char *const keys[] = { "server-ca.key", "client-ca.key", "service.key",
                                        "serving-kube-apiserver.key", "client-admin.key" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char path[160];
        struct stat st;
        snprintf(path, sizeof(path), "%s/server/tls/%s", dir, keys[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void a_second_start_uses_what_the_first_one_made(void **state)
{
    (void)state;
    pki_free(open_at(&system_clock));
    scoped(str) char *ca = content("server-ca.crt");
    scoped(str) char *admin = content("client-admin.crt");
    scoped(str) char *service = content("service.key");
    pki_free(open_at(&system_clock));
    scoped(str) char *ca_again = content("server-ca.crt");
    scoped(str) char *admin_again = content("client-admin.crt");
    scoped(str) char *service_again = content("service.key");
    assert_string_equal(ca, ca_again);
    assert_string_equal(admin, admin_again);
    assert_string_equal(service, service_again);
}

static void a_client_certificate_that_runs_out_is_made_anew(void **state)
{
    (void)state;
    struct fake_clock clock;
    fake_clock_init(&clock, 1700000000 * NS_PER_S);
    pki_free(open_at(&clock.clock));
    scoped(str) char *admin = content("client-admin.crt");
    scoped(str) char *ca = content("server-ca.crt");
    fake_clock_advance(&clock, YEAR_NS / 2);
    pki_free(open_at(&clock.clock));
    scoped(str) char *kept = content("client-admin.crt");
    fake_clock_advance(&clock, YEAR_NS / 3);
    pki_free(open_at(&clock.clock));
    scoped(str) char *renewed = content("client-admin.crt");
    scoped(str) char *same_ca = content("server-ca.crt");
    assert_string_equal(admin, kept);
    assert_string_not_equal(kept, renewed);
    assert_string_equal(ca, same_ca);
}

static void what_runs_out_is_renewed_when_a_third_of_its_life_is_left(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct tls_client_config before, after;
    struct fake_clock clock;
    fake_clock_init(&clock, 1700000000 * NS_PER_S);
    scoped(arena) struct arena *a = arena_new();
    scoped(pki) struct pki *p = open_at(&clock.clock);
    scoped(str) char *ca = content("server-ca.crt");
    scoped(str) char *serving = content("serving-kube-apiserver.crt");
    pki_kubelet_client(p, a, &before);
    assert_int_equal(pki_renew_at_ns(p), 1700000000 * NS_PER_S + YEAR_NS - YEAR_NS / 3);

    fake_clock_advance(&clock, YEAR_NS / 2);
    assert_int_equal(pki_renew(p, &err), 0);
    pki_kubelet_client(p, a, &after);
    assert_true(bytes_equal(before.certificate_pem, after.certificate_pem));

    fake_clock_advance(&clock, YEAR_NS / 4);
    struct tls *tls = pki_server_tls(p);
    assert_int_equal(pki_renew(p, &err), 0);
    assert_ptr_equal(pki_server_tls(p), tls); /* who serves with it need not be told */
    pki_kubelet_client(p, a, &after);
    scoped(str) char *same_ca = content("server-ca.crt");
    scoped(str) char *renewed = content("serving-kube-apiserver.crt");
    scoped(str) char *client = content("client-kube-apiserver.crt");
    assert_string_equal(ca, same_ca);
    assert_string_not_equal(serving, renewed);
    assert_false(bytes_equal(before.certificate_pem, after.certificate_pem));
    assert_true(bytes_equal_str(after.certificate_pem, client));
    assert_true(pki_renew_at_ns(p) > clock_wall_ns(&clock.clock));
}

static void a_key_without_its_certificate_gets_a_new_one(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct tls_client_config client;
    char path[160];
    pki_free(open_at(&system_clock));
    snprintf(path, sizeof(path), "%s/server/tls/client-kube-apiserver.key", dir);
    scoped(arena) struct arena *a = arena_new();
    struct bytes other;
    assert_int_equal(crypto_new_key(a, &other, &err), 0);
    assert_int_equal(files_write(path, other, 0600, &err), 0); /* and then the power went */

    scoped(pki) struct pki *p = open_at(&system_clock);
    pki_kubelet_client(p, a, &client);
    scoped(tls) struct tls *tls = tls_client_new(&client, &err);
    assert_non_null(tls);
}

static void a_damaged_file_is_an_error_and_stays(void **state)
{
    (void)state;
    char path[160];
    pki_free(open_at(&system_clock));
    snprintf(path, sizeof(path), "%s/server/tls/server-ca.crt", dir);
    scoped(file) FILE *f = fopen(path, "w");
    fputs("not a certificate", f);
    fflush(f);

    struct error err = { 0 };
    struct apiserver_config config = { .data_dir = dir };
    assert_null(pki_open(&config, &err));
    assert_non_null(strstr(err.message, "server-ca.crt"));
    scoped(str) char *text = content("server-ca.crt");
    assert_string_equal(text, "not a certificate");
}

static void a_kubeconfig_holds_everything_a_client_needs(void **state)
{
    (void)state;
    scoped(pki) struct pki *p = open_at(&system_clock);
    scoped(arena) struct arena *a = arena_new();
    scoped(buffer) struct buffer text = { 0 };
    struct error err = { 0 };
    struct bytes cert, key;
    assert_int_equal(pki_client_certificate(p, "jane", NULL, a, &cert, &key, &err), 0);
    kubeconfig_print(pki_ca_pem(p), "https://127.0.0.1:6443", cert, key, &text);
    assert_non_null(strstr(text.data, "server: https://127.0.0.1:6443\n"));
    assert_non_null(strstr(text.data, "current-context: default\n"));
    assert_non_null(strstr(text.data, base64_encode(cert, a)));
    assert_non_null(strstr(text.data, base64_encode(key, a)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_made_for_their_owner_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_start_uses_what_the_first_one_made, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_client_certificate_that_runs_out_is_made_anew, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_runs_out_is_renewed_when_a_third_of_its_life_is_left,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_without_its_certificate_gets_a_new_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_an_error_and_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_kubeconfig_holds_everything_a_client_needs, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
