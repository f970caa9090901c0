/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder.h - a folder for a test to break things in.
 *
 * In memory if there is room, since thousands are made and removed; what a disk forgets is not
 * tested by waiting for one.
 *
 * Threads: one at a time.
 */
#pragma once

#define FOLDER_BYTES_MAX 64

void folder_make(char out[FOLDER_BYTES_MAX], const char *name);
void folder_remove(const char *path); /* none there is fine */
