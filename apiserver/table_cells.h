/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_cells.h - how each cell of a printed table is made: one row of cells per kind, in the order
 * of the kind's columns (api/schema).
 *
 *     { NAME, TEXT("spec.type", ""), AGE }
 */
#pragma once

#include "api/object.h"

struct cell;

struct cell_context {
    const struct object *object;
    int64_t now_ns;
};

/* Appends the cell's text to OUT, which is empty. */
typedef void cell_fn(const struct cell_context *c, const struct cell *cell, struct buffer *out);

struct cell {
    cell_fn *print;
    const char *path;     /* what PRINT reads; dotted */
    const char *fallback; /* what it says when there is nothing */
    bool is_raw;          /* a JSON number or boolean, not a string */
};

struct cell_row {
    enum resource_id resource;
    const struct cell *cells;
    size_t n;
};

extern const struct cell_row core_rows[], apps_rows[], other_rows[];
extern const size_t core_rows_n, apps_rows_n, other_rows_n;

/* ---- cells that many kinds have ---- */

cell_fn cell_name, cell_text, cell_number, cell_count, cell_boolean, cell_age, cell_age_of,
    cell_list, cell_labels, cell_selector, cell_int_or_string, cell_containers, cell_images,
    cell_kind_and_name;

/* clang-format off */
#define CELL(fn, p, f) { .print = (fn), .path = (p), .fallback = (f) }
#define NAME                   CELL(cell_name, NULL, NULL)
#define AGE                    CELL(cell_age, NULL, NULL)
#define TEXT(p, f)             CELL(cell_text, (p), (f))
#define LIST(p, f)             CELL(cell_list, (p), (f))
#define LABELS(p)              CELL(cell_labels, (p), "<none>")
#define SELECTOR(p)            CELL(cell_selector, (p), "<none>")
#define AGE_OF(p, f)           CELL(cell_age_of, (p), (f))
#define NUMBER(p)              { .print = cell_number, .path = (p), .fallback = "0", .is_raw = true }
#define COUNT(p)               { .print = cell_count, .path = (p), .is_raw = true }
#define BOOLEAN(p, f)          { .print = cell_boolean, .path = (p), .fallback = (f), .is_raw = true }
#define MADE_BY(fn)            CELL((fn), NULL, NULL)
#define ROW(id, list)          { RESOURCE_##id, (list), ARRAY_LEN(list) }
/* clang-format on */

/* ---- pieces ---- */

const struct json *cell_at(const struct cell_context *c, const char *path);
/* As upstream's duration.HumanDuration: "5s", "3m12s", "2d3h". */
void print_human_duration(int64_t ns, struct buffer *out);
/* Since the RFC 3339 TEXT; "<unknown>" for none. */
void print_age(const struct cell_context *c, const char *text, struct buffer *out);
/* Adds ITEM, with SEPARATOR before it unless OUT is empty. */
void print_joined(struct buffer *out, const char *separator, const char *item);
void print_selector(const struct json *selector, const char *empty, struct buffer *out);
/* "a=b,c=d" by key, or FALLBACK. */
void print_labels(const struct json *labels, const char *fallback, struct buffer *out);
/* Addresses of a load balancer's status, sorted and distinct. */
void print_load_balancer(const struct json *status, struct buffer *out);
/* Distinct access modes in their short form: "RWO,ROX". */
void print_access_modes(const struct json *modes, struct buffer *out);
