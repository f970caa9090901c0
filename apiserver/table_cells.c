/* SPDX-License-Identifier: Apache-2.0 */
/* table_cells.c - the cells that many kinds have, and the pieces that cells are made of. */
#include "apiserver/table_cells.h"

#include "api/selector.h"
#include "base/clock.h"

#define SORTED_MAX 256 /* labels or addresses of one cell; later ones are left out */

const struct json *cell_at(const struct cell_context *c, const char *path)
{
    return json_at(c->object->doc, path);
}

/* ---- time ---- */

/* Two units: "2d3h"; the second is left out when it is nothing. */
static void print_units(struct buffer *out, int64_t first, char first_unit, int64_t second,
                        char second_unit)
{
    buffer_printf(out, "%lld%c", (long long)first, first_unit);
    if (second)
        buffer_printf(out, "%lld%c", (long long)second, second_unit);
}

void print_human_duration(int64_t ns, struct buffer *out)
{
    int64_t s = ns / NS_PER_S, m = s / 60, h = m / 60, d = h / 24, y = d / 365;
    if (s <= -2)
        buffer_add_str(out, "<invalid>");
    else if (s < 0)
        buffer_add_str(out, "0s");
    else if (s < 120)
        print_units(out, s, 's', 0, 0);
    else if (m < 10)
        print_units(out, m, 'm', s % 60, 's');
    else if (m < 180)
        print_units(out, m, 'm', 0, 0);
    else if (h < 8)
        print_units(out, h, 'h', m % 60, 'm');
    else if (h < 48)
        print_units(out, h, 'h', 0, 0);
    else if (d < 8)
        print_units(out, d, 'd', h % 24, 'h');
    else if (y < 2)
        print_units(out, d, 'd', 0, 0);
    else if (y < 8)
        print_units(out, y, 'y', d % 365, 'd');
    else
        print_units(out, y, 'y', 0, 0);
}

void print_age(const struct cell_context *c, const char *text, struct buffer *out)
{
    int64_t then_ns;
    if (str_empty(text) || time_parse(text, &then_ns) < 0)
        buffer_add_str(out, "<unknown>");
    else
        print_human_duration(c->now_ns - then_ns, out);
}

/* ---- pieces ---- */

void print_joined(struct buffer *out, const char *separator, const char *item)
{
    if (out->len)
        buffer_add_str(out, separator);
    buffer_add_str(out, item);
}

static int by_name(const void *a, const void *b)
{
    const struct json_member *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

void print_labels(const struct json *labels, const char *fallback, struct buffer *out)
{
    const struct json_member *sorted[SORTED_MAX] = { 0 };
    size_t n = 0;
    json_each_member (labels, m) {
        if (n < SORTED_MAX)
            sorted[n++] = m;
    }
    qsort(sorted, n, sizeof(sorted[0]), by_name);
    for (size_t i = 0; i < n; i++) {
        const char *value = json_text(&sorted[i]->value);
        buffer_printf(out, "%s%s=%s", i ? "," : "", sorted[i]->name, value ? value : "");
    }
    if (!n)
        buffer_add_str(out, fallback);
}

void print_selector(const struct json *selector, const char *empty, struct buffer *out)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    const struct selector *s = selector ? selector_from_json(selector, a, &err) : NULL;
    if (err.code)
        buffer_add_str(out, "<error>");
    else if (!s || selector_is_empty(s))
        buffer_add_str(out, empty);
    else
        selector_print(s, out);
}

static int by_text(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

void print_load_balancer(const struct json *status, struct buffer *out)
{
    const char *sorted[SORTED_MAX] = { 0 };
    size_t n = 0;
    json_each_item (json_get(status, "ingress"), entry) {
        const char *address = json_str(entry, "ip", json_str(entry, "hostname", ""));
        if (*address && n < SORTED_MAX)
            sorted[n++] = address;
    }
    qsort(sorted, n, sizeof(sorted[0]), by_text);
    for (size_t i = 0; i < n; i++)
        if (!i || strcmp(sorted[i], sorted[i - 1]) != 0)
            print_joined(out, ",", sorted[i]);
}

void print_access_modes(const struct json *modes, struct buffer *out)
{
    static const struct {
        const char *mode, *text;
    } names[] = { { "ReadWriteOnce", "RWO" },
                  { "ReadOnlyMany", "ROX" },
                  { "ReadWriteMany", "RWX" },
                  { "ReadWriteOncePod", "RWOP" } };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (json_has_text(modes, names[i].mode))
            print_joined(out, ",", names[i].text);
    }
}

/* ---- cells ---- */

void cell_name(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    buffer_add_str(out, c->object->key.name);
}

void cell_age(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    print_age(c, json_str(c->object->doc, "metadata.creationTimestamp", ""), out);
}

void cell_text(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    const char *text = json_str(c->object->doc, cell->path, "");
    buffer_add_str(out, *text ? text : cell->fallback);
}

void cell_number(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    buffer_add_int(out, json_int(c->object->doc, cell->path, 0));
}

/* Items or members of one or two paths ("data binaryData"). */
void cell_count(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    const char *space = strchr(cell->path, ' ');
    size_t n = 0;
    if (space) {
        char first[64];
        snprintf(first, sizeof(first), "%.*s", (int)(space - cell->path), cell->path);
        n = json_len(c->object->doc, first) + json_len(c->object->doc, space + 1);
    } else {
        n = json_len(c->object->doc, cell->path);
    }
    buffer_add_int(out, (int64_t)n);
}

void cell_boolean(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    bool value = json_bool(c->object->doc, cell->path, strcmp(cell->fallback, "true") == 0);
    buffer_add_str(out, value ? "true" : "false");
}

void cell_age_of(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    const char *text = json_str(c->object->doc, cell->path, "");
    if (*text)
        print_age(c, text, out);
    else
        buffer_add_str(out, cell->fallback);
}

void cell_list(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    json_each_item (cell_at(c, cell->path), item) {
        if (json_text(item))
            print_joined(out, ",", json_text(item));
    }
    if (!out->len)
        buffer_add_str(out, cell->fallback);
}

void cell_labels(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    print_labels(cell_at(c, cell->path), cell->fallback, out);
}

void cell_selector(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    print_selector(cell_at(c, cell->path), cell->fallback, out);
}

void cell_int_or_string(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    const struct json *v = cell_at(c, cell->path);
    if (json_is(v, JSON_INT))
        buffer_add_int(out, v->integer);
    else
        buffer_add_str(out, json_text(v) ? json_text(v) : cell->fallback);
}

static void print_of_containers(const struct cell_context *c, const struct cell *cell,
                                const char *member, struct buffer *out)
{
    json_each_item (cell_at(c, cell->path), container)
        print_joined(out, ",", json_str(container, member, ""));
}

void cell_containers(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    print_of_containers(c, cell, "name", out);
}

void cell_images(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    print_of_containers(c, cell, "image", out);
}

/* "Deployment/web" of a reference with kind and name. */
void cell_kind_and_name(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    const struct json *ref = cell_at(c, cell->path);
    buffer_printf(out, "%s/%s", json_str(ref, "kind", ""), json_str(ref, "name", ""));
}
