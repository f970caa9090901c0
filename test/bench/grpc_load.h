/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_load.h - many gRPC calls at once from one thread, at the least cost a client can have.
 *
 * HTTP/2 frames are made by hand: a call's header block is the same few indexes each time, and of
 * an answer only frame headers and message lengths are looked at.  What the load generator does not
 * use is left to the server that shares the machine with it.
 *
 * Whatever goes wrong (a refused call, a lost connection) is printed and ends the program.
 */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

#define LOAD_MESSAGE_KEPT ((size_t)1 << 20) /* of a longer message only the length is told */

struct load; /* connections to one server */
struct load_call;

struct load_config {
    const char *address; /* "127.0.0.1:2379" */
    const char *method;  /* of every call */
    int connections;
    const char *other_method; /* of load_other_call_new(), on a connection of its own; or NULL */
    /* A message of CALL: DATA is NULL if it is longer than LOAD_MESSAGE_KEPT. */
    void (*message)(struct load_call *call, struct bytes message, void *arg);
    void (*ended)(struct load_call *call, void *arg); /* with a message at least */
    void *arg;
};
struct load *load_open(const struct load_config *config);
void load_close(struct load *l);

/* A place for one call after another; place I uses connection I % connections. */
struct load_call *load_call_new(struct load *l, int place);
#define LOAD_OTHER_PLACE (-1)
struct load_call *load_other_call_new(struct load *l);
void load_call_free(struct load_call *call); /* before load_close() */
int load_call_place(const struct load_call *call);
enum load_stream { LOAD_UNARY, LOAD_OPEN }; /* open: the client may send more, and never does */
void load_call_start(struct load_call *call, enum load_stream stream, struct bytes message);

void load_turn(struct load *l); /* waits for answers, and hands them on */
