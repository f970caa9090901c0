/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field_set.h - sets of an object's fields, kept in the form in which they travel: FieldsV1.
 *
 *     { "f:spec": { "f:ports": { ".": {}, "k:{\"port\":80}": { ".": {}, "f:port": {} } } } }
 *
 * A child is named by what leads to it: f: a field or key of a map, k: the keys of an item of a
 * map list, v: an item of a set, i: an index.  An empty child belongs to the set itself; one that
 * has children does if it has ".".  Children are sorted, "." comes first.  NULL is the empty set.
 *
 * Sets never change: results share subtrees with what they came from.
 */
#pragma once

#include "base/json.h"

const struct json *field_set_union(const struct json *a, const struct json *b, struct arena *arena);
const struct json *field_set_intersection(const struct json *a, const struct json *b,
                                          struct arena *arena);
/* What is in A and not in B, path by path: what lies below a path of B stays. */
const struct json *field_set_difference(const struct json *a, const struct json *b,
                                        struct arena *arena);
/* A without the paths of B and all below them. */
const struct json *field_set_without(const struct json *a, const struct json *b,
                                     struct arena *arena);

/* PATHS are dotted paths of fields ("spec.replicas"), ending with NULL. */
const struct json *field_set_of_paths(const char *const *paths, struct arena *arena);
bool field_set_has(const struct json *set, const char *path);

/* A set that a client wrote, made canonical; *OUT is NULL if nothing is in it.  Children of a kind
 * that nobody knows are dropped, as upstream does; ERR_BAD_REQUEST if it is no set. */
must_check int field_set_read(const struct json *fields, struct arena *arena,
                              const struct json **out, struct error *err);

/* Calls FN with each path as upstream writes it: `.spec.ports[port=80].name`. */
void field_set_each(const struct json *set, void (*fn)(const char *path, void *arg), void *arg);

/* ---- for those who make sets ---- */

/* The order of children: fields, keys, values, indexes; each kind by what it means. */
int field_child_compare(const char *a, const char *b);
/* Sorts the children of a set in the making, whose "." is first if it has one. */
void field_children_sort(struct json *set);
const char *field_child_of_name(const char *name, struct arena *arena); /* "f:NAME" */
/* Appends a scalar as k: and v: write it. */
void field_scalar_print(const struct json *v, struct buffer *out);
/* `.name`, `[port=80]`: a child as upstream's messages write it. */
void field_child_print(const char *child, struct buffer *out);
