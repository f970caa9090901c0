/* SPDX-License-Identifier: Apache-2.0 */
/* registries_test - registries.yaml as containerd's files. */
#include "kubelet/registries.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"

struct fixture {
    struct arena *arena;
    char dir[64];
    const char *path, *certs;
    struct buffer config;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *t = calloc(1, sizeof(*t));
    t->arena = arena_new();
    snprintf(t->dir, sizeof(t->dir), "/tmp/registries_XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    t->path = arena_printf(t->arena, "%s/registries.yaml", t->dir);
    t->certs = arena_printf(t->arena, "%s/certs.d", t->dir);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *t = *state;
    assert_int_equal(files_remove_tree(t->dir, &t->err), 0);
    buffer_free(&t->config);
    arena_free(t->arena);
    free(t);
    return 0;
}

static int take(struct fixture *t, const char *yaml)
{
    assert_int_equal(files_write(t->path, bytes_of(yaml), 0600, &t->err), 0);
    return registries_write(t->path, t->certs, &t->config, &t->err);
}

static const char *hosts(struct fixture *t, const char *registry)
{
    struct bytes text;
    const char *path = arena_printf(t->arena, "%s/%s/hosts.toml", t->certs, registry);
    assert_int_equal(files_read(path, 65536, t->arena, &text, &t->err), 0);
    return arena_strndup(t->arena, text.data, text.len);
}

static void test_no_file_is_no_mirrors(void **state)
{
    struct fixture *t = *state;
    assert_int_equal(registries_write(t->path, t->certs, &t->config, &t->err), 0);
    assert_int_equal(t->config.len, 0);
    assert_int_equal(access(t->certs, F_OK), 0);
}

static void test_a_mirror_of_the_hub_and_of_any_registry(void **state)
{
    struct fixture *t = *state;
    assert_int_equal(take(t, "mirrors:\n"
                             "  docker.io: { endpoint: ['http://one.test:5000', two.test/v2/] }\n"
                             "  '*': { endpoint: ['https://any.test'] }\n"),
                     0);
    assert_string_equal(hosts(t, "docker.io"), "server = \"https://registry-1.docker.io\"\n"
                                               "\n[host.\"http://one.test:5000/v2\"]\n"
                                               "capabilities = [\"pull\", \"resolve\"]\n"
                                               "\n[host.\"https://two.test/v2\"]\n"
                                               "capabilities = [\"pull\", \"resolve\"]\n"
                                               "override_path = true\n");
    assert_string_equal(hosts(t, "_default"), "\n[host.\"https://any.test/v2\"]\n"
                                              "capabilities = [\"pull\", \"resolve\"]\n");
}

static void test_certificates_and_credentials(void **state)
{
    struct fixture *t = *state;
    assert_int_equal(take(t, "configs:\n"
                             "  'own.test:5000':\n"
                             "    auth: { username: me, password: 'a\"b\\c' }\n"
                             "    tls: { ca_file: /ca, cert_file: /c, key_file: /k, "
                             "insecure_skip_verify: true }\n"),
                     0);
    assert_string_equal(hosts(t, "own.test:5000"), "server = \"https://own.test:5000\"\n"
                                                   "\n[host.\"https://own.test:5000/v2\"]\n"
                                                   "capabilities = [\"pull\", \"resolve\"]\n"
                                                   "ca = \"/ca\"\nclient = [[\"/c\", \"/k\"]]\n"
                                                   "skip_verify = true\n");
    assert_string_equal(
        t->config.data,
        "\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"own.test:5000\".auth]\n"
        "username = \"me\"\npassword = \"a\\\"b\\\\c\"\n");
}

static void test_what_is_gone_from_the_file_is_gone(void **state)
{
    struct fixture *t = *state;
    assert_int_equal(take(t, "mirrors: { one.test: { endpoint: ['http://a'] } }\n"), 0);
    assert_int_equal(take(t, "mirrors: { two.test: { endpoint: ['http://a'] } }\n"), 0);
    assert_int_not_equal(access(arena_printf(t->arena, "%s/one.test", t->certs), F_OK), 0);
}

static void test_a_name_that_leaves_the_folder_is_refused(void **state)
{
    struct fixture *t = *state;
    assert_int_equal(take(t, "mirrors: { '../x': { endpoint: ['http://a'] } }\n"), -1);
    assert_non_null(strstr(t->err.message, "\"../x\" is not the name of a registry"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_file_is_no_mirrors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_mirror_of_the_hub_and_of_any_registry, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_certificates_and_credentials, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_gone_from_the_file_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_name_that_leaves_the_folder_is_refused, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
