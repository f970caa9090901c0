/* SPDX-License-Identifier: Apache-2.0 */
/* validate_volume.c - the sources of a pod's volumes, and references to its own fields. */

#include "api/quantity.h"
#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"

void validate_field_ref(struct field_errors *v, const struct place *at, const struct json *ref,
                        const char *const *known)
{
    static const char *const labels[] = {
        "metadata.annotations", "metadata.labels", "metadata.name",           "metadata.namespace",
        "metadata.uid",         "spec.nodeName",   "spec.serviceAccountName", "spec.restartPolicy",
        "spec.schedulerName",   "status.phase",    "status.hostIP",           "status.hostIPs",
        "status.podIP",         "status.podIPs",
    };
    const char *path = json_str(ref, "fieldPath", "");
    bool is_label = false;
    check_required(v, at, ref, "fieldPath");
    if (!*path || str_has_prefix(path, "metadata.labels['") ||
        str_has_prefix(path, "metadata.annotations['"))
        return;
    for (size_t i = 0; i < ARRAY_LEN(labels); i++)
        is_label |= str_equal(path, labels[i]);
    if (is_label)
        check_one_of(v, at, ref, "fieldPath", known, false);
    else
        fail_field(v, at, "fieldPath", FIELD_INVALID, json_get(ref, "fieldPath"),
                   arena_printf(v->arena,
                                "error converting fieldPath: field label not supported: %s", path));
}

void validate_resource_ref(struct field_errors *v, const struct place *at, const struct json *ref)
{
    static const char *const known[] = { "limits.cpu",
                                         "limits.ephemeral-storage",
                                         "limits.memory",
                                         "requests.cpu",
                                         "requests.ephemeral-storage",
                                         "requests.memory",
                                         NULL };
    const char *resource = json_str(ref, "resource", "");
    if (str_has_prefix(resource, "limits.hugepages-") ||
        str_has_prefix(resource, "requests.hugepages-"))
        return;
    check_one_of(v, at, ref, "resource", known, true);
}

static const char *volume_path_fault(const char *s)
{
    if (str_has_prefix(s, ".."))
        return "must not start with '..'";
    return relative_path_fault(s);
}

#define FILE_MODE(p)                                                                               \
    RANGE(p, 0, 0777, "must be a number between 0 and 0777 (octal), both inclusive")

static const char *absolute_path_fault(const char *path)
{
    return *path == '/' ? NULL : "must be an absolute path";
}

static const struct rule key_path_rules[] = {
    REQUIRED("key"),
    REQUIRED_FORMAT("path", volume_path_fault),
    FILE_MODE("mode"),
    RULES_END,
};

/* Upstream leaves the item's index out of these paths. */
static void check_downward_item(struct field_errors *v, const struct place *at,
                                const struct json *item)
{
    static const char *const known[] = { "metadata.annotations", "metadata.labels", "metadata.name",
                                         "metadata.namespace",   "metadata.uid",    NULL };
    static const struct rule common_rules[] = {
        REQUIRED_FORMAT("path", volume_path_fault),
        FILE_MODE("mode"),
        RULES_END,
    };
    const struct json *field = json_get(item, "fieldRef"),
                      *amount = json_get(item, "resourceFieldRef");
    struct place field_at = place_in(at, "fieldRef"), amount_at = place_in(at, "resourceFieldRef");
    static const struct json resource = { .type = JSON_STRING, .len = 8, .string = "resource" };
    check_rules(v, at, NULL, item, common_rules);
    if (field) {
        validate_field_ref(v, &field_at, field, known);
        if (amount)
            fail(v, at, FIELD_INVALID, &resource,
                 "fieldRef and resourceFieldRef can not be specified simultaneously");
    } else if (amount) {
        check_required(v, &amount_at, amount, "containerName");
        validate_resource_ref(v, &amount_at, amount);
    } else {
        fail(v, at, FIELD_REQUIRED, NULL, "one of fieldRef and resourceFieldRef is required");
    }
}

static void check_downward_items(struct field_errors *v, const struct place *at,
                                 const struct json *source)
{
    json_each_item (json_get(source, "items"), item) {
        check_downward_item(v, at, item);
    }
}

static void check_token_source(struct field_errors *v, const struct place *at,
                               const struct json *projected)
{
    static const struct rule path_rules[] = {
        REQUIRED_FORMAT("path", volume_path_fault),
        RULES_END,
    };
    json_each_item (json_get(projected, "sources"), source) {
        const struct json *token = json_get(source, "serviceAccountToken");
        if (token)
            check_rules(v, at, NULL, token, path_rules);
    }
}

static void check_one_projection(struct field_errors *v, const struct place *at,
                                 const struct json *source)
{
    size_t n = 0;
    json_each_member (source, m) {
        struct place p = place_in(at, m->name);
        if (n++ > 0)
            fail(v, &p, FIELD_FORBIDDEN, NULL, "may not specify more than 1 volume type");
    }
}

static void check_size_limit(struct field_errors *v, const struct place *at,
                             const struct json *limit)
{
    struct quantity q, none = { 0 };
    if (json_text(limit) && quantity_parse(limit->string, &q) == 0 &&
        quantity_compare(&q, &none) < 0)
        fail(v, at, FIELD_FORBIDDEN, NULL, "SizeLimit field must be a valid resource quantity");
}

static void check_claim_template(struct field_errors *v, const struct place *at,
                                 const struct json *template)
{
    struct place spec = place_in(at, "spec");
    if (!template)
        fail(v, at, FIELD_REQUIRED, NULL, "");
    else
        check_rules(v, &spec, NULL, json_get(template, "spec"), claim_spec_rules);
}

const struct rule volume_rules[] = {
    REQUIRED_FORMAT("name", dns_label_fault),
    BLOCK("emptyDir?.sizeLimit", check_size_limit),
    REQUIRED("hostPath?.path"),
    FORMAT("hostPath?.path", backsteps_fault),
    ONE_OF("hostPath?.type", "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate",
           "File", "FileOrCreate", "Socket"),
    REQUIRED("secret?.secretName"),
    FILE_MODE("secret?.defaultMode"),
    RULES("secret?.items[*]", key_path_rules),
    REQUIRED("configMap?.name"),
    FILE_MODE("configMap?.defaultMode"),
    RULES("configMap?.items[*]", key_path_rules),
    FILE_MODE("downwardAPI?.defaultMode"),
    BLOCK("downwardAPI?", check_downward_items),
    FILE_MODE("projected?.defaultMode"),
    BLOCK("projected?.sources[*]", check_one_projection),
    RULES("projected?.sources[*].secret.items[*]", key_path_rules),
    RULES("projected?.sources[*].configMap.items[*]", key_path_rules),
    BLOCK("projected?.sources[*].downwardAPI?", check_downward_items),
    RANGE("projected?.sources[*].serviceAccountToken?.expirationSeconds", 600, INT64_MAX,
          "may not specify a duration less than 10 minutes"),
    BLOCK("projected?", check_token_source),
    REQUIRED("persistentVolumeClaim?.claimName"),
    REQUIRED("nfs?.server"),
    REQUIRED("nfs?.path"),
    FORMAT("nfs?.path", absolute_path_fault),
    REQUIRED("csi?.driver"),
    BYTES_MAX("csi?.driver", 63),
    FORMAT("csi?.driver", driver_name_fault),
    REQUIRED("csi?.nodePublishSecretRef?.name"),
    BLOCK("ephemeral?.volumeClaimTemplate", check_claim_template),
    REQUIRED("iscsi?.targetPortal"),
    REQUIRED("iscsi?.iqn"),
    RANGE("iscsi?.lun", 0, 255, "must be between 0 and 255, inclusive"),
    ONE_OF("image?.pullPolicy", "Always", "IfNotPresent", "Never"),
    RULES_END,
};
