/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest_apply.h - what an apply to an object and one to its scale share.
 */
#pragma once

#include "api/apply.h"
#include "apiserver/rest.h"

/* 409 with a cause for each field.  Always -1. */
int apply_conflict(struct request *r, const struct apply_result *result, struct outcome *out,
                   struct error *err);
/* Turns repeated keys into a refusal or into warnings, as fieldValidation says. */
must_check int apply_judge_repeated(struct request *r, const struct write_options *o,
                                    const struct json_duplicates *repeated, struct error *err);
