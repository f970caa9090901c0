/* SPDX-License-Identifier: Apache-2.0 */
/* bus_errors.h - cmocka takes bus errors for itself while a test runs: each begins by giving them
 * back. */
#pragma once

#include <signal.h>

#include "storage/mapped.h"

static struct sigaction bus_errors;

/* In main(), before cmocka. */
static inline void bus_errors_keep(void)
{
    struct error err = { 0 };
    mapped_end(mapped_new("", 1, BYTES(""), &err)); /* the first one sets the handler */
    sigaction(SIGBUS, NULL, &bus_errors);
}

static inline void bus_errors_give_back(void)
{
    sigaction(SIGBUS, &bus_errors, NULL);
}
