/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - leases, when they end, and the keys that go with them.
 *
 * What is granted and revoked is durable through the writer; keeping alive is not: after a restart
 * every lease has its whole time again, as with etcd.
 *
 * Threads: any.
 */
#pragma once

#include "base/clock.h"
#include "storage/mvcc.h"

#define LEASE_TTL_S_MAX INT64_C(9000000000) /* etcd's */

struct lease_table;

struct lease_table *lease_table_new(const struct clock *clock);
void lease_table_free(struct lease_table *t);

void lease_grant(struct lease_table *t, int64_t id, int64_t ttl_s);
void lease_remove(struct lease_table *t, int64_t id);
bool lease_exists(struct lease_table *t, int64_t id);
int64_t lease_new_id(struct lease_table *t); /* one that is free */
/* ERR_NOT_FOUND, also when its end is on its way to the disk, however long that takes. */
must_check int lease_keep_alive(struct lease_table *t, int64_t id, int64_t *ttl_s,
                                struct error *err);

/* KEY now belongs to lease TO (0: none) and no longer to any other; unknown leases are ignored. */
void lease_move_key(struct lease_table *t, struct bytes key, int64_t to);
/* The keys of a lease, ascending, copied to the arena. */
struct bytes *lease_keys(struct lease_table *t, int64_t id, struct arena *arena, size_t *n);

/* ERR_NOT_FOUND. */
must_check int lease_find(struct lease_table *t, int64_t id, struct arena *arena,
                          struct storage_lease *out, struct error *err);
/* All leases, the one that ends first before the others, in the arena and without their keys. */
struct storage_lease *lease_all(struct lease_table *t, struct arena *arena, size_t *n);

/* All leases, free() it. */
struct mvcc_lease *lease_list(struct lease_table *t, size_t *n);
/* An expired one, given once, and from then on nothing keeps it alive; 0: none, and *NEXT_NS says
 * when the next is due (0: never). */
int64_t lease_next_expired(struct lease_table *t, int64_t *next_ns);
bool lease_is_ending(struct lease_table *t, int64_t id); /* it was given, and is still there */
/* It could not be revoked: it is given again a little later, unless somebody keeps it alive. */
void lease_retry(struct lease_table *t, int64_t id);
