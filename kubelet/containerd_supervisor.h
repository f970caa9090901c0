/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd_supervisor.h - our own containerd, with a configuration made for this host.
 *
 *     <data-dir>/agent/etc/containerd/config.toml        written at every start
 *     <data-dir>/agent/etc/containerd/certs.d            the same, from registries.yaml
 *     <data-dir>/agent/containerd/containerd.{sock,pid,log}
 *
 * containerd and its containers outlive us, kill -9 included: it runs in a session of its own, and
 * the next start adopts it when its socket answers.  One that dies is started again, with back-off.
 *
 * Threads: any.
 */
#pragma once

#include "base/error.h"

struct containerd_supervisor;

struct containerd_config {
    const char *data_dir;
    const char *cni_conf_dir;
    const char *sandbox_image;
    const char *registries_path; /* NULL: none */
    int cancel_fd;               /* readable: containerd_start() gives up */
};

/* Returns when the runtime answers. */
struct containerd_supervisor *containerd_start(const struct containerd_config *config,
                                               struct error *err);
const char *containerd_endpoint(const struct containerd_supervisor *s); /* "unix:/..." */
const char *containerd_socket(const struct containerd_supervisor *s);
const char *containerd_snapshotter(const struct containerd_supervisor *s);
void containerd_release(struct containerd_supervisor *s); /* stops watching; containerd stays */
