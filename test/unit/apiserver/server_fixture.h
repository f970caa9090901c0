/* SPDX-License-Identifier: Apache-2.0 */
/* server_fixture.h - a whole API server in a directory of its own, for tests of what needs one. */
#pragma once

#include "api/client.h"
#include "apiserver/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

struct server_fixture {
    char dir[64];
    struct storage *storage;
    struct apiserver *server;
    struct client *admin;
    struct arena *arena;
};

static inline int server_set_up(void **state)
{
    static const char *const masters[] = { "system:masters", NULL };
    struct server_fixture *f = xcalloc(1, sizeof(*f));
    struct error err = { 0 };
    snprintf(f->dir, sizeof(f->dir), "/tmp/coracle-server-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    struct storage_embedded_config storage = { .dir = f->dir };
    f->storage = storage_open_embedded(&storage, &err);
    if (!f->storage)
        fail_msg("%s", err.message);
    struct apiserver_config config = { .storage = f->storage,
                                       .data_dir = f->dir,
                                       .bind_address = "127.0.0.1",
                                       .advertise_address = "127.0.0.1",
                                       .service_cidr = "10.43.0.0/16",
                                       .node_port_range = "30000-32767",
                                       .cluster_domain = "cluster.local",
                                       .loops = 1 };
    f->server = apiserver_start(&config, &err);
    if (!f->server)
        fail_msg("%s", err.message);
    f->admin = apiserver_loopback(f->server, "test", masters);
    f->arena = arena_new();
    *state = f;
    return 0;
}

static inline int server_tear_down(void **state)
{
    struct server_fixture *f = *state;
    char command[128];
    client_close(f->admin);
    apiserver_stop(f->server);
    storage_close(f->storage);
    arena_free(f->arena);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

/* Creates what TEXT says in NS as the user of CLIENT. */
static inline int server_create(struct server_fixture *f, struct client *client,
                                enum resource_id id, const char *ns, const char *text,
                                struct object **out, struct error *err)
{
    const struct json *doc = json_parse(bytes_of(text), f->arena, NULL, err);
    if (!doc)
        fail_msg("%s: %s", text, err->message);
    return client_create(client, &resources[id], ns, doc, out, err);
}
