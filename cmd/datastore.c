/* SPDX-License-Identifier: Apache-2.0 */
/* datastore.c - the store that the flags name. */
#include "cmd/datastore.h"

#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"

/* Below the prefix that the API server watches, where no resource has a key. */
#define MARKER_KEY      "/registry/coracle/watch-marker"
#define WAIT_NS         (60 * NS_PER_S)
#define TOKEN_BYTES_MAX 4096

static struct storage *open_embedded(const struct config *c, struct arena *arena, struct error *err)
{
    const char *dir = arena_printf(arena, "%s/server/db", c->data_dir);
    /* A new and empty store would make the node stop every pod that runs. */
    if (storage_import_was_cut_short(dir)) {
        error_set(err, ERR_UNAVAILABLE,
                  "%s.partial is of a restore or a migration that did not end: run it again, or "
                  "remove that folder",
                  dir);
        return NULL;
    }
    if (files_make_dirs(dir, 0700, err) < 0)
        return NULL;
    /* Without etcd's API nobody could take an alarm back. */
    struct storage_embedded_config config = { .dir = dir, .keeps_alarm = c->etcd_listen != NULL };
    return storage_open_embedded(&config, err);
}

/* Signals are blocked until the server runs: who wants to end it shall not have to wait for that.
 */
static bool is_to_end(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT);
}

static int wait_for_answer(struct storage *s, struct error *err)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + WAIT_NS, revision;
    for (;;) {
        struct error failure = { 0 };
        if (storage_read_revision(s, &revision, &failure) == 0)
            return 0;
        log_warn("server", "waiting for the datastore: %s", failure.message);
        if (is_to_end() || clock_monotonic_ns(&system_clock) >= until_ns) {
            *err = failure;
            return -1;
        }
    }
}

static struct storage *open_remote(const struct config *c, struct error *err)
{
    struct storage_remote_config config = {
        .endpoints = c->datastore_endpoint,
        .ca_file = c->datastore_cafile,
        .cert_file = c->datastore_certfile,
        .key_file = c->datastore_keyfile,
        .marker_key = MARKER_KEY,
    };
    struct storage *s = storage_open_remote(&config, err);
    if (s && wait_for_answer(s, err) < 0) {
        storage_close(s);
        s = NULL;
    }
    if (!s)
        error_wrap(err, "open the datastore %s", c->datastore_endpoint);
    return s;
}

struct storage *datastore_open(const struct config *c, struct arena *arena, struct error *err)
{
    return c->datastore_endpoint ? open_remote(c, err) : open_embedded(c, arena, err);
}

/* ---- the token ---- */

/* "K10<hash of the authority>::server:<secret>", as k3s prints it, or the secret alone. */
static struct bytes secret_of(const char *token)
{
    const char *colon = str_has_prefix(token, "K10") ? strrchr(token, ':') : NULL;
    struct bytes secret = bytes_of(colon ? colon + 1 : token);
    while (secret.len > 0 && strchr(" \t\r\n", secret.data[secret.len - 1]))
        secret.len--;
    return secret;
}

static const char *kept_token_path(const struct config *c, struct arena *arena)
{
    return arena_printf(arena, "%s/server/token", c->data_dir);
}

int datastore_token(const struct config *c, struct arena *arena, struct bytes *token, bool *is_new,
                    struct error *err)
{
    struct bytes text;
    struct error missing = { 0 };
    *is_new = false;
    if (c->token) {
        *token = secret_of(c->token);
    } else {
        const char *path = c->token_file ? c->token_file : kept_token_path(c, arena);
        int rc = files_read(path, TOKEN_BYTES_MAX, arena, &text, &missing);
        if (rc < 0 && (c->token_file || missing.code != ERR_NOT_FOUND)) {
            *err = missing;
            return error_wrap(err, "token");
        }
        if (rc < 0) {
            *is_new = true;
            *token = bytes_of(arena_printf(arena, "%016llx%016llx",
                                           (unsigned long long)rng_next(system_rng),
                                           (unsigned long long)rng_next(system_rng)));
            return 0;
        }
        *token = secret_of(arena_strndup(arena, text.data, text.len));
    }
    return token->len > 0 ? 0 : error_set(err, ERR_BAD_REQUEST, "the token is empty");
}

int datastore_keep_token(const struct config *c, struct bytes token, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    const char *path = kept_token_path(c, arena);
    if (files_make_parents(path, 0700, err) < 0)
        return -1;
    return files_write_durably(path, token, 0600, err);
}

void datastore_forget_token(const struct config *c)
{
    scoped(arena) struct arena *arena = arena_new();
    unlink(kept_token_path(c, arena));
}
