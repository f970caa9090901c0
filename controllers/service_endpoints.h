/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_endpoints.h - which pods stand behind a Service, and on which ports.
 *
 * Threads: workers; the handlers: watch threads.
 */
#pragma once

#include "controllers/pod_control.h"

/* Pods with the same ports form a group: named target ports may differ between pods. */
struct endpoint_group {
    struct json *ports;   /* [{name, port, protocol, appProtocol}] in the Service's order */
    struct object **pods; /* borrowed from the list */
    size_t n, capacity;
};

struct endpoint_groups {
    struct endpoint_group *items; /* in the reconcile's arena */
    size_t n, capacity;
};

/* The pods that SERVICE selects and that may get traffic, now or while they end, by name. */
void service_pods(struct controller *c, const struct object *service, struct object_list *out);
void service_group_pods(struct controller *c, const struct object *service,
                        const struct object_list *pods, struct endpoint_groups *out);

bool service_has_selector(const struct object *service);
bool service_is_headless(const struct object *service);
bool service_publishes_not_ready(const struct object *service);
/* The name a pod has in this headless Service's domain; NULL: none. */
const char *service_hostname(const struct object *service, const struct object *pod);
/* {kind, namespace, name, uid} */
struct json *pod_reference(const struct object *pod, struct arena *a);
/* Copies SERVICE's labels, and the one that marks headless ones. */
void put_service_labels(const struct object *service, struct draft *d);

/* The Services that select the pod, now or before the change. */
void enqueue_services_of_pod(struct controller *c, const struct informer_event *e);
