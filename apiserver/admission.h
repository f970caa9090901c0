/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admission.h - plugins between decoding and the strategy: they change or refuse what is written.
 *
 * admission.c is the table, in upstream's order; a plugin is a file admission_<name>.c.  Verbs call
 * admission_admit() on the defaulted object before the strategy prepares it.
 *
 * Threads: worker threads.
 */
#pragma once

#include "apiserver/strategy.h"

struct admission_attributes {
    const struct resource *resource;
    const char *subresource; /* "" for the object itself */
    enum request_verb verb; /* create, update (patches too), delete, or REQUEST_OTHER for connect */
    const struct object *old; /* NULL: create */
    const char *ns, *name;
};

struct admission_plugin {
    const char *name;
    /* Changes or refuses NEW (NULL for a delete).  ERR_FORBIDDEN in upstream's words. */
    int (*admit)(struct strategy_call *c, const struct admission_attributes *a, struct draft *new,
                 struct error *err);
};

must_check int admission_admit(struct strategy_call *c, const struct admission_attributes *a,
                               struct draft *new, struct error *err);

/* `pods "x" is forbidden: WHY`: what plugins answer.  Always -1. */
int admission_forbid(struct error *err, const struct admission_attributes *a, const char *fmt, ...)
    printf_like(3, 4);

extern const struct admission_plugin admission_namespace_lifecycle, admission_service_account,
    admission_taint_nodes, admission_priority, admission_default_tolerations,
    admission_default_class, admission_object_in_use, admission_node_restriction,
    admission_runtime_class, admission_rbac_escalation;
