/* SPDX-License-Identifier: Apache-2.0 */
/* lifecycle_hook.c - postStart and preStop. */
#include "kubelet/lifecycle_hook.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

#include "base/clock.h"

/* Until the kubelet ends, at the longest. */
static void sleep_s(const struct kubelet_context *k, int64_t s)
{
    int64_t until_ns = clock_monotonic_ns(k->clock) + s * NS_PER_S, left_ms = s * 1000;
    struct pollfd p = { .fd = k->stop_fd, .events = POLLIN };
    while (left_ms > 0 && poll(&p, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX) < 0 &&
           errno == EINTR)
        left_ms = (until_ns - clock_monotonic_ns(k->clock)) / NS_PER_MS;
}

int lifecycle_hook_run(const struct probe_target *t, const struct json *handler, int64_t timeout_s,
                       struct error *err)
{
    const struct json *sleep = json_get(handler, "sleep");
    if (sleep) {
        int64_t s = json_int(sleep, "seconds", 0);
        sleep_s(t->k, s < timeout_s ? s : timeout_s);
        return 0;
    }
    scoped(arena) struct arena *a = arena_new();
    const char *output;
    if (probe_run(t, handler, timeout_s, a, &output) == PROBE_SUCCESS)
        return 0;
    return error_set(err, ERR_INTERNAL, "%s", output);
}
