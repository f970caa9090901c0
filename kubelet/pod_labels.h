/* SPDX-License-Identifier: Apache-2.0 */
/* pod_labels.h - the labels and annotations by which pods are known to the runtime: upstream's. */
#pragma once

#define LABEL_POD_NAME       "io.kubernetes.pod.name"
#define LABEL_POD_NAMESPACE  "io.kubernetes.pod.namespace"
#define LABEL_POD_UID        "io.kubernetes.pod.uid"
#define LABEL_CONTAINER_NAME "io.kubernetes.container.name"

#define ANNOTATION_HASH               "io.kubernetes.container.hash"
#define ANNOTATION_RESTART_COUNT      "io.kubernetes.container.restartCount"
#define ANNOTATION_MESSAGE_PATH       "io.kubernetes.container.terminationMessagePath"
#define ANNOTATION_MESSAGE_POLICY     "io.kubernetes.container.terminationMessagePolicy"
#define ANNOTATION_POD_GRACE_PERIOD   "io.kubernetes.pod.terminationGracePeriod"
#define ANNOTATION_POD_DELETION_GRACE "io.kubernetes.pod.deletionGracePeriod"

#define ANNOTATION_CONFIG_MIRROR "kubernetes.io/config.mirror"
#define ANNOTATION_CONFIG_HASH   "kubernetes.io/config.hash"
#define ANNOTATION_CONFIG_SOURCE "kubernetes.io/config.source"
#define ANNOTATION_CONFIG_SEEN   "kubernetes.io/config.seen"
