/* SPDX-License-Identifier: Apache-2.0 */
/* go_print.c - values as Go prints them. */
#include "api/go_print.h"

#include <stdlib.h>

static int by_name(const void *a, const void *b)
{
    const struct json_member *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void print_map(const struct json *v, struct buffer *out)
{
    const struct json_member **sorted = xcalloc(v->len + 1, sizeof(*sorted));
    for (uint32_t i = 0; i < v->len; i++)
        sorted[i] = &v->members[i];
    qsort(sorted, v->len, sizeof(*sorted), by_name);
    buffer_add_str(out, "map[");
    for (uint32_t i = 0; i < v->len; i++) {
        buffer_printf(out, "%s%s:", i ? " " : "", sorted[i]->name);
        go_print(&sorted[i]->value, out);
    }
    buffer_add_char(out, ']');
    free(sorted);
}

void go_print(const struct json *v, struct buffer *out)
{
    switch ((enum json_type)v->type) {
    case JSON_OBJECT:
        print_map(v, out);
        break;
    case JSON_ARRAY:
        buffer_add_char(out, '[');
        for (uint32_t i = 0; i < v->len; i++) {
            if (i)
                buffer_add_char(out, ' ');
            go_print(&v->items[i], out);
        }
        buffer_add_char(out, ']');
        break;
    case JSON_STRING:
        buffer_add(out, v->string, v->len);
        break;
    case JSON_NULL:
        buffer_add_str(out, "<nil>");
        break;
    default:
        json_print(v, out);
        break;
    }
}
