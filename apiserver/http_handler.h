/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_handler.h - a request's way through the server.
 *
 *     loop thread:  request_info -> authn -> authz -> health, discovery, get, list, watch
 *                                                 \-> worker: create, update, patch, delete, ...
 *
 * Threads: loop threads.
 */
#pragma once

#include "base/http_server.h"

void http_handle(struct http_request *http, void *apiserver);
