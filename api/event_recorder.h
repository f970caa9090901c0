/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_recorder.h - core/v1 Events about objects, aggregated and rate-limited as client-go does:
 * the same event again counts up instead of making another object.
 *
 * Threads: any; never blocks (a full queue drops the event and counts it).
 */
#pragma once

#include "api/client.h"

struct event_recorder;

#define EVENT_QUEUED_MAX 1000

/* COMPONENT is source.component ("kubelet", "default-scheduler"); HOST may be NULL. */
struct event_recorder *event_recorder_new(struct client *c, const char *component,
                                          const char *host);
void event_recorder_free(struct event_recorder *r);

/* TYPE "Normal" or "Warning".  FIELD_PATH ("spec.containers{web}") may be NULL. */
void event_record(struct event_recorder *r, const struct object *about, const char *type,
                  const char *reason, const char *fmt, ...) printf_like(5, 6);
void event_record_field(struct event_recorder *r, const struct object *about,
                        const char *field_path, const char *type, const char *reason,
                        const char *fmt, ...) printf_like(6, 7);
