/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - api_generator OUTDIR FILES...: from api/schema/ to tables.c and resource_ids.h. */
#include "api/generator/model.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: api_generator OUTDIR FILE...\n", stderr);
        return 2;
    }
    struct model m = { 0 };
    for (int i = 2; i < argc; i++)
        model_parse(&m, argv[i]);
    model_link(&m);
    model_emit_tables(&m, keep_format("%s/tables.c", argv[1]));
    model_emit_resource_ids(&m, keep_format("%s/resource_ids.h", argv[1]));
    return 0;
}
