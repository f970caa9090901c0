/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet_address_test.c - where requests for pods, Services and nodes are sent on to. */
#include "apiserver/kubelet_proxy.h"
#include "apiserver/request_info.h"
#include "test/unit/apiserver/server_fixture.h"

static void make(struct server_fixture *f, enum resource_id id, const char *text)
{
    struct error err = { 0 };
    if (server_create(f, f->admin, id, "default", text, NULL, &err) < 0)
        fail_msg("%s", err.message);
}

static void make_pod(struct server_fixture *f, const char *name, const char *ip)
{
    struct error err = { 0 };
    struct object_key key = { "default", name };
    make(f, RESOURCE_PODS,
         arena_printf(f->arena,
                      "{\"metadata\":{\"name\":\"%s\"},\"spec\":{\"containers\":[{\"name\":\"c\","
                      "\"image\":\"i\",\"ports\":[{\"containerPort\":8080}]}]}}",
                      name));
    struct bytes patch = bytes_of(arena_printf(f->arena, "{\"status\":{\"podIP\":\"%s\"}}", ip));
    if (client_patch(f->admin, &resources[RESOURCE_PODS], &key, "status", PATCH_MERGE, patch, NULL,
                     &err) < 0)
        fail_msg("%s", err.message);
}

static int set_up(void **state)
{
    if (server_set_up(state) != 0)
        return -1;
    make(*state, RESOURCE_SERVICEACCOUNTS, "{\"metadata\":{\"name\":\"default\"}}");
    return 0;
}

static int find(struct server_fixture *f, const char *path, const char *query,
                struct kubelet_target *out, struct error *err)
{
    struct request r = { .server = f->server, .arena = f->arena, .query = bytes_of(query) };
    assert_int_equal(
        request_info_parse(BYTES("GET"), bytes_of(path), r.query, f->arena, &r.info, err), 0);
    return kubelet_target_find(&r, out, err);
}

#define PODS     "/api/v1/namespaces/default/pods/"
#define SERVICES "/api/v1/namespaces/default/services/"

static void a_proxied_path_is_encoded_again(void **state)
{
    struct server_fixture *f = *state;
    make_pod(f, "web", "10.1.2.3");
    static const struct {
        const char *path, *query, *scheme, *address, *sent;
    } cases[] = {
        { PODS "web/proxy", "", "http", "10.1.2.3:8080", "/" },
        { PODS "web:81/proxy/a/b/", "x=%20", "http", "10.1.2.3:81", "/a/b/?x=%20" },
        { PODS "https:web:443/proxy/a%20b%3Fc", "", "https", "10.1.2.3:443", "/a%20b%3Fc" },
        { PODS ":web:81/proxy/", "", "http", "10.1.2.3:81", "/" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = { 0 };
        struct kubelet_target to;
        if (find(f, cases[i].path, cases[i].query, &to, &err) < 0)
            fail_msg("%s: %s", cases[i].path, err.message);
        assert_string_equal(to.scheme, cases[i].scheme);
        assert_string_equal(to.address, cases[i].address);
        assert_string_equal(to.path, cases[i].sent);
        assert_false(to.is_kubelet);
    }
}

static void a_name_cannot_say_where_to(void **state)
{
    struct server_fixture *f = *state;
    make_pod(f, "web", "10.1.2.3");
    static const struct {
        const char *path, *message;
    } cases[] = {
        { PODS "evil.example%3F:web:80/proxy/", "invalid pod request \"evil.example?:web:80\"" },
        { PODS "ftp:web:80/proxy/", "invalid pod request \"ftp:web:80\"" },
        { PODS "http:web:80:90/proxy/", "invalid pod request \"http:web:80:90\"" },
        { SERVICES "http::80/proxy/", "invalid service request \"http::80\"" },
        { "/api/v1/nodes/a.b%3F:n:80/proxy/x", "invalid node request \"a.b?:n:80\"" },
        { PODS "web:0/proxy/", "address not allowed" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = { 0 };
        struct kubelet_target to;
        assert_int_equal(find(f, cases[i].path, "", &to, &err), -1);
        assert_int_equal(err.code, ERR_BAD_REQUEST);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void what_listens_to_its_machine_alone_is_not_asked(void **state)
{
    struct server_fixture *f = *state;
    struct kubelet_target to;
    make_pod(f, "inside", "127.0.0.1");
    make_pod(f, "metadata", "169.254.169.254");
    make_pod(f, "nowhere", "");
    static const char *const names[] = { "inside", "metadata", "nowhere" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct error err = { 0 };
        assert_int_equal(find(f, arena_printf(f->arena, PODS "%s/proxy/", names[i]), "", &to, &err),
                         -1);
        assert_string_equal(err.message, "address not allowed");
    }
}

#define SLICE(name, address, target)                                                               \
    "{\"metadata\":{\"name\":\"" name "\",\"labels\":{\"kubernetes.io/service-name\":\"web\"}},"   \
    "\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"\",\"port\":8080}],"                          \
    "\"endpoints\":[{\"addresses\":[\"" address "\"]" target "}]}"
#define TARGET(kind, name) ",\"targetRef\":{\"kind\":\"" kind "\",\"name\":\"" name "\"}"

static void a_service_is_asked_at_a_pods_own_address(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct kubelet_target to;
    make_pod(f, "web", "10.1.2.3");
    make(f, RESOURCE_SERVICES,
         "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"ports\":[{\"port\":80}]}}");
    make(f, RESOURCE_ENDPOINTSLICES, SLICE("a", "10.9.9.1", ""));
    make(f, RESOURCE_ENDPOINTSLICES, SLICE("b", "10.9.9.2", TARGET("Node", "web")));
    make(f, RESOURCE_ENDPOINTSLICES, SLICE("c", "10.9.9.3", TARGET("Pod", "web")));
    assert_int_equal(find(f, SERVICES "web:80/proxy/", "", &to, &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(err.message, "no endpoints available for service \"web:80\"");

    make(f, RESOURCE_ENDPOINTSLICES, SLICE("d", "10.1.2.3", TARGET("Pod", "web")));
    if (find(f, SERVICES "web:80/proxy/", "", &to, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(to.address, "10.1.2.3:8080");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_proxied_path_is_encoded_again, set_up, server_tear_down),
        cmocka_unit_test_setup_teardown(a_name_cannot_say_where_to, set_up, server_tear_down),
        cmocka_unit_test_setup_teardown(what_listens_to_its_machine_alone_is_not_asked, set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_service_is_asked_at_a_pods_own_address, set_up,
                                        server_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
