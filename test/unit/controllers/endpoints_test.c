/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints_test - Endpoints and EndpointSlices of Services. */
#include "test/unit/controllers/cluster.h"

extern const struct controller_spec endpoints_controller, endpointslice_controller,
    endpointslice_mirroring_controller;

static void put_service(struct cluster *t, const char *more)
{
    char text[500];
    snprintf(text, sizeof(text),
             "{'metadata':{'namespace':'default','name':'web','uid':'s-uid','labels':{'team':'x'}},"
             "'spec':{'selector':{'app':'web'},'ipFamilies':['IPv4'],'ports':[{'name':'http',"
             "'port':80,'targetPort':'web','protocol':'TCP'}]%s}}",
             more);
    fake_store(t->fake, RESOURCE_SERVICES, text);
}

static void put_pod(struct cluster *t, const char *name, const char *ready, const char *more)
{
    char text[900];
    snprintf(
        text, sizeof(text),
        "{'metadata':{'namespace':'default','name':'%s','uid':'u-%s','labels':{'app':'web'}%s},"
        "'spec':{'nodeName':'n1','containers':[{'name':'c','ports':[{'name':'web',"
        "'containerPort':8080,'protocol':'TCP'}]}]},'status':{'phase':'Running','podIP':"
        "'10.0.0.%d','podIPs':[{'ip':'10.0.0.%d'}],'conditions':[{'type':'Ready','status':'%s'}"
        "]}}",
        name, name, more, name[0], name[0], ready);
    fake_store(t->fake, RESOURCE_PODS, text);
}

/* The only slice, as JSON text of PATH. */
static bool slice_is(struct fake_client *f, void *arg)
{
    const char *const *k = arg;
    scoped(object_list) struct object_list slices = { 0 };
    scoped(buffer) struct buffer text = { 0 };
    fake_list(f, RESOURCE_ENDPOINTSLICES, &slices);
    if (slices.n != 1)
        return false;
    json_print(json_at(slices.items[0]->doc, k[0]), &text);
    for (char *p = text.data; *p; p++) {
        if (*p == '"')
            *p = '\'';
    }
    return str_equal(text.data, k[1]);
}

static void wait_slice(struct cluster *t, const char *path, const char *value)
{
    const char *k[] = { path, value };
    fake_wait(t->fake, slice_is, k, value);
}

#define ENDPOINT(letter, ip, ready, serving, terminating)                                          \
    "{'addresses':['10.0.0." ip "'],'conditions':{'ready':" ready ",'serving':" serving            \
    ",'terminating':" terminating                                                                  \
    "},'targetRef':{'kind':'Pod','namespace':'default','name':'" letter "','uid':'u-" letter       \
    "'},'nodeName':'n1','zone':'z1'}"

static void put_node(struct cluster *t)
{
    fake_store(t->fake, RESOURCE_NODES,
               "{'metadata':{'name':'n1','labels':{'topology.kubernetes.io/zone':'z1'}}}");
}

static void a_slice_tells_each_pod_and_its_state(void **state)
{
    struct cluster *t = *state;
    put_node(t);
    put_service(t, "");
    put_pod(t, "a", "True", "");
    put_pod(t, "b", "False", "");
    cluster_start(t, &endpointslice_controller, NULL);
    wait_slice(t, "endpoints",
               "[" ENDPOINT("a", "97", "true", "true", "false") "," ENDPOINT("b", "98", "false",
                                                                             "false", "false") "]");
    wait_slice(t, "ports", "[{'name':'http','port':8080,'protocol':'TCP'}]");
    wait_slice(t, "metadata.labels",
               "{'team':'x','kubernetes.io/service-name':'web','endpointslice.kubernetes.io/"
               "managed-by':'endpointslice-controller.k8s.io'}");
    put_pod(t, "b", "True", "");
    wait_slice(t, "endpoints",
               "[" ENDPOINT("a", "97", "true", "true", "false") "," ENDPOINT("b", "98", "true",
                                                                             "true", "false") "]");
    put_pod(t, "a", "True", ",'deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':['x/y']");
    wait_slice(t, "endpoints",
               "[" ENDPOINT("a", "97", "false", "true", "true") "," ENDPOINT("b", "98", "true",
                                                                             "true", "false") "]");
    fake_drop(t->fake, RESOURCE_PODS, "default", "a");
    wait_slice(t, "endpoints", "[" ENDPOINT("b", "98", "true", "true", "false") "]");
}

static void a_service_without_pods_has_an_empty_slice(void **state)
{
    struct cluster *t = *state;
    put_service(t, "");
    cluster_start(t, &endpointslice_controller, NULL);
    wait_slice(t, "endpoints", "[]");
    wait_slice(t, "addressType", "'IPv4'");
    put_node(t);
    put_pod(t, "a", "True", "");
    wait_slice(t, "endpoints", "[" ENDPOINT("a", "97", "true", "true", "false") "]");
}

static void a_service_without_selector_is_left_alone(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_SERVICES,
               "{'metadata':{'namespace':'default','name':'own'},'spec':{'ports':[{'port':80}]}}");
    put_service(t, "");
    cluster_start(t, &endpointslice_controller, &endpoints_controller);
    wait_value(t, RESOURCE_ENDPOINTS, "default", "web", "metadata.labels.team", "x");
    wait_count(t, RESOURCE_ENDPOINTSLICES, 1);
    assert_int_equal(fake_count(t->fake, RESOURCE_ENDPOINTS), 1);
}

static void many_pods_need_several_slices(void **state)
{
    struct cluster *t = *state;
    put_service(t, "");
    for (int i = 0; i < 150; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%c%03d", 'a' + i % 26, i);
        put_pod(t, name, "True", "");
    }
    cluster_start(t, &endpointslice_controller, NULL);
    wait_count(t, RESOURCE_ENDPOINTSLICES, 2);
    scoped(object_list) struct object_list slices = { 0 };
    fake_list(t->fake, RESOURCE_ENDPOINTSLICES, &slices);
    assert_int_equal(json_len(slices.items[0]->doc, "endpoints") +
                         json_len(slices.items[1]->doc, "endpoints"),
                     150);
    assert_in_range(json_len(slices.items[0]->doc, "endpoints"), 50, 100);
}

static void pods_that_are_not_ready_count_where_the_service_says_so(void **state)
{
    struct cluster *t = *state;
    put_node(t);
    put_service(t, ",'clusterIP':'None','publishNotReadyAddresses':true");
    put_pod(t, "a", "False", "");
    cluster_start(t, &endpointslice_controller, NULL);
    wait_slice(t, "endpoints", "[" ENDPOINT("a", "97", "true", "false", "false") "]");
}

/* Endpoints web, as JSON text of its subsets. */
static bool subsets_are(struct fake_client *f, void *arg)
{
    scoped(object) struct object *o = fake_get(f, RESOURCE_ENDPOINTS, "default", "web");
    scoped(buffer) struct buffer text = { 0 };
    const struct json *subsets = o ? json_at(o->doc, "subsets") : NULL;
    if (!subsets)
        return o && !arg;
    json_print(subsets, &text);
    for (char *p = text.data; *p; p++) {
        if (*p == '"')
            *p = '\'';
    }
    return str_equal(text.data, arg);
}

static void endpoints_divide_ready_from_not_ready(void **state)
{
    struct cluster *t = *state;
    put_service(t, "");
    put_pod(t, "a", "True", "");
    put_pod(t, "b", "False", "");
    cluster_start(t, &endpoints_controller, NULL);
    fake_wait(t->fake, subsets_are,
              "[{'addresses':[{'ip':'10.0.0.97','nodeName':'n1','targetRef':{'kind':'Pod',"
              "'namespace':'default','name':'a','uid':'u-a'}}],'notReadyAddresses':[{'ip':"
              "'10.0.0.98','nodeName':'n1','targetRef':{'kind':'Pod','namespace':'default','name':"
              "'b','uid':'u-b'}}],'ports':[{'name':'http','port':8080,'protocol':'TCP'}]}]",
              "both kinds of addresses");
    wait_value(t, RESOURCE_ENDPOINTS, "default", "web", "metadata.labels.team", "x");
    fake_drop(t->fake, RESOURCE_PODS, "default", "a");
    fake_drop(t->fake, RESOURCE_PODS, "default", "b");
    fake_wait(t->fake, subsets_are, NULL, "no subsets");
    fake_drop(t->fake, RESOURCE_SERVICES, "default", "web");
    wait_count(t, RESOURCE_ENDPOINTS, 0);
}

static void endpoints_that_a_user_writes_are_mirrored(void **state)
{
    struct cluster *t = *state;
    fake_store(t->fake, RESOURCE_SERVICES,
               "{'metadata':{'namespace':'default','name':'own'},'spec':{'ports':[{'port':80}]}}");
    cluster_start(t, &endpointslice_mirroring_controller, NULL);
    fake_store(t->fake, RESOURCE_ENDPOINTS,
               "{'metadata':{'namespace':'default','name':'own','labels':{'a':'b'}},'subsets':[{"
               "'addresses':[{'ip':'10.1.2.3'}],'ports':[{'port':9000,'protocol':'TCP'}]}]}");
    wait_slice(t, "endpoints", "[{'addresses':['10.1.2.3'],'conditions':{'ready':true}}]");
    wait_slice(t, "ports", "[{'port':9000,'protocol':'TCP','name':''}]");
    wait_slice(t, "metadata.labels",
               "{'a':'b','kubernetes.io/service-name':'own','endpointslice.kubernetes.io/"
               "managed-by':'endpointslicemirroring-controller.k8s.io'}");
    fake_merge(t->fake, RESOURCE_ENDPOINTS, "default", "own",
               "{'subsets':[{'addresses':[{'ip':'10.1.2.4'}],'ports':[{'port':9000,'protocol':"
               "'TCP'}]}]}");
    wait_slice(t, "endpoints", "[{'addresses':['10.1.2.4'],'conditions':{'ready':true}}]");
    fake_drop(t->fake, RESOURCE_ENDPOINTS, "default", "own");
    wait_count(t, RESOURCE_ENDPOINTSLICES, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_slice_tells_each_pod_and_its_state),
        TEST(a_service_without_pods_has_an_empty_slice),
        TEST(a_service_without_selector_is_left_alone),
        TEST(many_pods_need_several_slices),
        TEST(pods_that_are_not_ready_count_where_the_service_says_so),
        TEST(endpoints_divide_ready_from_not_ready),
        TEST(endpoints_that_a_user_writes_are_mirrored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
