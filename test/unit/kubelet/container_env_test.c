/* SPDX-License-Identifier: Apache-2.0 */
/* container_env_test.c - a container's environment. */
#include "kubelet/container_env.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/unit/kubelet/pod.h"

static struct object *from(enum resource_id id, const char *quoted)
{
    scoped(str) char *text = xstrdup(quoted);
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    struct error err = { 0 };
    struct object *o = object_parse(&resources[id], bytes_of(text), 1, &err);
    ensure(o);
    return o;
}

/* Knows ConfigMap ns/cm {a: 1, b: two} and Secret ns/sec {pw: hunter2}. */
static int get(void *arg, const struct resource *r, const struct object_key *key,
               struct object **out, struct error *err)
{
    (void)arg;
    if (r == &resources[RESOURCE_CONFIGMAPS] && str_equal(key->name, "cm"))
        *out = from(RESOURCE_CONFIGMAPS,
                    "{'metadata':{'name':'cm','namespace':'ns'},'data':{'a':'1','b':'two'}}");
    else if (r == &resources[RESOURCE_SECRETS] && str_equal(key->name, "sec"))
        *out = from(RESOURCE_SECRETS,
                    "{'metadata':{'name':'sec','namespace':'ns'},'data':{'pw':'aHVudGVyMg=='}}");
    else
        return error_set(err, ERR_NOT_FOUND, "no");
    return 0;
}

struct fixture {
    struct arena *a;
    struct object *pod;
    struct object_list services;
    struct env_context context;
    struct cri_pairs env;
    struct error err;
};

static int run(struct fixture *f, const char *container)
{
    scoped(str) char *text = xasprintf("{'metadata':{'name':'p','namespace':'ns','uid':'u1',"
                                       "'labels':{'app.x/y':'z'}},'spec':{'containers':[%s]}}",
                                       container);
    static char *ips[] = { (char *)"10.0.0.9" };
    f->a = arena_new();
    f->pod = pod_from(text);
    f->context = (struct env_context){
        .downward = { .pod = f->pod,
                      .node_name = "n1",
                      .host_ip = "10.0.0.1",
                      .pod_ips = ips,
                      .pod_ips_n = 1,
                      .node_cpu_milli = 4000,
                      .node_memory_bytes = 1 << 30 },
        .get = get,
        .services = &f->services,
        .container_name = "c",
    };
    f->err = (struct error){ 0 };
    f->env = (struct cri_pairs){ 0 };
    return container_env(&f->context, json_items_begin(json_at(f->pod->doc, "spec.containers")),
                         f->a, &f->env, &f->err);
}

static void end(struct fixture *f)
{
    object_unref(f->pod);
    object_list_deinit(&f->services);
    arena_free(f->a);
}

static void what_comes_later_wins_and_may_use_what_came_before(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    assert_int_equal(
        run(&f, "{'name':'c','envFrom':[{'prefix':'CM_','configMapRef':{'name':'cm'}}],'env':["
                "{'name':'CM_a','value':'own'},"
                "{'name':'PW','valueFrom':{'secretKeyRef':{'name':'sec','key':'pw'}}},"
                "{'name':'BOTH','value':'$(CM_b)-$(PW)-$(NONE)-$$(PW)'}]}"),
        0);
    assert_string_equal(cri_pairs_get(&f.env, "CM_a"), "own");
    assert_string_equal(cri_pairs_get(&f.env, "CM_b"), "two");
    assert_string_equal(cri_pairs_get(&f.env, "BOTH"), "two-hunter2-$(NONE)-$(PW)");
    end(&f);
}

static void a_pod_knows_itself(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    static const struct {
        const char *from, *value;
    } cases[] = {
        { "'fieldRef':{'fieldPath':'metadata.name'}", "p" },
        { "'fieldRef':{'fieldPath':'metadata.uid'}", "u1" },
        { "'fieldRef':{'fieldPath':'spec.nodeName'}", "n1" },
        { "'fieldRef':{'fieldPath':'status.podIP'}", "10.0.0.9" },
        { "'fieldRef':{'fieldPath':'status.hostIP'}", "10.0.0.1" },
        { "'resourceFieldRef':{'resource':'limits.memory'}", "67108864" },
        { "'resourceFieldRef':{'resource':'limits.memory','divisor':'1Mi'}", "64" },
        { "'resourceFieldRef':{'resource':'requests.cpu','divisor':'1m'}", "250" },
        { "'resourceFieldRef':{'resource':'requests.cpu'}", "1" },
        { "'resourceFieldRef':{'resource':'limits.cpu'}", "4" }, /* none: the node's */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(str) char *text = xasprintf(
            "{'name':'c','resources':{'limits':{'memory':'64Mi'},'requests':{'cpu':'250m'}"
            "},'env':[{'name':'V','valueFrom':{%s}}]}",
            cases[i].from);
        assert_int_equal(run(&f, text), 0);
        assert_string_equal(cri_pairs_get(&f.env, "V"), cases[i].value);
        end(&f);
    }
}

static void what_is_missing_is_named_as_upstream_does(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    static const struct {
        const char *container, *message;
    } cases[] = {
        { "{'name':'c','envFrom':[{'configMapRef':{'name':'x'}}]}", "configmap \"x\" not found" },
        { "{'name':'c','envFrom':[{'secretRef':{'name':'x'}}]}", "secret \"x\" not found" },
        { "{'name':'c','env':[{'name':'A','valueFrom':{'configMapKeyRef':{'name':'cm','key':'k'}}}]"
          "}",
          "couldn't find key k in ConfigMap ns/cm" },
        { "{'name':'c','envFrom':[{'configMapRef':{'name':'x','optional':true}}]}", NULL },
        { "{'name':'c','env':[{'name':'A','valueFrom':{'secretKeyRef':"
          "{'name':'sec','key':'k','optional':true}}}]}",
          NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(run(&f, cases[i].container), cases[i].message ? -1 : 0);
        if (cases[i].message) {
            assert_int_equal(f.err.code, ERR_NOT_FOUND);
            assert_string_equal(f.err.message, cases[i].message);
        } else {
            assert_null(cri_pairs_get(&f.env, "A"));
        }
        end(&f);
    }
}

static void services_are_in_the_environment(void **state)
{
    (void)state;
    struct fixture f = { 0 };
    object_list_add_take(&f.services,
                         from(RESOURCE_SERVICES,
                              "{'metadata':{'name':'my-db','namespace':'ns'},'spec':{"
                              "'clusterIP':'10.43.0.7','ports':[{'name':'sql','port':5432}]}}"));
    object_list_add_take(&f.services,
                         from(RESOURCE_SERVICES,
                              "{'metadata':{'name':'headless','namespace':'ns'},'spec':{"
                              "'clusterIP':'None','ports':[{'port':1}]}}"));
    object_list_add_take(&f.services,
                         from(RESOURCE_SERVICES,
                              "{'metadata':{'name':'other','namespace':'elsewhere'},'spec':{"
                              "'clusterIP':'10.43.0.8','ports':[{'port':1}]}}"));
    assert_int_equal(run(&f, "{'name':'c'}"), 0);
    assert_string_equal(cri_pairs_get(&f.env, "MY_DB_SERVICE_HOST"), "10.43.0.7");
    assert_string_equal(cri_pairs_get(&f.env, "MY_DB_SERVICE_PORT"), "5432");
    assert_string_equal(cri_pairs_get(&f.env, "MY_DB_SERVICE_PORT_SQL"), "5432");
    assert_string_equal(cri_pairs_get(&f.env, "MY_DB_PORT_5432_TCP"), "tcp://10.43.0.7:5432");
    assert_null(cri_pairs_get(&f.env, "HEADLESS_SERVICE_HOST"));
    assert_null(cri_pairs_get(&f.env, "OTHER_SERVICE_HOST"));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_later_wins_and_may_use_what_came_before),
        cmocka_unit_test(a_pod_knows_itself),
        cmocka_unit_test(what_is_missing_is_named_as_upstream_does),
        cmocka_unit_test(services_are_in_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
