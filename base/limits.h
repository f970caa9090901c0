/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h - the sizes that come from outside and where they end.
 */
#pragma once

#define REQUEST_BODY_BYTES_MAX   (3 * 1024 * 1024) /* upstream's limit; more is 413 */
#define REQUEST_HEADER_BYTES_MAX (64 * 1024)
#define REQUEST_HEADERS_MAX      1024
#define OBJECT_BYTES_MAX         (3 * 512 * 1024) /* one stored value: etcd's 1.5 MiB */
#define JSON_DEPTH_MAX           512
#define ARENA_ALLOC_BYTES_MAX    ((size_t)1 << 30)
#define WATCH_QUEUED_MAX         4096 /* events a slow watcher may be behind before it is closed */
#define WATCH_QUEUED_BYTES_MAX   (64 * 1024 * 1024) /* the same in bytes */
#define LIST_ITEMS_PER_TURN      500 /* list items a loop thread handles before it lets others run */
