/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime_watch.h - the runtime's exits, turned into keys for the pod worker.
 *
 * containerd tells of an exit at about the time its CRI half learns of it, so the container is
 * asked for until it says itself that it has ended: a sync after the wake-up sees the exit.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/pod_worker.h"

struct runtime_watch;

struct runtime_watch *runtime_watch_start(struct pod_worker *w, const char *endpoint,
                                          struct error *err);
void runtime_watch_stop(struct runtime_watch *r);
