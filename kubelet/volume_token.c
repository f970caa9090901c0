/* SPDX-License-Identifier: Apache-2.0 */
/* volume_token.c - service account tokens for pods. */
#include "kubelet/volume_token.h"

#include <pthread.h>

#include "base/hashmap.h"

#define RENEW_AT_PERCENT 80
#define RENEW_AT_MAX_NS  (24 * 3600 * NS_PER_S)

struct token {
    char *id, *text;
    int64_t renew_ns, expires_ns; /* wall clock */
};

/* Of the process: a pod's uid is part of the key, so nodes of one process do not meet. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards TOKENS */
static struct hashmap tokens;

static void token_free(struct token *t)
{
    free(t->id);
    free(t->text);
    free(t);
}

/* Tokens that have run out belong to pods that are gone. */
static void drop_expired_locked(int64_t now_ns)
{
    for (bool again = true; again;) {
        again = false;
        hashmap_each (&tokens, e) {
            struct token *t = e->value;
            if (t->expires_ns > now_ns)
                continue;
            hashmap_remove(&tokens, e->key);
            token_free(t);
            again = true; /* removal ends the walk */
            break;
        }
    }
}

static int request(struct kubelet_context *k, const struct token_request *r, struct arena *a,
                   const char **token, int64_t *expires_ns, struct error *err)
{
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "apiVersion", "authentication.k8s.io/v1");
    json_put_str(a, doc, "kind", "TokenRequest");
    struct json audiences = *json_new(a, JSON_ARRAY);
    if (!str_empty(r->audience))
        json_append(a, &audiences, json_string_value(a, r->audience));
    json_put(a, doc, "spec.audiences", audiences);
    json_put_int(a, doc, "spec.expirationSeconds", r->expiration_s);
    json_put_str(a, doc, "spec.boundObjectRef.apiVersion", "v1");
    json_put_str(a, doc, "spec.boundObjectRef.kind", "Pod");
    json_put_str(a, doc, "spec.boundObjectRef.name", r->pod->key.name);
    json_put_str(a, doc, "spec.boundObjectRef.uid", r->pod->uid);
    struct object_key key = { r->pod->key.ns,
                              json_str(r->pod->doc, "spec.serviceAccountName", "default") };
    const struct json *answer;
    if (client_post(k->client, &resources[RESOURCE_SERVICEACCOUNTS], &key, "token", doc, a, &answer,
                    err) < 0)
        return error_wrap(err, "failed to fetch token");
    *token = json_str(answer, "status.token", NULL);
    const char *expires = json_str(answer, "status.expirationTimestamp", "");
    if (!*token || time_parse(expires, expires_ns) < 0)
        return error_set(err, ERR_INTERNAL, "failed to fetch token: the answer holds none");
    return 0;
}

int volume_token_get(struct kubelet_context *k, const struct token_request *r, struct arena *a,
                     const char **token, int64_t *renew_after_ns, struct error *err)
{
    int64_t now_ns = clock_wall_ns(k->clock);
    const char *id =
        arena_printf(a, "%s/%s/%lld", r->pod->uid, r->audience, (long long)r->expiration_s);
    pthread_mutex_lock(&lock);
    struct token *known = hashmap_get(&tokens, bytes_of(id));
    bool is_fresh = known && now_ns < known->renew_ns;
    if (is_fresh) {
        *token = arena_strdup(a, known->text);
        *renew_after_ns = known->renew_ns - now_ns;
    }
    pthread_mutex_unlock(&lock);
    if (is_fresh)
        return 0;

    int64_t expires_ns;
    if (request(k, r, a, token, &expires_ns, err) < 0)
        return -1;
    int64_t keep_ns = (expires_ns - now_ns) / 100 * RENEW_AT_PERCENT;
    if (keep_ns > RENEW_AT_MAX_NS)
        keep_ns = RENEW_AT_MAX_NS;
    struct token *t = xcalloc(1, sizeof(*t));
    *t = (struct token){ xstrdup(id), xstrdup(*token), now_ns + keep_ns, expires_ns };
    pthread_mutex_lock(&lock);
    drop_expired_locked(now_ns);
    struct token *old = hashmap_put(&tokens, bytes_of(t->id), t);
    pthread_mutex_unlock(&lock);
    if (old)
        token_free(old);
    *renew_after_ns = keep_ns;
    return 0;
}
