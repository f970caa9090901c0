/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generated_name.h - the parts of names that nobody chose.
 *
 * Their letters have no vowels and no look-alikes: no words, no misreading.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"

/* N random characters: what follows a generateName. */
const char *generated_suffix(struct rng *rng, size_t n, struct arena *a);
/* A hash as a part of a name: each of its decimal digits becomes another letter
 * (pod-template-hash). */
const char *generated_from_hash(uint64_t hash, struct arena *a);
