/* SPDX-License-Identifier: Apache-2.0 */
/* pod.h - a pod from JSON with single quotes, for the kubelet's tests. */
#pragma once

#include "api/object.h"
#include "base/log.h"

static inline struct object *pod_from(const char *quoted)
{
    scoped(str) char *text = xstrdup(quoted);
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    struct error err = { 0 };
    struct object *pod = object_parse(&resources[RESOURCE_PODS], bytes_of(text), 1, &err);
    if (!pod)
        log_error("test", "%s", err.message);
    ensure(pod);
    return pod;
}
