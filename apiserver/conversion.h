/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conversion.h - kinds that are served in two versions and stored in one: events, horizontal pod
 * autoscalers.
 *
 * Threads: any.
 */
#pragma once

#include "api/object.h"

/* O as TO's version: O itself (a new reference) when it is of that version already. */
struct object *conversion_object(const struct object *o, const struct resource *to);
/* Changes D to TO's version in place. */
void conversion_draft(struct draft *d, const struct resource *to);
