/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zip.h - a .zip archive that holds one file.
 *
 * Written in one pass and read by any unzip.  The 32-bit format: neither the file nor the archive
 * may have 4 GiB.
 *
 * Threads: any.
 */
#pragma once

#include "base/error.h"

/* Archives all of FROM under NAME into TO, which is empty.  Both are at their start. */
must_check int zip_write(int from, const char *name, int to, struct error *err);

/* Unpacks the first file of the archive FROM into TO and checks its sum.  ERR_BAD_REQUEST: it is
 * no archive, or one of another method; ERR_IO: it is damaged. */
must_check int zip_read(int from, int to, struct error *err);
