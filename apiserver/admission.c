/* SPDX-License-Identifier: Apache-2.0 */
/* admission.c - the plugins, in the order they run. */

#include "apiserver/admission.h"

static const struct admission_plugin *const plugins[] = {
    &admission_namespace_lifecycle, &admission_service_account,
    &admission_taint_nodes,         &admission_priority,
    &admission_default_tolerations, &admission_default_class,
    &admission_object_in_use,       &admission_node_restriction,
    &admission_runtime_class,       &admission_rbac_escalation,
};

int admission_admit(struct strategy_call *c, const struct admission_attributes *a,
                    struct draft *new, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
        if (plugins[i]->admit(c, a, new, err) < 0)
            return -1;
    }
    return 0;
}

int admission_forbid(struct error *err, const struct admission_attributes *a, const char *fmt, ...)
{
    char why[ERROR_MESSAGE_BYTES / 2], qualified[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    return error_set(err, ERR_FORBIDDEN, "%s \"%s\" is forbidden: %s",
                     resource_qualified(a->resource, qualified, sizeof(qualified)), a->name, why);
}
