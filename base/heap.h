/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - what the C library's allocator keeps for itself.
 *
 * Threads: any.
 */
#pragma once

/* Told once, before the first thread: fewer arenas than the C library's eight for each core, which
 * hold memory that was freed on another thread. */
void heap_configure(void);

/* Gives whole pages of freed memory back to the system.  Takes some milliseconds for 100 MB: after
 * much was freed that will not be needed at once. */
void heap_trim(void);
