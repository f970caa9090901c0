/* SPDX-License-Identifier: Apache-2.0 */
/* documents.c - answers that are made once and shared. */
#include "apiserver/documents.h"

#include <pthread.h>

#include "apiserver/server.h"
#include "base/crypto.h"
#include "base/hashmap.h"

struct kept {
    struct shared_bytes *body;
    char etag[ETAG_BYTES];
    char name[];
};

struct documents {
    pthread_mutex_t lock; /* a leaf of the lock order; guards BY_NAME */
    struct hashmap by_name;
};

void documents_start(struct apiserver *a)
{
    a->documents = xcalloc(1, sizeof(*a->documents));
    pthread_mutex_init(&a->documents->lock, NULL);
}

static void forget_locked(struct documents *d)
{
    hashmap_each (&d->by_name, e) {
        struct kept *k = e->value;
        shared_bytes_unref(k->body);
        free(k);
    }
    hashmap_deinit(&d->by_name);
    d->by_name = (struct hashmap){ 0 };
}

void documents_stop(struct apiserver *a)
{
    struct documents *d = take_ptr(&a->documents);
    if (!d)
        return;
    forget_locked(d);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

struct shared_bytes *documents_find(struct apiserver *a, const char *name, char etag[ETAG_BYTES])
{
    struct documents *d = a->documents;
    pthread_mutex_lock(&d->lock);
    const struct kept *k = hashmap_get(&d->by_name, bytes_of(name));
    struct shared_bytes *body = k ? shared_bytes_ref(k->body) : NULL;
    if (k)
        memcpy(etag, k->etag, ETAG_BYTES);
    pthread_mutex_unlock(&d->lock);
    return body;
}

struct shared_bytes *documents_keep(struct apiserver *a, const char *name, struct bytes body,
                                    char etag[ETAG_BYTES])
{
    struct documents *d = a->documents;
    size_t n = strlen(name) + 1;
    struct kept *new = xcalloc(1, sizeof(*new) + n);
    memcpy(new->name, name, n);
    new->body = shared_bytes_new(body);
    etag_of(body, new->etag);

    pthread_mutex_lock(&d->lock);
    struct kept *k = hashmap_get(&d->by_name, bytes_of(name));
    if (!k) {
        k = take_ptr(&new);
        hashmap_put(&d->by_name, bytes_of(k->name), k);
    }
    struct shared_bytes *out = shared_bytes_ref(k->body);
    memcpy(etag, k->etag, ETAG_BYTES);
    pthread_mutex_unlock(&d->lock);

    if (new)
        shared_bytes_unref(new->body);
    free(new);
    return out;
}

void etag_of(struct bytes body, char etag[ETAG_BYTES])
{
    uint8_t digest[SHA256_BYTES];
    crypto_sha256(body, digest);
    char *out = etag;
    *out++ = '"';
    for (size_t i = 0; i < SHA256_BYTES; i++, out += 2)
        snprintf(out, 3, "%02X", digest[i]);
    *out++ = '"';
    *out = 0;
}

bool etag_matches(struct bytes if_none_match, const char *etag)
{
    if (bytes_equal_str(if_none_match, "*"))
        return true;
    return if_none_match.len && memmem(if_none_match.data, if_none_match.len, etag, strlen(etag));
}
