/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_sandbox.h - the sandbox' configuration from a pod's spec.
 *
 * Threads: any.
 */
#pragma once

#include "kubelet/kubelet_context.h"

must_check int pod_sandbox_config(const struct kubelet_context *k, const struct object *pod,
                                  unsigned attempt, struct arena *a, struct cri_sandbox_config *out,
                                  struct error *err);

/* The host name inside: spec.hostname, or the pod's name cut to 63 characters. */
const char *pod_hostname(const struct object *pod, struct arena *a);
/* hostname.subdomain.ns.svc.domain, or NULL if the pod has no subdomain. */
const char *pod_domain_name(const struct kubelet_context *k, const struct object *pod,
                            struct arena *a);
/* A seccomp or apparmor profile of a securityContext; NULL if it names none. */
const struct cri_security_profile *security_profile(const struct json *profile, bool is_seccomp,
                                                    struct arena *a);
/* The groups of fsGroup and supplementalGroups. */
void pod_groups(const struct object *pod, struct arena *a, struct cri_security *out);
void pod_namespaces(const struct object *pod, struct cri_security *out);
