/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_wire.h - one gRPC call with protobuf-c messages, for cri_*.c only.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/grpc.h"
#include "kubelet/cri_client.h"

/* Long enough for a sandbox on a loaded machine; pulls and stops bring their own. */
#define CRI_CALL_TIMEOUT_MS (120 * 1000)

/* METHOD: "RuntimeService/Version".  *RESPONSE lives in ARENA; it may be NULL if nobody reads it.
 */
must_check int cri_call(struct cri_client *c, const char *method, const ProtobufCMessage *request,
                        int timeout_ms, const ProtobufCMessageDescriptor *response_type,
                        struct arena *a, void *response, struct error *err);

/* Unpacks with every byte in ARENA.  NULL if malformed. */
ProtobufCMessage *cri_unpack(const ProtobufCMessageDescriptor *type, struct bytes data,
                             struct arena *a);
struct bytes cri_pack(const ProtobufCMessage *m, struct arena *a);

/* Every map<string, string> entry has this layout, whatever protoc-c calls its type. */
struct cri_map_entry {
    ProtobufCMessage base;
    char *key;
    char *value;
};
void *cri_map_new(const struct cri_pairs *pairs, const ProtobufCMessageDescriptor *entry_type,
                  struct arena *a);
void cri_map_read(void *entries, size_t n, struct arena *a, struct cri_pairs *out);

/* Cri__Int64Value, Cri__SecurityProfile (NULL for NULL), Cri__PodSandboxConfig. */
void *cri_int64_value(int64_t v, struct arena *a);
void *cri_profile(const struct cri_security_profile *p, struct arena *a);
void *cri_sandbox_config_wire(const struct cri_sandbox_config *config, struct arena *a);
