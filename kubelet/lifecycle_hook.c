/* SPDX-License-Identifier: Apache-2.0 */
/* lifecycle_hook.c - postStart and preStop. */
#include "kubelet/lifecycle_hook.h"

#include <errno.h>
#include <time.h>

static void sleep_s(int64_t s)
{
    struct timespec left = { .tv_sec = s };
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

int lifecycle_hook_run(const struct probe_target *t, const struct json *handler, int64_t timeout_s,
                       struct error *err)
{
    const struct json *sleep = json_get(handler, "sleep");
    if (sleep) {
        int64_t s = json_int(sleep, "seconds", 0);
        sleep_s(s < timeout_s ? s : timeout_s);
        return 0;
    }
    scoped(arena) struct arena *a = arena_new();
    const char *output;
    if (probe_run(t, handler, timeout_s, a, &output) == PROBE_SUCCESS)
        return 0;
    return error_set(err, ERR_INTERNAL, "%s", output);
}
