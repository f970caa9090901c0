/* SPDX-License-Identifier: Apache-2.0 */
/* authn_token_test.c - tokens of service accounts: signed, judged, and bound to what exists. */
#include "apiserver/authn_token.h"

#include "test/unit/apiserver/server_fixture.h"

static struct object *create(struct server_fixture *f, enum resource_id id, const char *text)
{
    struct error err = { 0 };
    struct object *o = NULL;
    if (server_create(f, f->admin, id, "default", text, &o, &err) < 0)
        fail_msg("%s", err.message);
    return o;
}

static struct object *create_account(struct server_fixture *f)
{
    return create(
        f, RESOURCE_SERVICEACCOUNTS,
        "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"bot\","
        "\"namespace\":\"default\"}}");
}

static const char *request(struct server_fixture *f, const struct object *account, const char *spec)
{
    struct error err = { 0 };
    struct json *answer;
    scoped(str) char *text = xasprintf("{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":"
                                       "\"TokenRequest\",\"spec\":%s}",
                                       spec);
    const struct json *doc = json_parse(bytes_of(text), f->arena, NULL, &err);
    if (token_request(f->server, account, doc, f->arena, &answer, &err) < 0)
        fail_msg("%s", err.message);
    return json_str(answer, "status.token", "");
}

static int judge(struct server_fixture *f, const char *token, const char *const *audiences,
                 struct user *user)
{
    struct error err = { 0 };
    const char *const *matched;
    return authenticate_token(f->server, bytes_of(token), audiences, f->arena, user, &matched,
                              &err);
}

static void a_token_names_its_service_account(void **state)
{
    struct server_fixture *f = *state;
    struct user user;
    scoped(object) struct object *account = create_account(f);
    const char *token = request(f, account, "{}");
    for (int i = 0; i < 2; i++) { /* the second time it is known already */
        assert_int_equal(judge(f, token, NULL, &user), 0);
        assert_string_equal(user.name, "system:serviceaccount:default:bot");
        assert_string_equal(user.uid, account->uid);
        assert_string_equal(user.groups[0], "system:serviceaccounts");
        assert_string_equal(user.groups[1], "system:serviceaccounts:default");
        assert_string_equal(user.groups[2], "system:authenticated");
    }
}

static void a_changed_token_is_refused(void **state)
{
    struct server_fixture *f = *state;
    struct user user;
    scoped(object) struct object *account = create_account(f);
    char *token = arena_strdup(f->arena, request(f, account, "{}"));
    char *payload = strchr(token, '.') + 5;
    *payload = *payload == 'A' ? 'B' : 'A';
    assert_int_equal(judge(f, token, NULL, &user), -1);
    assert_int_equal(judge(f, "", NULL, &user), -1);
    assert_int_equal(judge(f, "a.b.c", NULL, &user), -1);
}

static void a_token_is_for_its_audience(void **state)
{
    struct server_fixture *f = *state;
    struct user user;
    const char *const vault[] = { "vault", NULL };
    scoped(object) struct object *account = create_account(f);
    const char *token = request(f, account, "{\"audiences\":[\"vault\"]}");
    assert_int_equal(judge(f, token, NULL, &user), -1);
    assert_int_equal(judge(f, token, vault, &user), 0);
}

static void a_token_ends_when_it_says(void **state)
{
    struct server_fixture *f = *state;
    struct fake_clock clock;
    struct user user;
    scoped(object) struct object *account = create_account(f);
    /* The same server at another time; its own threads keep their clock. */
    struct apiserver *running = f->server, elsewhen = *running;
    fake_clock_init(&clock, clock_wall_ns(&system_clock));
    elsewhen.clock = &clock.clock;
    f->server = &elsewhen;
    const char *token = request(f, account, "{\"expirationSeconds\":600}");
    fake_clock_advance(&clock, 599 * NS_PER_S);
    int before = judge(f, token, NULL, &user);
    fake_clock_advance(&clock, 2 * NS_PER_S);
    int after = judge(f, token, NULL, &user);
    f->server = running;
    assert_int_equal(before, 0);
    assert_int_equal(after, -1);
}

static void a_token_ends_with_its_service_account(void **state)
{
    struct server_fixture *f = *state;
    struct user user;
    struct error err = { 0 };
    struct client_delete_options now = { .grace_period_s = 0 };
    scoped(object) struct object *account = create_account(f);
    const char *token = request(f, account, "{}");
    assert_int_equal(judge(f, token, NULL, &user), 0);
    assert_int_equal(
        client_delete(f->admin, &resources[RESOURCE_SERVICEACCOUNTS], &account->key, &now, &err),
        0);
    assert_int_equal(judge(f, token, NULL, &user), -1);
    scoped(object) struct object *another = create_account(f); /* of the same name */
    assert_int_equal(judge(f, token, NULL, &user), -1);
}

static void a_bound_token_ends_with_its_pod(void **state)
{
    struct server_fixture *f = *state;
    struct user user;
    struct error err = { 0 };
    struct client_delete_options now = { .grace_period_s = 0 };
    scoped(object) struct object *account = create_account(f);
    scoped(object) struct object *pod = create(
        f, RESOURCE_PODS,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":"
        "\"default\"},\"spec\":{\"serviceAccountName\":\"bot\",\"containers\":[{\"name\":\"c\","
        "\"image\":\"i\"}]}}");
    const char *token = request(
        f, account, "{\"boundObjectRef\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"name\":\"p\"}}");
    assert_int_equal(judge(f, token, NULL, &user), 0);
    assert_string_equal(user.extra[1].key, "authentication.kubernetes.io/pod-name");
    assert_int_equal(client_delete(f->admin, &resources[RESOURCE_PODS], &pod->key, &now, &err), 0);
    assert_int_equal(judge(f, token, NULL, &user), -1);
}

static void a_lifetime_of_less_than_ten_minutes_is_invalid(void **state)
{
    struct server_fixture *f = *state;
    struct error err = { 0 };
    struct json *answer;
    scoped(object) struct object *account = create_account(f);
    const struct json *doc =
        json_parse(BYTES("{\"spec\":{\"expirationSeconds\":599}}"), f->arena, NULL, &err);
    assert_int_equal(token_request(f->server, account, doc, f->arena, &answer, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.message, "may not specify a duration less than 10 minutes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_names_its_service_account, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_changed_token_is_refused, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_token_is_for_its_audience, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_token_ends_when_it_says, server_set_up, server_tear_down),
        cmocka_unit_test_setup_teardown(a_token_ends_with_its_service_account, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_bound_token_ends_with_its_pod, server_set_up,
                                        server_tear_down),
        cmocka_unit_test_setup_teardown(a_lifetime_of_less_than_ten_minutes_is_invalid,
                                        server_set_up, server_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
