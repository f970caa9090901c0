/* SPDX-License-Identifier: Apache-2.0 */
/*
 * go_print.h - a value as Go's %v prints a decoded one, which some of upstream's messages show:
 * map[spec:map[replicas:three]].
 */
#pragma once

#include "base/json.h"

void go_print(const struct json *v, struct buffer *out);
