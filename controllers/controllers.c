/* SPDX-License-Identifier: Apache-2.0 */
/* controllers - the table of what runs. */
#include "controllers/runtime.h"

/* clang-format off */
extern const struct controller_spec
    deployment_controller,
    replicaset_controller,
    replicationcontroller_controller;

static const struct controller_spec *const controllers[] = {
    &deployment_controller,
    &replicaset_controller,
    &replicationcontroller_controller,
    NULL,
};
/* clang-format on */

struct controllers *controllers_new(const struct controllers_config *config, struct error *err)
{
    return controllers_new_of(config, controllers, err);
}
