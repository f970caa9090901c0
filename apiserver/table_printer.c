/* SPDX-License-Identifier: Apache-2.0 */
/* table_printer.c - objects as rows of a meta.k8s.io Table. */
#include "apiserver/table_printer.h"

#include "apiserver/table_cells.h"
#include "base/clock.h"

/* ---- columns ---- */

static void print_column(const struct resource_column *c, bool is_first, struct buffer *out)
{
    buffer_printf(out, "%s{\"name\":\"%s\",\"type\":\"%s\",\"format\":\"%s\",\"description\":",
                  is_first ? "" : ",", c->name, c->type, c->format ? c->format : "");
    json_print_string(bytes_of(c->description ? c->description : ""), out);
    buffer_printf(out, ",\"priority\":%d}", c->priority);
}

void table_print_columns(const struct resource *r, struct buffer *out)
{
    static const struct resource_column plain[] = {
        { "Name", "string", "name", "name of the object, unique in its namespace", 0, NULL },
        { "Created At", "date", "", "when the object was made, by the server's clock", 0, NULL },
    };
    const struct resource_column *columns = r->columns_n ? r->columns : plain;
    size_t n = r->columns_n ? r->columns_n : ARRAY_LEN(plain);
    buffer_add_char(out, '[');
    for (size_t i = 0; i < n; i++)
        print_column(&columns[i], i == 0, out);
    buffer_add_char(out, ']');
}

/* ---- rows ---- */

static const struct cell_row *find_row(const struct resource *r)
{
    static const struct {
        const struct cell_row *rows;
        const size_t *n;
    } tables[] = { { core_rows, &core_rows_n },
                   { apps_rows, &apps_rows_n },
                   { other_rows, &other_rows_n } };
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (size_t i = 0; i < *tables[t].n; i++)
            if ((int)tables[t].rows[i].resource == r->id)
                return &tables[t].rows[i];
    return NULL;
}

static void created_at(const struct cell_context *c, const struct cell *cell, struct buffer *out)
{
    (void)cell;
    buffer_add_str(out, json_str(c->object->doc, "metadata.creationTimestamp", ""));
}

static void print_cells(const struct object *o, int64_t now_ns, struct buffer *out)
{
    static const struct cell plain[] = { NAME, MADE_BY(created_at) };
    const struct cell_row *row = find_row(o->resource);
    const struct cell *cells = row ? row->cells : plain;
    size_t n = row ? row->n : ARRAY_LEN(plain);
    struct cell_context c = { o, now_ns };
    scoped(buffer) struct buffer text = { 0 };
    for (size_t i = 0; i < n; i++) {
        buffer_clear(&text);
        cells[i].print(&c, &cells[i], &text);
        if (i)
            buffer_add_char(out, ',');
        if (cells[i].is_raw && text.len)
            buffer_add_bytes(out, buffer_bytes(&text));
        else
            json_print_string(text.len ? buffer_bytes(&text) : BYTES(""), out);
    }
}

/* A pod that has ended is marked, so that clients may leave it out. */
static void print_conditions(const struct object *o, struct buffer *out)
{
    if (o->resource->id != RESOURCE_PODS)
        return;
    const char *phase = json_str(o->doc, "status.phase", "");
    bool has_succeeded = strcmp(phase, "Succeeded") == 0;
    if (!has_succeeded && strcmp(phase, "Failed") != 0)
        return;
    buffer_printf(out,
                  ",\"conditions\":[{\"type\":\"Completed\",\"status\":\"True\",\"reason\":\"%s\","
                  "\"message\":\"%s\"}]",
                  phase, has_succeeded ? "The pod has completed successfully." : "The pod failed.");
}

void partial_metadata_print(const struct object *o, const char *api_version, struct buffer *out)
{
    buffer_printf(out, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"%s\",\"metadata\":",
                  api_version);
    json_print(object_metadata(o), out);
    buffer_add_char(out, '}');
}

void table_print_row(const struct object *o, enum table_include include, int64_t now_ns,
                     struct buffer *out)
{
    buffer_add_str(out, "{\"cells\":[");
    print_cells(o, now_ns, out);
    buffer_add_char(out, ']');
    print_conditions(o, out);
    buffer_add_str(out, ",\"object\":");
    switch (include) {
    case TABLE_INCLUDE_METADATA:
        partial_metadata_print(o, "meta.k8s.io/v1", out);
        break;
    case TABLE_INCLUDE_OBJECT:
        json_print(o->doc, out);
        break;
    case TABLE_INCLUDE_NONE:
        buffer_add_str(out, "null");
        break;
    }
    buffer_add_char(out, '}');
}
