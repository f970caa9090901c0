/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workqueue.h - a queue of keys for reconcilers: client-go's rules.
 *
 * A key that waits already is not added twice; a key that is being worked on and is added again
 * comes back once, when its worker is done; so no key is ever with two workers.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/clock.h"

struct workqueue;

struct workqueue_config {
    const struct clock *clock; /* NULL: system_clock */
    int64_t backoff_first_ms;  /* delay after the first failure, doubling; 0: 5 ms */
    int64_t backoff_max_ms;    /* 0: 1,000 s, as client-go */
};

struct workqueue *workqueue_new(const struct workqueue_config *config);
/* After shutdown, when its workers have left and nobody is still adding. */
void workqueue_free(struct workqueue *q);

void workqueue_add(struct workqueue *q, struct bytes key);
/* Added twice, the earlier wins. */
void workqueue_add_after(struct workqueue *q, struct bytes key, int64_t delay_ms);
void workqueue_retry(struct workqueue *q, struct bytes key);  /* after its own back-off */
void workqueue_forget(struct workqueue *q, struct bytes key); /* succeeded: back-off starts anew */

/* Waits for a key and copies it to *KEY (free it with workqueue_done); false at shutdown. */
bool workqueue_get(struct workqueue *q, struct bytes *key);
void workqueue_done(struct workqueue *q, struct bytes key);

void workqueue_shutdown(struct workqueue *q); /* wakes all who wait; later adds are dropped */
size_t workqueue_len(struct workqueue *q);
