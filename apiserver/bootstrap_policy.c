/* SPDX-License-Identifier: Apache-2.0 */
/* bootstrap_policy.c - the RBAC roles and bindings that every cluster starts with, as tables. */
#include "apiserver/bootstrap_policy.h"

/* clang-format off */

#define ALLOW(verb_list, group_list, resource_list)                                                \
    { .verbs = (verb_list), .groups = (group_list), .resources = (resource_list) }
#define ALLOW_NAMED(verb_list, group_list, resource_list, name_list)                               \
    { .verbs = (verb_list), .groups = (group_list), .resources = (resource_list), .names = (name_list) }
#define ALLOW_URLS(verb_list, url_list) { .verbs = (verb_list), .urls = (url_list) }
#define RULES(...) (const struct policy_rule[]){ __VA_ARGS__, { 0 } }

#define READ       "get list watch"
#define WRITE      "create delete deletecollection patch update"
#define READ_WRITE "create delete deletecollection get list patch update watch"

#define EVENTS ALLOW("create patch update", "core events.k8s.io", "events")

const struct policy_rule policy_node_rules[] = {
    ALLOW("create", "authentication.k8s.io", "tokenreviews"),
    ALLOW("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    ALLOW(READ, "core", "services"),
    ALLOW("create get list watch", "core", "nodes"),
    ALLOW("patch update", "core", "nodes/status"),
    ALLOW("patch update", "core", "nodes"),
    ALLOW("create patch update", "core", "events"),
    ALLOW(READ, "core", "pods"),
    ALLOW("create delete", "core", "pods"),
    ALLOW("patch update", "core", "pods/status"),
    ALLOW("create", "core", "pods/eviction"),
    ALLOW(READ, "core", "configmaps secrets"),
    ALLOW("get", "core", "persistentvolumeclaims persistentvolumes"),
    ALLOW("get", "core", "endpoints"),
    ALLOW("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ALLOW("create delete get patch update", "coordination.k8s.io", "leases"),
    ALLOW("get", "storage.k8s.io", "volumeattachments"),
    ALLOW("create", "core", "serviceaccounts/token"),
    ALLOW("get patch update", "core", "persistentvolumeclaims/status"),
    ALLOW(READ, "storage.k8s.io", "csidrivers"),
    ALLOW("create delete get patch update", "storage.k8s.io", "csinodes"),
    ALLOW(READ, "node.k8s.io", "runtimeclasses"),
    ALLOW("get", "resource.k8s.io", "resourceclaims"),
    ALLOW("create delete deletecollection get list patch update watch", "resource.k8s.io", "resourceslices"),
    { 0 },
};

static const struct policy_rule admin_rules[] = {
    ALLOW("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    ALLOW(READ_WRITE, "rbac.authorization.k8s.io", "rolebindings roles"),
    { 0 },
};

static const struct policy_rule edit_rules[] = {
    ALLOW(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    ALLOW("impersonate", "core", "serviceaccounts"),
    ALLOW(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    ALLOW("create", "core", "pods/eviction"),
    ALLOW(WRITE, "core", "configmaps events persistentvolumeclaims replicationcontrollers "
                     "replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
    ALLOW("create", "core", "serviceaccounts/token"),
    ALLOW(WRITE, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets "
                     "replicasets/scale statefulsets statefulsets/scale"),
    ALLOW(WRITE, "autoscaling", "horizontalpodautoscalers"),
    ALLOW(WRITE, "batch", "cronjobs jobs"),
    ALLOW(WRITE, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses "
                           "networkpolicies replicasets replicasets/scale replicationcontrollers/scale"),
    ALLOW(WRITE, "policy", "poddisruptionbudgets"),
    ALLOW(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    ALLOW(READ_WRITE, "coordination.k8s.io", "leases"),
    ALLOW(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
    { 0 },
};

static const struct policy_rule view_rules[] = {
    ALLOW(READ, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
                    "replicationcontrollers replicationcontrollers/scale serviceaccounts services "
                    "services/status"),
    ALLOW(READ, "core", "bindings events limitranges namespaces/status pods/log pods/status "
                    "replicationcontrollers/status resourcequotas resourcequotas/status"),
    ALLOW(READ, "core", "namespaces"),
    ALLOW(READ, "discovery.k8s.io", "endpointslices"),
    ALLOW(READ, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
                    "deployments/status replicasets replicasets/scale replicasets/status statefulsets "
                    "statefulsets/scale statefulsets/status"),
    ALLOW(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    ALLOW(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    ALLOW(READ, "extensions", "daemonsets daemonsets/status deployments deployments/scale "
                          "deployments/status ingresses ingresses/status networkpolicies replicasets "
                          "replicasets/scale replicasets/status replicationcontrollers/scale"),
    ALLOW(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    ALLOW(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ALLOW(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
    { 0 },
};

const struct policy_role policy_roles[] = {
    { .name = "cluster-admin", .rules = RULES(ALLOW("*", "*", "*"), ALLOW_URLS("*", "*")) },
    { .name = "admin", .aggregates = "admin" },
    { .name = "edit", .aggregates = "edit", .aggregate_to = "admin" },
    { .name = "view", .aggregates = "view", .aggregate_to = "edit" },
    { .name = "system:aggregate-to-admin", .aggregate_to = "admin", .rules = admin_rules },
    { .name = "system:aggregate-to-edit", .aggregate_to = "edit", .rules = edit_rules },
    { .name = "system:aggregate-to-view", .aggregate_to = "view", .rules = view_rules },
    { .name = "system:discovery", .rules = RULES(
        ALLOW_URLS("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz "
                                  "/version /version/")) },
    { .name = "system:monitoring", .rules = RULES(
        ALLOW_URLS("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz "
                                  "/readyz/*")) },
    { .name = "system:basic-user", .rules = RULES(
        ALLOW("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        ALLOW("create", "authentication.k8s.io", "selfsubjectreviews")) },
    { .name = "system:public-info-viewer", .rules = RULES(
        ALLOW_URLS("get", "/healthz /livez /readyz /version /version/")) },
    { .name = "system:service-account-issuer-discovery", .rules = RULES(
        ALLOW_URLS("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ "
                                  "/openid/v1/jwks /openid/v1/jwks/")) },
    { .name = "system:node", .rules = policy_node_rules },
    { .name = "system:node-proxier", .rules = RULES(
        ALLOW("list watch", "core", "endpoints services"),
        ALLOW(READ, "core", "nodes"),
        EVENTS,
        ALLOW("list watch", "discovery.k8s.io", "endpointslices"),
        ALLOW("list watch", "networking.k8s.io", "servicecidrs")) },
    { .name = "system:node-problem-detector", .rules = RULES(
        ALLOW("get", "core", "nodes"),
        ALLOW("patch", "core", "nodes/status"),
        EVENTS) },
    { .name = "system:node-bootstrapper", .rules = RULES(
        ALLOW("create get list watch", "certificates.k8s.io", "certificatesigningrequests")) },
    { .name = "system:kubelet-api-admin", .rules = RULES(
        ALLOW(READ, "core", "nodes"),
        ALLOW("proxy", "core", "nodes"),
        ALLOW("*", "core", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy "
                       "nodes/stats")) },
    { .name = "system:auth-delegator", .rules = RULES(
        ALLOW("create", "authentication.k8s.io", "tokenreviews"),
        ALLOW("create", "authorization.k8s.io", "subjectaccessreviews")) },
    { .name = "system:kube-aggregator", .rules = RULES(
        ALLOW(READ, "core", "endpoints services")) },
    { .name = "system:heapster", .rules = RULES(
        ALLOW(READ, "core", "events namespaces nodes pods"),
        ALLOW(READ, "extensions", "deployments")) },
    { .name = "system:kube-dns", .rules = RULES(
        ALLOW("list watch", "core", "endpoints services")) },
    { .name = "system:persistent-volume-provisioner", .rules = RULES(
        ALLOW("create delete get list watch", "core", "persistentvolumes"),
        ALLOW("get list update watch", "core", "persistentvolumeclaims"),
        ALLOW(READ, "storage.k8s.io", "storageclasses"),
        ALLOW("watch", "core", "events"),
        EVENTS) },
    { .name = "system:volume-scheduler", .rules = RULES(
        ALLOW("get list patch update watch", "core", "persistentvolumes"),
        ALLOW(READ, "storage.k8s.io", "storageclasses"),
        ALLOW("get list patch update watch", "core", "persistentvolumeclaims")) },
    { .name = "system:kube-scheduler", .rules = RULES(
        EVENTS,
        ALLOW("create", "coordination.k8s.io", "leases"),
        ALLOW_NAMED("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
        ALLOW(READ, "core", "nodes"),
        ALLOW("delete get list watch", "core", "pods"),
        ALLOW("create", "core", "bindings pods/binding"),
        ALLOW("patch update", "core", "pods/status"),
        ALLOW(READ, "core", "replicationcontrollers services"),
        ALLOW(READ, "apps extensions", "replicasets"),
        ALLOW(READ, "apps", "statefulsets"),
        ALLOW(READ, "policy", "poddisruptionbudgets"),
        ALLOW(READ, "core", "persistentvolumeclaims persistentvolumes"),
        ALLOW("create", "authentication.k8s.io", "tokenreviews"),
        ALLOW("create", "authorization.k8s.io", "subjectaccessreviews"),
        ALLOW(READ, "storage.k8s.io", "csinodes"),
        ALLOW(READ, "core", "namespaces"),
        ALLOW(READ, "storage.k8s.io", "csidrivers"),
        ALLOW(READ, "storage.k8s.io", "csistoragecapacities"),
        ALLOW(READ, "storage.k8s.io", "volumeattachments"),
        ALLOW("get list patch update watch", "resource.k8s.io", "resourceclaims"),
        ALLOW("get list patch update watch", "resource.k8s.io", "resourceclaims/status"),
        ALLOW("update", "core", "pods/finalizers"),
        ALLOW(READ, "resource.k8s.io", "deviceclasses resourceslices")) },
    { .name = "system:kube-controller-manager", .rules = RULES(
        EVENTS,
        ALLOW("create", "coordination.k8s.io", "leases"),
        ALLOW_NAMED("get list update watch", "coordination.k8s.io", "leases", "kube-controller-manager"),
        ALLOW("create", "core", "secrets serviceaccounts"),
        ALLOW("delete", "core", "secrets"),
        ALLOW("get", "core", "configmaps namespaces secrets serviceaccounts"),
        ALLOW("update", "core", "secrets serviceaccounts"),
        ALLOW("create", "authentication.k8s.io", "tokenreviews"),
        ALLOW("create", "authorization.k8s.io", "subjectaccessreviews"),
        ALLOW("list watch", "*", "*"),
        ALLOW("create", "core", "serviceaccounts/token")) },
    { .name = "system:certificates.k8s.io:certificatesigningrequests:nodeclient", .rules = RULES(
        ALLOW("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")) },
    { .name = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", .rules = RULES(
        ALLOW("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")) },
    { .name = "system:certificates.k8s.io:kube-apiserver-client-approver", .rules = RULES(
        ALLOW_NAMED("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client")) },
    { .name = "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", .rules = RULES(
        ALLOW_NAMED("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet")) },
    { .name = "system:certificates.k8s.io:kubelet-serving-approver", .rules = RULES(
        ALLOW_NAMED("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving")) },
    { .name = "system:certificates.k8s.io:legacy-unknown-approver", .rules = RULES(
        ALLOW_NAMED("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown")) },

    { .ns = "kube-system", .name = "extension-apiserver-authentication-reader", .rules = RULES(
        ALLOW_NAMED(READ, "core", "configmaps", "extension-apiserver-authentication")) },
    { .ns = "kube-system", .name = "system::leader-locking-kube-controller-manager", .rules = RULES(
        ALLOW("watch", "core", "configmaps"),
        ALLOW_NAMED("get update", "core", "configmaps", "kube-controller-manager")) },
    { .ns = "kube-system", .name = "system::leader-locking-kube-scheduler", .rules = RULES(
        ALLOW("watch", "core", "configmaps"),
        ALLOW_NAMED("get update", "core", "configmaps", "kube-scheduler")) },
    { .ns = "kube-system", .name = "system:controller:bootstrap-signer", .rules = RULES(
        ALLOW(READ, "core", "secrets")) },
    { .ns = "kube-system", .name = "system:controller:cloud-provider", .rules = RULES(
        ALLOW("create get list watch", "core", "configmaps")) },
    { .ns = "kube-system", .name = "system:controller:token-cleaner", .rules = RULES(
        ALLOW("delete get list watch", "core", "secrets"),
        ALLOW("create patch update", "core events.k8s.io", "events")) },
    { .ns = "kube-public", .name = "system:controller:bootstrap-signer", .rules = RULES(
        ALLOW(READ, "core", "configmaps"),
        ALLOW_NAMED("update", "core", "configmaps", "cluster-info"),
        ALLOW("create patch update", "core events.k8s.io", "events")) },
};
const size_t policy_roles_n = ARRAY_LEN(policy_roles);

const struct policy_binding policy_bindings[] = {
    { .name = "cluster-admin", .role = "cluster-admin", .groups = "system:masters" },
    { .name = "system:monitoring", .role = "system:monitoring", .groups = "system:monitoring" },
    { .name = "system:discovery", .role = "system:discovery", .groups = "system:authenticated" },
    { .name = "system:basic-user", .role = "system:basic-user", .groups = "system:authenticated" },
    { .name = "system:public-info-viewer", .role = "system:public-info-viewer",
      .groups = "system:authenticated system:unauthenticated" },
    { .name = "system:node-proxier", .role = "system:node-proxier", .users = "system:kube-proxy" },
    { .name = "system:kube-controller-manager", .role = "system:kube-controller-manager",
      .users = "system:kube-controller-manager" },
    { .name = "system:kube-dns", .role = "system:kube-dns", .service_accounts = "kube-dns" },
    { .name = "system:kube-scheduler", .role = "system:kube-scheduler", .users = "system:kube-scheduler" },
    { .name = "system:volume-scheduler", .role = "system:volume-scheduler",
      .users = "system:kube-scheduler" },
    { .name = "system:node", .role = "system:node" },
    { .name = "system:service-account-issuer-discovery",
      .role = "system:service-account-issuer-discovery", .groups = "system:serviceaccounts" },

    { .ns = "kube-system", .name = "system::extension-apiserver-authentication-reader",
      .role = "extension-apiserver-authentication-reader",
      .users = "system:kube-controller-manager system:kube-scheduler" },
    { .ns = "kube-system", .name = "system::leader-locking-kube-controller-manager",
      .role = "system::leader-locking-kube-controller-manager",
      .users = "system:kube-controller-manager", .service_accounts = "kube-controller-manager" },
    { .ns = "kube-system", .name = "system::leader-locking-kube-scheduler",
      .role = "system::leader-locking-kube-scheduler",
      .users = "system:kube-scheduler", .service_accounts = "kube-scheduler" },
    { .ns = "kube-system", .name = "system:controller:bootstrap-signer",
      .role = "system:controller:bootstrap-signer", .service_accounts = "bootstrap-signer" },
    { .ns = "kube-system", .name = "system:controller:cloud-provider",
      .role = "system:controller:cloud-provider", .service_accounts = "cloud-provider" },
    { .ns = "kube-system", .name = "system:controller:token-cleaner",
      .role = "system:controller:token-cleaner", .service_accounts = "token-cleaner" },
    { .ns = "kube-public", .name = "system:controller:bootstrap-signer",
      .role = "system:controller:bootstrap-signer", .service_accounts = "bootstrap-signer" },
};
const size_t policy_bindings_n = ARRAY_LEN(policy_bindings);

const struct policy_controller policy_controllers[] = {
    { "attachdetach-controller", RULES(
        ALLOW("list watch", "core", "persistentvolumeclaims persistentvolumes"),
        ALLOW(READ, "core", "nodes"),
        ALLOW("patch update", "core", "nodes/status"),
        ALLOW("list watch", "core", "pods"),
        EVENTS,
        ALLOW("create delete get list watch", "storage.k8s.io", "volumeattachments"),
        ALLOW(READ, "storage.k8s.io", "csidrivers"),
        ALLOW(READ, "storage.k8s.io", "csinodes")) },
    { "clusterrole-aggregation-controller", RULES(
        ALLOW("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")) },
    { "cronjob-controller", RULES(
        ALLOW("get list update watch", "batch", "cronjobs"),
        ALLOW("create delete get list patch update watch", "batch", "jobs"),
        ALLOW("update", "batch", "cronjobs/status"),
        ALLOW("update", "batch", "cronjobs/finalizers"),
        ALLOW("delete list", "core", "pods"),
        EVENTS) },
    { "daemon-set-controller", RULES(
        ALLOW(READ, "apps extensions", "daemonsets"),
        ALLOW("update", "apps extensions", "daemonsets/status"),
        ALLOW("update", "apps extensions", "daemonsets/finalizers"),
        ALLOW("list watch", "core", "nodes"),
        ALLOW("create delete list patch watch", "core", "pods"),
        ALLOW("create", "core", "pods/binding"),
        ALLOW("create delete get list patch update watch", "apps", "controllerrevisions"),
        EVENTS) },
    { "deployment-controller", RULES(
        ALLOW("get list update watch", "apps extensions", "deployments"),
        ALLOW("update", "apps extensions", "deployments/status"),
        ALLOW("update", "apps extensions", "deployments/finalizers"),
        ALLOW("create delete get list patch update watch", "apps extensions", "replicasets"),
        ALLOW("get list update watch", "core", "pods"),
        EVENTS) },
    { "device-taint-eviction-controller", RULES(
        ALLOW("delete get list watch", "core", "pods"),
        ALLOW("patch update", "core", "pods/status"),
        ALLOW(READ, "resource.k8s.io", "deviceclasses resourceclaims resourceslices"),
        EVENTS) },
    { "disruption-controller", RULES(
        ALLOW(READ, "apps extensions", "deployments"),
        ALLOW(READ, "apps extensions", "replicasets"),
        ALLOW(READ, "core", "replicationcontrollers"),
        ALLOW(READ, "policy", "poddisruptionbudgets"),
        ALLOW(READ, "apps", "statefulsets"),
        ALLOW("update", "policy", "poddisruptionbudgets/status"),
        ALLOW("get list watch", "core", "pods"),
        ALLOW("patch update", "core", "pods/status"),
        ALLOW("get", "*", "*/scale"),
        EVENTS) },
    { "endpoint-controller", RULES(
        ALLOW(READ, "core", "pods services"),
        ALLOW("create delete get list update", "core", "endpoints"),
        ALLOW("create", "core", "endpoints/restricted"),
        EVENTS) },
    { "endpointslice-controller", RULES(
        ALLOW(READ, "core", "nodes pods services"),
        ALLOW("update", "core", "services/finalizers"),
        ALLOW("create delete get list update", "discovery.k8s.io", "endpointslices"),
        ALLOW("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS) },
    { "endpointslicemirroring-controller", RULES(
        ALLOW(READ, "core", "endpoints services"),
        ALLOW("update", "core", "services/finalizers"),
        ALLOW("update", "core", "endpoints/finalizers"),
        ALLOW("create delete get list update", "discovery.k8s.io", "endpointslices"),
        ALLOW("create", "discovery.k8s.io", "endpointslices/restricted"),
        EVENTS) },
    { "ephemeral-volume-controller", RULES(
        ALLOW("update", "core", "pods/finalizers"),
        ALLOW(READ, "core", "pods"),
        ALLOW("create get list watch", "core", "persistentvolumeclaims"),
        EVENTS) },
    { "expand-controller", RULES(
        ALLOW("get list patch update watch", "core", "persistentvolumes"),
        ALLOW("patch update", "core", "persistentvolumeclaims/status"),
        ALLOW(READ, "core", "persistentvolumeclaims"),
        ALLOW(READ, "storage.k8s.io", "storageclasses"),
        ALLOW("get", "core", "endpoints services"),
        ALLOW("get", "core", "secrets"),
        EVENTS) },
    { "generic-garbage-collector", RULES(
        ALLOW("delete get list patch update watch", "*", "*"),
        EVENTS) },
    { "horizontal-pod-autoscaler", RULES(
        ALLOW(READ, "autoscaling", "horizontalpodautoscalers"),
        ALLOW("update", "autoscaling", "horizontalpodautoscalers/status"),
        ALLOW("get update", "*", "*/scale"),
        ALLOW("list", "core", "pods"),
        ALLOW("list", "metrics.k8s.io", "pods"),
        ALLOW("get list", "custom.metrics.k8s.io", "*"),
        ALLOW("get list", "external.metrics.k8s.io", "*"),
        EVENTS) },
    { "job-controller", RULES(
        ALLOW("get list patch update watch", "batch", "jobs"),
        ALLOW("patch update", "batch", "jobs/status"),
        ALLOW("update", "batch", "jobs/finalizers"),
        ALLOW("create delete list patch watch", "core", "pods"),
        EVENTS) },
    { "legacy-service-account-token-cleaner", RULES(
        ALLOW_NAMED("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
        ALLOW("delete patch", "core", "secrets")) },
    { "namespace-controller", RULES(
        ALLOW("delete get list watch", "core", "namespaces"),
        ALLOW("update", "core", "namespaces/finalize namespaces/status"),
        ALLOW("delete deletecollection get list", "*", "*"),
        EVENTS) },
    { "node-controller", RULES(
        ALLOW("delete get list patch update", "core", "nodes"),
        ALLOW("patch update", "core", "nodes/status"),
        ALLOW("patch update", "core", "pods/status"),
        ALLOW("delete get list", "core", "pods"),
        EVENTS) },
    { "persistent-volume-binder", RULES(
        ALLOW("create delete get list update watch", "core", "persistentvolumes"),
        ALLOW("update", "core", "persistentvolumes/status"),
        ALLOW("get list update watch", "core", "persistentvolumeclaims"),
        ALLOW("update", "core", "persistentvolumeclaims/status"),
        ALLOW("create delete get list watch", "core", "pods"),
        ALLOW(READ, "storage.k8s.io", "storageclasses"),
        ALLOW("create delete get update", "core", "endpoints services"),
        ALLOW("get list", "core", "secrets"),
        ALLOW("get list watch", "core", "nodes"),
        EVENTS) },
    { "pod-garbage-collector", RULES(
        ALLOW("delete list watch", "core", "pods"),
        ALLOW("get list", "core", "nodes"),
        ALLOW("patch update", "core", "pods/status"),
        EVENTS) },
    { "pv-protection-controller", RULES(
        ALLOW("get list update watch", "core", "persistentvolumes"),
        EVENTS) },
    { "pvc-protection-controller", RULES(
        ALLOW("get list update watch", "core", "persistentvolumeclaims"),
        ALLOW(READ, "core", "pods"),
        EVENTS) },
    { "replicaset-controller", RULES(
        ALLOW("get list update watch", "apps extensions", "replicasets"),
        ALLOW("update", "apps extensions", "replicasets/status"),
        ALLOW("update", "apps extensions", "replicasets/finalizers"),
        ALLOW("create delete list patch watch", "core", "pods"),
        EVENTS) },
    { "replication-controller", RULES(
        ALLOW("get list update watch", "core", "replicationcontrollers"),
        ALLOW("update", "core", "replicationcontrollers/status"),
        ALLOW("update", "core", "replicationcontrollers/finalizers"),
        ALLOW("create delete list patch watch", "core", "pods"),
        EVENTS) },
    { "resource-claim-controller", RULES(
        ALLOW(READ, "resource.k8s.io", "resourceclaimtemplates"),
        ALLOW("create delete get list update watch", "resource.k8s.io", "resourceclaims"),
        ALLOW("patch update", "resource.k8s.io", "resourceclaims/status"),
        ALLOW("update", "core", "pods/finalizers"),
        ALLOW(READ, "core", "pods"),
        ALLOW("patch update", "core", "pods/status"),
        EVENTS) },
    { "resourcequota-controller", RULES(
        ALLOW("list watch", "*", "*"),
        ALLOW("update", "core", "resourcequotas/status"),
        EVENTS) },
    { "root-ca-cert-publisher", RULES(
        ALLOW("create update", "core", "configmaps"),
        EVENTS) },
    { "route-controller", RULES(
        ALLOW("list watch", "core", "nodes"),
        ALLOW("patch", "core", "nodes/status"),
        EVENTS) },
    { "selinux-warning-controller", RULES(
        ALLOW(READ, "core", "persistentvolumeclaims persistentvolumes pods"),
        ALLOW(READ, "storage.k8s.io", "csidrivers"),
        EVENTS) },
    { "service-account-controller", RULES(
        ALLOW("create", "core", "serviceaccounts"),
        EVENTS) },
    { "service-cidrs-controller", RULES(
        ALLOW("get list patch update watch", "networking.k8s.io", "servicecidrs"),
        ALLOW("patch update", "networking.k8s.io", "servicecidrs/finalizers"),
        ALLOW("patch update", "networking.k8s.io", "servicecidrs/status"),
        ALLOW(READ, "networking.k8s.io", "ipaddresses"),
        EVENTS) },
    { "service-controller", RULES(
        ALLOW(READ, "core", "services"),
        ALLOW("patch update", "core", "services/status"),
        ALLOW("list watch", "core", "nodes"),
        EVENTS) },
    { "statefulset-controller", RULES(
        ALLOW("list watch", "core", "pods"),
        ALLOW(READ, "apps", "statefulsets"),
        ALLOW("update", "apps", "statefulsets/status"),
        ALLOW("update", "apps", "statefulsets/finalizers"),
        ALLOW("create delete get patch update", "core", "pods"),
        ALLOW("create delete get list patch update watch", "apps", "controllerrevisions"),
        ALLOW("create get", "core", "persistentvolumeclaims"),
        ALLOW("delete update", "core", "persistentvolumeclaims"),
        EVENTS) },
    { "taint-eviction-controller", RULES(
        ALLOW("delete get list", "core", "pods"),
        ALLOW("patch", "core", "pods/status"),
        ALLOW("get", "core", "nodes"),
        EVENTS) },
    { "ttl-after-finished-controller", RULES(
        ALLOW("delete get list watch", "batch", "jobs"),
        EVENTS) },
    { "ttl-controller", RULES(
        ALLOW("list patch update watch", "core", "nodes"),
        EVENTS) },
    { "validatingadmissionpolicy-status-controller", RULES(
        ALLOW(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ALLOW("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        EVENTS) },
    { "volumeattributesclass-protection-controller", RULES(
        ALLOW(READ, "core", "persistentvolumeclaims"),
        ALLOW(READ, "core", "persistentvolumes"),
        ALLOW("get list update watch", "storage.k8s.io", "volumeattributesclasses"),
        EVENTS) },
    { "certificate-controller", RULES(
        ALLOW("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
        ALLOW("update", "certificates.k8s.io",
          "certificatesigningrequests/approval certificatesigningrequests/status"),
        ALLOW_NAMED("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
        ALLOW_NAMED("sign", "certificates.k8s.io", "signers",
                    "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet "
                    "kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown"),
        ALLOW("create", "authorization.k8s.io", "subjectaccessreviews"),
        EVENTS) },
};
const size_t policy_controllers_n = ARRAY_LEN(policy_controllers);

/* clang-format on */

#define AGGREGATE_LABEL "rbac.authorization.k8s.io/aggregate-to-"
#define RBAC_GROUP      "rbac.authorization.k8s.io"

/* "a b" -> ["a","b"]; "core" is the group "". */
static struct json words_json(const char *words, struct arena *a)
{
    struct json *list = json_new(a, JSON_ARRAY);
    for (const char *w = words; w && *w;) {
        size_t n = strcspn(w, " ");
        const char *word = n == 4 && memcmp(w, "core", 4) == 0 ? "" : arena_strndup(a, w, n);
        json_append(a, list, json_string_value(a, word));
        w += n + (w[n] == ' ');
    }
    return *list;
}

static void put_words(struct json *rule, const char *name, const char *words, struct arena *a)
{
    if (words)
        json_set_static(a, rule, name, words_json(words, a));
}

static void append_rules(struct json *list, const struct policy_rule *rules, struct arena *a)
{
    for (const struct policy_rule *r = rules; r && r->verbs; r++) {
        struct json *rule = json_append(a, list, *json_new(a, JSON_OBJECT));
        put_words(rule, "verbs", r->verbs, a);
        put_words(rule, "apiGroups", r->groups, a);
        put_words(rule, "resources", r->resources, a);
        put_words(rule, "resourceNames", r->names, a);
        put_words(rule, "nonResourceURLs", r->urls, a);
    }
}

struct json *policy_rules_json(const struct policy_rule *rules, struct arena *a)
{
    struct json *list = json_new(a, JSON_ARRAY);
    append_rules(list, rules, a);
    return list;
}

/* The rules of every role that is aggregated to NAME; they may be aggregates themselves. */
static void append_aggregated(struct json *list, const char *name, struct arena *a)
{
    for (size_t i = 0; i < policy_roles_n; i++) {
        const struct policy_role *r = &policy_roles[i];
        if (!str_equal(r->aggregate_to, name) || !r->aggregate_to)
            continue;
        if (r->aggregates)
            append_aggregated(list, r->aggregates, a);
        else
            append_rules(list, r->rules, a);
    }
}

static struct json *new_doc(const struct resource *r, const struct object_key *key, struct arena *a)
{
    char version[64];
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "apiVersion", resource_api_version(r, version, sizeof(version)));
    json_put_str(a, doc, "kind", r->kind);
    json_put_str(a, doc, "metadata.name", key->name);
    if (*key->ns)
        json_put_str(a, doc, "metadata.namespace", key->ns);
    struct json *metadata = json_find(doc, "metadata");
    struct json *labels = json_set(a, metadata, "labels", *json_new(a, JSON_OBJECT));
    json_set(a, labels, "kubernetes.io/bootstrapping", json_string_value(a, "rbac-defaults"));
    struct json *annotations = json_set(a, metadata, "annotations", *json_new(a, JSON_OBJECT));
    json_set(a, annotations, "rbac.authorization.kubernetes.io/autoupdate",
             json_string_value(a, "true"));
    return doc;
}

static struct json *role_doc(const struct policy_role *role, const struct resource *r,
                             const struct object_key *key, struct arena *a)
{
    struct json *doc = new_doc(r, key, a);
    struct json *rules = json_new(a, JSON_ARRAY);
    if (role->aggregate_to)
        json_set(a, json_find(doc, "metadata.labels"),
                 arena_printf(a, AGGREGATE_LABEL "%s", role->aggregate_to),
                 json_string_value(a, "true"));
    if (role->aggregates) {
        struct json *selectors = json_new(a, JSON_ARRAY);
        struct json *selector = json_append(a, selectors, *json_new(a, JSON_OBJECT));
        json_set(a, json_set_static(a, selector, "matchLabels", *json_new(a, JSON_OBJECT)),
                 arena_printf(a, AGGREGATE_LABEL "%s", role->aggregates),
                 json_string_value(a, "true"));
        json_put(a, doc, "aggregationRule.clusterRoleSelectors", *selectors);
        append_aggregated(rules, role->aggregates, a);
    } else {
        append_rules(rules, role->rules, a);
    }
    json_set(a, doc, "rules", *rules);
    return doc;
}

static void append_subjects(struct json *list, const char *kind, const char *names, struct arena *a)
{
    const struct json words = words_json(names, a);
    bool is_account = str_equal(kind, "ServiceAccount");
    json_each_item (&words, word) {
        struct json *s = json_append(a, list, *json_new(a, JSON_OBJECT));
        json_put_str(a, s, "kind", kind);
        if (is_account)
            json_put_str(a, s, "namespace", "kube-system");
        else
            json_put_str(a, s, "apiGroup", RBAC_GROUP);
        json_put_str(a, s, "name", json_text(word));
    }
}

static struct json *binding_doc(const struct policy_binding *b, const struct resource *r,
                                const struct object_key *key, struct arena *a)
{
    struct json *doc = new_doc(r, key, a);
    json_put_str(a, doc, "roleRef.apiGroup", RBAC_GROUP);
    json_put_str(a, doc, "roleRef.kind", b->ns ? "Role" : "ClusterRole");
    json_put_str(a, doc, "roleRef.name", b->role);
    struct json *subjects = json_new(a, JSON_ARRAY);
    append_subjects(subjects, "User", b->users, a);
    append_subjects(subjects, "Group", b->groups, a);
    append_subjects(subjects, "ServiceAccount", b->service_accounts, a);
    if (subjects->len)
        json_set(a, doc, "subjects", *subjects);
    return doc;
}

typedef void policy_fn(const struct resource *r, const struct object_key *key, struct json *doc,
                       struct arena *a, void *arg);

static void each_role(const struct policy_role *role, struct arena *a, policy_fn *fn, void *arg)
{
    const struct resource *r = &resources[role->ns ? RESOURCE_ROLES : RESOURCE_CLUSTERROLES];
    struct object_key key = { role->ns ? role->ns : "", role->name };
    fn(r, &key, role_doc(role, r, &key, a), a, arg);
    arena_reset(a);
}

static void each_binding(const struct policy_binding *b, struct arena *a, policy_fn *fn, void *arg)
{
    const struct resource *r =
        &resources[b->ns ? RESOURCE_ROLEBINDINGS : RESOURCE_CLUSTERROLEBINDINGS];
    struct object_key key = { b->ns ? b->ns : "", b->name };
    fn(r, &key, binding_doc(b, r, &key, a), a, arg);
    arena_reset(a);
}

void policy_each(policy_fn *fn, void *arg)
{
    scoped(arena) struct arena *a = arena_new();
    for (size_t i = 0; i < policy_roles_n; i++)
        each_role(&policy_roles[i], a, fn, arg);
    for (size_t i = 0; i < policy_bindings_n; i++)
        each_binding(&policy_bindings[i], a, fn, arg);
    for (size_t i = 0; i < policy_controllers_n; i++) {
        const struct policy_controller *c = &policy_controllers[i];
        char name[128];
        snprintf(name, sizeof(name), "system:controller:%s", c->name);
        each_role(&(struct policy_role){ .name = name, .rules = c->rules }, a, fn, arg);
        each_binding(
            &(struct policy_binding){ .name = name, .role = name, .service_accounts = c->name }, a,
            fn, arg);
    }
}
