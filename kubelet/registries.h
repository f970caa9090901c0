/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registries.h - a registries.yaml in k3s' format as containerd reads it: mirrors become
 * certs.d/<registry>/hosts.toml, credentials a part of config.toml.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"

/* Replaces CERTS_DIR by what PATH says (no such file: an empty folder), and adds the credentials to
 * *CONFIG, the text of config.toml. */
must_check int registries_write(const char *path, const char *certs_dir, struct buffer *config,
                                struct error *err);
