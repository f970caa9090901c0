/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formats.h - the text formats of the API: each function gives NULL, or what is wrong in upstream's
 * words (k8s.io/apimachinery/pkg/util/validation).
 *
 * Threads: any.
 */
#pragma once

#include "api/label_syntax.h"

const char *dns_label_fault(const char *s);      /* RFC 1123 label */
const char *dns_1035_label_fault(const char *s); /* starts with a letter */
const char *dns_subdomain_fault(const char *s);
const char *wildcard_subdomain_fault(const char *s); /* "*.example.com" */
const char *label_key_fault(const char *s);          /* [prefix/]name */
const char *label_value_fault(const char *s);
const char *path_segment_fault(const char *s);
const char *config_key_fault(const char *s); /* keys of ConfigMaps and Secrets */
const char *env_name_fault(const char *s);
const char *port_name_fault(const char *s);
const char *port_number_fault(int64_t v);
const char *percent_fault(const char *s);
const char *http_header_name_fault(const char *s);
const char *ip_fault(const char *s);
const char *cidr_fault(const char *s);
const char *id_fault(int64_t v);                       /* user and group ids */
const char *relative_path_fault(const char *s);        /* not absolute, no ".." element */
const char *backsteps_fault(const char *s);            /* absolute or not, but no ".." element */
const char *domain_prefixed_path_fault(const char *s); /* "example.com/path" */
const char *sysctl_name_fault(const char *s);          /* "net.ipv4.ip_forward", with slashes too */
const char *driver_name_fault(const char *s);          /* CSI and DRA drivers */
const char *lower_label_key_fault(const char *s);      /* label_key_fault in lower case */
const char *endpoint_ip_fault(const char *s);          /* an address that others can reach */
const char *ipv4_fault(const char *s);
const char *ipv6_fault(const char *s);
