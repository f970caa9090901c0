/* SPDX-License-Identifier: Apache-2.0 */
/* validate_storage.c - volumes, claims, classes, and what CSI drivers say of themselves. */

#include "api/quantity.h"
#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

#define PARAMETERS_MAX       512
#define PARAMETERS_BYTES_MAX (256 * 1024)

#define ACCESS_MODES "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"

static const struct json empty_text = { .type = JSON_STRING, .string = "" };

static int sign_of(const struct json *value)
{
    struct quantity q, zero = { 0 };
    return json_text(value) && quantity_parse(value->string, &q) == 0 ? quantity_compare(&q, &zero)
                                                                      : 0;
}

/* ---- what volumes and claims share ---- */

static void check_access_modes(struct field_errors *v, const struct place *at,
                               const struct json *modes)
{
    static const char *const known[] = { ACCESS_MODES, NULL };
    bool has_single = false;
    json_each_item (modes, mode) {
        bool is_known = false;
        for (size_t i = 0; known[i]; i++)
            is_known |= str_equal(json_text(mode), known[i]);
        if (!is_known)
            fail_not_supported(v, at, mode, known); /* upstream names the list, not the item */
        has_single |= str_equal(json_text(mode), "ReadWriteOncePod");
    }
    if (has_single && modes->len > 1)
        fail(v, at, FIELD_FORBIDDEN, NULL, "may not use ReadWriteOncePod with other access modes");
}

static void check_one_source(struct field_errors *v, const struct place *at,
                             const struct json *spec)
{
    static const char *const others[] = { "capacity",
                                          "accessModes",
                                          "claimRef",
                                          "persistentVolumeReclaimPolicy",
                                          "storageClassName",
                                          "mountOptions",
                                          "volumeMode",
                                          "nodeAffinity",
                                          "volumeAttributesClassName" };
    size_t sources = 0;
    json_each_member (spec, m) {
        bool is_source = m->value.type == JSON_OBJECT;
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
            is_source &= strcmp(m->name, others[i]) != 0;
        if (is_source && sources++ > 0)
            fail_field(v, at, m->name, FIELD_FORBIDDEN, NULL,
                       "may not specify more than 1 volume type");
    }
    if (sources == 0)
        fail(v, at, FIELD_REQUIRED, NULL, "must specify a volume type");
}

/* ---- PersistentVolume ---- */

static void check_capacity(struct field_errors *v, const struct place *at,
                           const struct json *capacity)
{
    static const char *const supported[] = { "storage", NULL };
    struct place storage = place_key(at, "storage");
    if (json_len(capacity, "") == 0)
        return;
    if (!json_get(capacity, "storage") || capacity->len > 1)
        fail_not_supported(v, at, capacity, supported);
    else if (sign_of(json_get(capacity, "storage")) <= 0)
        fail(v, &storage, FIELD_INVALID, json_get(capacity, "storage"),
             "must be greater than zero");
}

static void check_required_affinity(struct field_errors *v, const struct place *at,
                                    const struct json *required)
{
    if (!required)
        fail(v, at, FIELD_REQUIRED, NULL, "must specify required node constraints");
    validate_node_selector(v, at, required);
}

static void check_volume(struct field_errors *v, const struct place *at, const struct json *spec)
{
    if (json_get(spec, "local") && !json_get(spec, "nodeAffinity"))
        fail_field(v, at, "nodeAffinity", FIELD_REQUIRED, NULL,
                   "Local volume requires node affinity");
    if (str_equal(json_str(spec, "hostPath.path", ""), "/") &&
        str_equal(json_str(spec, "persistentVolumeReclaimPolicy", ""), "Recycle"))
        fail_field(v, at, "persistentVolumeReclaimPolicy", FIELD_FORBIDDEN, NULL,
                   "may not be 'recycle' for a hostPath mount of '/'");
    if (json_get(spec, "volumeAttributesClassName") && !json_get(spec, "csi"))
        fail_field(v, at, "csi", FIELD_REQUIRED, NULL,
                   "has to be specified when using volumeAttributesClassName");
}

static void check_source_kept(struct field_errors *v, const struct place *at,
                              const struct json *old, const struct json *new)
{
    static const char *const sources[] = { "hostPath", "local", "nfs", "csi", "iscsi", "fc" };
    bool is_kept = true;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        const struct json *had = json_get(old, sources[i]), *has = json_get(new, sources[i]);
        if (had && !json_get(had, "controllerExpandSecretRef") &&
            json_get(has, "controllerExpandSecretRef"))
            continue;
        is_kept &= had && has ? json_equal(had, has) : had == has;
    }
    if (!is_kept)
        fail_field(v, at, "persistentvolumesource", FIELD_FORBIDDEN, NULL,
                   "spec.persistentvolumesource is immutable after creation");
}

static void check_volume_kept(struct field_errors *v, const struct place *at,
                              const struct json *old, const struct json *new)
{
    (void)at; /* upstream reports these two at the root */
    check_immutable(v, NULL, old, new, "volumeMode");
    if (json_get(old, "nodeAffinity"))
        check_immutable(v, NULL, old, new, "nodeAffinity");
}

static const struct rule csi_source_rules[] = {
    REQUIRED("driver"),
    BYTES_MAX("driver", 63),
    FORMAT("driver", driver_name_fault),
    REQUIRED("volumeHandle"),
    REQUIRED_FORMAT("controllerPublishSecretRef?.name", dns_subdomain_fault),
    REQUIRED_FORMAT("controllerPublishSecretRef?.namespace", dns_label_fault),
    REQUIRED_FORMAT("nodeStageSecretRef?.name", dns_subdomain_fault),
    REQUIRED_FORMAT("nodeStageSecretRef?.namespace", dns_label_fault),
    REQUIRED_FORMAT("nodePublishSecretRef?.name", dns_subdomain_fault),
    REQUIRED_FORMAT("nodePublishSecretRef?.namespace", dns_label_fault),
    RULES_END,
};

const struct rule persistent_volume_rules[] = {
    REQUIRED("spec.accessModes"),
    BLOCK("spec.accessModes", check_access_modes),
    REQUIRED("spec.capacity"),
    BLOCK("spec.capacity", check_capacity),
    ONE_OF("spec.persistentVolumeReclaimPolicy", "Delete", "Recycle", "Retain"),
    BLOCK("spec.nodeAffinity?.required", check_required_affinity),
    REQUIRED("spec.hostPath?.path"),
    FORMAT("spec.hostPath?.path", backsteps_fault),
    REQUIRED("spec.local?.path"),
    FORMAT("spec.local?.path", backsteps_fault),
    REQUIRED("spec.nfs?.server"),
    REQUIRED("spec.nfs?.path"),
    RULES("spec.csi?", csi_source_rules),
    BLOCK("spec", check_one_source),
    BLOCK("spec", check_volume),
    FORMAT("spec.storageClassName", dns_subdomain_fault),
    ONE_OF("spec.volumeMode", "Block", "Filesystem"),
    FORMAT("spec.volumeAttributesClassName", dns_subdomain_fault),
    UPDATE("spec", check_source_kept),
    UPDATE("spec", check_volume_kept),
    RULES_END,
};

/* ---- PersistentVolumeClaim ---- */

static void check_claim_size(struct field_errors *v, const struct place *at,
                             const struct json *wanted)
{
    const struct json *storage = json_get(json_get(wanted, "requests"), "storage");
    struct place size = place_key(at, "storage");
    if (!storage)
        fail(v, &size, FIELD_REQUIRED, NULL, "");
    else if (sign_of(storage) <= 0)
        fail(v, &size, FIELD_INVALID, storage, "must be greater than zero");
}

static void check_data_source(struct field_errors *v, const struct place *at,
                              const struct json *source)
{
    const struct json *kind = json_get(source, "kind");
    if (str_empty(json_str(source, "apiGroup", "")) && json_text(kind) &&
        !str_equal(kind->string, "PersistentVolumeClaim"))
        fail(v, at, FIELD_INVALID, kind,
             "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
}

static const struct rule data_source_rules[] = {
    REQUIRED("name"),
    REQUIRED("kind"),
    BLOCK("", check_data_source),
    FORMAT("apiGroup", dns_subdomain_fault),
    FORMAT("namespace", dns_label_fault),
    RULES_END,
};

const struct rule claim_spec_rules[] = {
    REQUIRED_BECAUSE("accessModes", "at least 1 access mode is required"),
    BLOCK("selector", validate_label_selector),
    BLOCK("accessModes", check_access_modes),
    BLOCK("resources", check_claim_size),
    FORMAT("storageClassName", dns_subdomain_fault),
    ONE_OF("volumeMode", "Block", "Filesystem"),
    RULES("dataSource?", data_source_rules),
    RULES("dataSourceRef?", data_source_rules),
    FORMAT("volumeAttributesClassName", dns_subdomain_fault),
    RULES_END,
};

/* Fields that may be set once, or of a bound claim changed. */
static bool may_change_in_claim(const struct json *old, const char *name, bool is_bound)
{
    const struct json *had = json_get(old, name);
    if (strcmp(name, "volumeName") == 0)
        return str_empty(json_text(had));
    if (strcmp(name, "storageClassName") == 0)
        return !had;
    return is_bound &&
           (strcmp(name, "resources") == 0 || strcmp(name, "volumeAttributesClassName") == 0);
}

static bool is_claim_spec_kept(const struct json *old, const struct json *new, bool is_bound)
{
    json_each_member (new, m) {
        const struct json *had = json_get(old, m->name);
        if ((!had || !json_equal(had, &m->value)) && !may_change_in_claim(old, m->name, is_bound))
            return false;
    }
    json_each_member (old, m) {
        if (!json_get(new, m->name) && !may_change_in_claim(old, m->name, is_bound))
            return false;
    }
    return true;
}

static int compare_sizes(const struct json *a, const struct json *b)
{
    struct quantity x, y;
    if (!json_text(a) || !json_text(b) || quantity_parse(a->string, &x) < 0 ||
        quantity_parse(b->string, &y) < 0)
        return 0;
    return quantity_compare(&x, &y);
}

static void check_claim_kept(struct field_errors *v, const struct place *at, const struct json *old,
                             const struct json *new)
{
    const struct json *had = json_get(old, "spec"), *has = json_get(new, "spec");
    const struct json *size = json_at(has, "resources.requests.storage"),
                      *old_size = json_at(had, "resources.requests.storage");
    struct place spec = place_in(at, "spec"), wanted = place_in(&spec, "resources"),
                 requests = place_in(&wanted, "requests");
    bool is_bound = str_equal(json_str(old, "status.phase", ""), "Bound");
    if (!is_claim_spec_kept(had, has, is_bound))
        fail(v, &spec, FIELD_FORBIDDEN, NULL,
             "spec is immutable after creation except resources.requests and "
             "volumeAttributesClassName for bound claims");
    const struct json *provided = json_at(old, "status.capacity.storage");
    if (provided && compare_sizes(size, old_size) < 0 && compare_sizes(size, provided) <= 0)
        fail_field(v, &requests, "storage", FIELD_FORBIDDEN, NULL,
                   "field can not be less than status.capacity");
    check_immutable(v, NULL, had, has, "volumeMode");
}

const struct rule persistent_volume_claim_rules[] = {
    RULES("spec", claim_spec_rules),
    UPDATE("", check_claim_kept),
    RULES_END,
};

static void check_amount(struct field_errors *v, const struct place *at, const struct json *amount)
{
    if (sign_of(amount) < 0)
        fail(v, at, FIELD_INVALID, amount, "must be greater than or equal to 0");
}

const struct rule persistent_volume_claim_status_rules[] = {
    BLOCK("status.capacity[*]", check_amount),
    RULES_END,
};

/* ---- classes ---- */

static void check_parameters(struct field_errors *v, const struct place *at,
                             const struct json *parameters)
{
    size_t bytes = 0;
    if (json_len(parameters, "") > PARAMETERS_MAX)
        fail(v, at, FIELD_TOO_LONG, NULL, "may not be more than 512 bytes");
    json_each_member (parameters, m) {
        if (!*m->name)
            fail(v, at, FIELD_INVALID, &empty_text, "field can not be empty.");
        bytes += strlen(m->name) + m->value.len;
    }
    if (bytes > PARAMETERS_BYTES_MAX)
        fail(v, at, FIELD_TOO_LONG, NULL, "may not be more than 262144 bytes");
}

static const struct rule topology_rules[] = {
    FORMAT("key", label_key_fault),
    REQUIRED("values"),
    UNIQUE("values", ""),
    RULES_END,
};

const struct rule storage_class_rules[] = {
    REQUIRED_FORMAT("provisioner", lower_label_key_fault),
    BLOCK("parameters", check_parameters),
    ONE_OF("reclaimPolicy", "Delete", "Retain"),
    REQUIRED_ONE_OF("volumeBindingMode", "Immediate", "WaitForFirstConsumer"),
    RULES("allowedTopologies[*].matchLabelExpressions[*]", topology_rules),
    UNIQUE("allowedTopologies[*].matchLabelExpressions", "key"),
    IMMUTABLE("parameters"),
    IMMUTABLE("provisioner"),
    IMMUTABLE("reclaimPolicy"),
    IMMUTABLE("volumeBindingMode"),
    RULES_END,
};

static void check_class_kept(struct field_errors *v, const struct place *at, const struct json *old,
                             const struct json *new)
{
    static const char *const fields[] = { "driverName", "parameters" };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct json *had = json_get(old, fields[i]), *has = json_get(new, fields[i]);
        if (had && has ? !json_equal(had, has) : had != has) {
            char detail[64];
            snprintf(detail, sizeof(detail), "updates to %s are forbidden.", fields[i]);
            fail_field(v, at, fields[i], FIELD_FORBIDDEN, NULL, detail);
        }
    }
}

const struct rule volume_attributes_class_rules[] = {
    REQUIRED_FORMAT("driverName", lower_label_key_fault),
    REQUIRED_BECAUSE("parameters", "must contain at least one key/value pair"),
    BLOCK("parameters", check_parameters),
    UPDATE("", check_class_kept),
    RULES_END,
};

/* ---- VolumeAttachment ---- */

static void check_attachment_source(struct field_errors *v, const struct place *at,
                                    const struct json *source)
{
    static const char detail[] =
        "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    const struct json *name = json_get(source, "persistentVolumeName");
    const struct json *spec = json_get(source, "inlineVolumeSpec");
    if (!name && !spec)
        fail(v, at, FIELD_REQUIRED, NULL, detail);
    else if (name && spec)
        fail(v, at, FIELD_FORBIDDEN, NULL, detail);
    else if (name && str_empty(json_text(name)))
        fail_field(v, at, "persistentVolumeName", FIELD_REQUIRED, NULL,
                   "must specify non empty persistentVolumeName");
}

const struct rule volume_attachment_rules[] = {
    REQUIRED("spec.attacher"),
    BYTES_MAX("spec.attacher", 63),
    FORMAT("spec.attacher", driver_name_fault),
    BLOCK("spec.source", check_attachment_source),
    REQUIRED_FORMAT("spec.nodeName", dns_subdomain_fault),
    BYTES_MAX("status.attachError.message", 1024),
    BYTES_MAX("status.detachError.message", 1024),
    IMMUTABLE("spec"),
    RULES_END,
};

/* ---- CSI ---- */

static void check_node_id(struct field_errors *v, const struct place *at, const struct json *id)
{
    if (json_is(id, JSON_STRING) && id->len > 256)
        fail(v, at, FIELD_INVALID, id, "must be 256 characters or less");
}

static const struct rule csi_node_driver_rules[] = {
    REQUIRED("name"),
    BYTES_MAX("name", 63),
    FORMAT("name", driver_name_fault),
    REQUIRED("nodeID"),
    BLOCK("nodeID", check_node_id),
    NOT_NEGATIVE("allocatable.count"),
    FORMAT("topologyKeys[*]", label_key_fault),
    UNIQUE("topologyKeys", ""),
    RULES_END,
};

/* A driver may come and go; one that stays may change what it can attach only. */
static void check_drivers_kept(struct field_errors *v, const struct place *at,
                               const struct json *old, const struct json *new)
{
    static const char *const fixed[] = { "nodeID", "topologyKeys" };
    size_t i = 0;
    json_each_item (new, driver) {
        struct place p = place_item(at, i++);
        json_each_item (old, before) {
            if (str_equal(json_str(before, "name", ""), json_str(driver, "name", "")))
                for (size_t f = 0; f < ARRAY_LEN(fixed); f++)
                    check_immutable(v, &p, before, driver, fixed[f]);
        }
    }
}

const struct rule csi_node_rules[] = {
    RULES("spec.drivers[*]", csi_node_driver_rules),
    UNIQUE("spec.drivers", "name"),
    UPDATE("spec.drivers", check_drivers_kept),
    RULES_END,
};

static void check_token_in_secrets(struct field_errors *v, const struct place *at,
                                   const struct json *spec)
{
    const struct json *in_secrets = json_get(spec, "serviceAccountTokenInSecrets");
    if (in_secrets && json_len(spec, "tokenRequests") == 0)
        fail_field(v, at, "serviceAccountTokenInSecrets", FIELD_INVALID, in_secrets,
                   "must be unset when no tokenRequests are specified");
}

const struct rule csi_driver_rules[] = {
    REQUIRED("spec.attachRequired"),
    REQUIRED("spec.podInfoOnMount"),
    REQUIRED("spec.storageCapacity"),
    ONE_OF("spec.fsGroupPolicy", "File", "None", "ReadWriteOnceWithFSType"),
    UNIQUE("spec.tokenRequests", "audience"),
    RANGE("spec.tokenRequests[*].expirationSeconds", 600, INT64_C(1) << 32,
          "may not specify a duration less than 10 minutes or larger than 2^32 seconds"),
    ONE_OF("spec.volumeLifecycleModes[*]", "Ephemeral", "Persistent"),
    RANGE("spec.nodeAllocatableUpdatePeriodSeconds", 10, INT64_MAX,
          "must be greater than or equal to 10 seconds"),
    BLOCK("spec", check_token_in_secrets),
    IMMUTABLE("spec.attachRequired"),
    IMMUTABLE("spec.volumeLifecycleModes"),
    RULES_END,
};

const struct rule csi_storage_capacity_rules[] = {
    BLOCK("nodeTopology", validate_label_selector),
    REQUIRED_FORMAT("storageClassName", dns_subdomain_fault),
    BLOCK("capacity", check_amount),
    IMMUTABLE("nodeTopology"),
    IMMUTABLE("storageClassName"),
    RULES_END,
};
