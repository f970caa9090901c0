/* SPDX-License-Identifier: Apache-2.0 */
/* volume_token_test.c - service account tokens for pods. */
#include "kubelet/volume_token.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/unit/kubelet/pod.h"

#define START (INT64_C(1800000000) * NS_PER_S)

/* An API that hands out a new token at every request, for as long as was asked. */
struct token_api {
    struct client client;
    struct fake_clock *clock;
    int requests;
};

static int post(struct client *c, const struct resource *r, const struct object_key *key,
                const char *subresource, const struct json *doc, struct arena *arena,
                const struct json **answer, struct error *err)
{
    struct token_api *api = (struct token_api *)c;
    (void)err;
    assert_ptr_equal(r, &resources[RESOURCE_SERVICEACCOUNTS]);
    assert_string_equal(key->name, "default");
    assert_string_equal(subresource, "token");
    assert_string_equal(json_str(doc, "spec.boundObjectRef.name", ""), "p");
    char expires[TIME_TEXT_BYTES];
    int64_t lasts_s = json_int(doc, "spec.expirationSeconds", 0);
    time_format(clock_wall_ns(&api->clock->clock) + lasts_s * NS_PER_S, expires);
    struct json *out = json_new(arena, JSON_OBJECT);
    json_put_str(arena, out, "status.token", arena_printf(arena, "token-%d", ++api->requests));
    json_put_str(arena, out, "status.expirationTimestamp", expires);
    *answer = out;
    return 0;
}

static void a_token_is_kept_until_four_fifths_of_its_life(void **state)
{
    (void)state;
    static const struct client_ops ops = { .post = post };
    struct fake_clock clock;
    fake_clock_init(&clock, START);
    struct token_api api = { .client = { &ops }, .clock = &clock };
    struct kubelet_context k = { .client = &api.client, .clock = &clock.clock };
    scoped(object) struct object *pod =
        pod_from("{'metadata':{'name':'p','namespace':'ns','uid':'u-token'},'spec':{}}");
    scoped(arena) struct arena *a = arena_new();
    struct token_request request = { .pod = pod, .audience = "", .expiration_s = 1000 };
    struct error err = { 0 };
    const char *token;
    int64_t renew_ns;

    assert_int_equal(volume_token_get(&k, &request, a, &token, &renew_ns, &err), 0);
    assert_string_equal(token, "token-1");
    assert_int_equal(renew_ns, 800 * NS_PER_S);

    fake_clock_advance(&clock, 799 * NS_PER_S);
    assert_int_equal(volume_token_get(&k, &request, a, &token, &renew_ns, &err), 0);
    assert_string_equal(token, "token-1");
    assert_int_equal(renew_ns, 1 * NS_PER_S);

    fake_clock_advance(&clock, 2 * NS_PER_S);
    assert_int_equal(volume_token_get(&k, &request, a, &token, &renew_ns, &err), 0);
    assert_string_equal(token, "token-2");

    request.audience = "vault";
    assert_int_equal(volume_token_get(&k, &request, a, &token, &renew_ns, &err), 0);
    assert_string_equal(token, "token-3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_kept_until_four_fifths_of_its_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
