/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_tree.h - the tree of an object at rest: of the exact size, and what objects have in common
 * in memory only once.
 *
 *     an object's block:  | head | root | parts | nodes -->  <-- text |
 *                                          |  |
 *                                  part: | refs, hash, value | parts | nodes --> <-- text |
 *
 * A part is a subtree that is equal in several objects: the containers of a Deployment's pods, what
 * a controller's managedFields say, the spec that a change of status leaves alone.  Nodes point
 * into parts as into their own block, so readers know nothing of this; who holds a block counts the
 * parts that it points into.  A subtree becomes a part when it is met again soon after it was seen
 * first: what is of one object alone costs no part.
 *
 * Names of members that schemas know are the tables' own strings, wherever a tree came from.
 *
 * Threads: any.
 */
#pragma once

#include "base/json.h"

struct tree_part;

/* A block, to be released with free() after its parts. */
struct tree_block {
    void *head; /* HEAD_BYTES for the caller, not cleared */
    struct json *doc;
    struct tree_part **parts;
    size_t parts_n;
    size_t bytes; /* of the block alone */
};

/* A copy of DOC, which shares nothing with DOC.  The root, metadata and metadata.resourceVersion
 * are in the block itself, the last with room for any number: they may still be changed. */
struct tree_block tree_pack(const struct json *doc, size_t head_bytes);
void tree_parts_release(struct tree_part *const *parts, size_t n);

size_t tree_parts_n(void); /* that exist now */

#define TREE_REVISION_BYTES 20 /* digits of metadata.resourceVersion */
