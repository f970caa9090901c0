/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - what authorization knows of one server.
 */
#pragma once

struct policy {
    struct rbac *rbac;
    struct node_graph *nodes;
};
