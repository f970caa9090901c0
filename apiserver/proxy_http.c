/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_http.c - a request passed on to a pod, a Service's endpoint or a node, and its answer.
 *
 * Everything goes through that concerns the two ends.  Where the answer names places of the
 * backend, in Location and in the links of HTML, it is made to name ours.
 */
#include <strings.h>

#include "apiserver/kubelet_proxy.h"
#include "apiserver/proxy_links.h"
#include "apiserver/respond.h"
#include "apiserver/server.h"
#include "base/gzip.h"
#include "base/http_client.h"

#define PROXY_HEADERS_MAX   128
#define PROXY_PIECES_QUEUED 64
/* A page has to be whole before its links are changed; a larger one goes through as it is. */
#define PROXY_PAGE_BYTES_MAX (4 * 1024 * 1024)

struct proxied {
    struct exchange *exchange;
    struct proxy_links links;
    struct http_response head; /* once the backend has answered */
    bool is_head, is_page, is_packed;
    struct buffer page;
    struct http_stream *stream; /* of a body that is passed on as it comes */
};

/* ---- which headers go through ---- */

static bool is_in(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(list[i], name) == 0)
            return true;
    return false;
}

/* What concerns one connection stays there: the known ones, and those that Connection names. */
static bool is_of_connection(const char *name, const char *connection)
{
    static const char *const always[] = {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    };
    if (is_in(name, always, ARRAY_LEN(always)))
        return true;
    size_t len = strlen(name);
    for (const char *c = connection; c && *c;) {
        c += strspn(c, " \t,");
        size_t n = strcspn(c, " \t,");
        if (n == len && strncasecmp(c, name, n) == 0)
            return true;
        c += n;
    }
    return false;
}

/* Nothing that would begin another line. */
static bool is_one_line(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            return false;
    return true;
}

struct passing {
    struct request *request;
    const char *connection, *forwarded_for;
    void (*fn)(const char *name, const char *value, void *arg);
    void *arg;
};

/* Who the client is to us is not the backend's business. */
static void pass_header(struct bytes name, struct bytes value, void *arg)
{
    static const char *const own[] = { "host", "authorization", "expect", "x-forwarded-for",
                                       "x-forwarded-uri" };
    struct passing *p = arg;
    struct arena *a = p->request->arena;
    const char *n = arena_strndup(a, name.data, name.len);
    const char *v = arena_strndup(a, value.data, value.len);
    if (str_equal(n, "x-forwarded-for"))
        p->forwarded_for = p->forwarded_for ? arena_printf(a, "%s, %s", p->forwarded_for, v) : v;
    if (*n && *n != ':' && !is_in(n, own, ARRAY_LEN(own)) && !is_of_connection(n, p->connection) &&
        is_one_line(n) && is_one_line(v))
        p->fn(n, v, p->arg);
}

static const char *text_of(struct request *r, struct bytes b)
{
    return b.len ? arena_strndup(r->arena, b.data, b.len) : "";
}

void proxy_http_each_header(struct request *r,
                            void (*fn)(const char *name, const char *value, void *arg), void *arg)
{
    struct passing p = { .request = r, .fn = fn, .arg = arg };
    p.connection = text_of(r, http_request_header(r->http, "connection"));
    http_request_each_header(r->http, pass_header, &p);
    const char *ip = http_request_remote_ip(r->http);
    const char *through = p.forwarded_for && is_one_line(p.forwarded_for) ? p.forwarded_for : NULL;
    const char *host = text_of(r, http_request_header(r->http, "host"));
    if (*host && is_one_line(host))
        fn("host", host, arg);
    fn("x-forwarded-for", through ? arena_printf(r->arena, "%s, %s", through, ip) : ip, arg);
    if (is_one_line(r->info.path))
        fn("x-forwarded-uri", r->info.path, arg);
}

/* ---- the answer ---- */

/* Upstream's: pages of a backend get no rights on the API from it. */
static bool is_about_origins(const char *name)
{
    static const char *const cors[] = { "access-control-allow-credentials",
                                        "access-control-allow-headers",
                                        "access-control-allow-methods",
                                        "access-control-allow-origin" };
    return is_in(name, cors, ARRAY_LEN(cors));
}

static const char *header_of(const struct http_client_head *h, const char *name)
{
    for (size_t i = 0; i < h->headers_n; i++)
        if (str_equal(h->headers[i].name, name))
            return h->headers[i].value;
    return "";
}

static const char *link_of(struct proxied *p, const char *url)
{
    struct arena *a = p->exchange->request->arena;
    struct bytes link = proxy_link(&p->links, bytes_of(url), a);
    return arena_strndup(a, link.data, link.len);
}

/* Our own headers, then the backend's; the date is libh2o's. */
static void keep_head(struct proxied *p, const struct http_client_head *h)
{
    struct request *r = p->exchange->request;
    const char *connection = header_of(h, "connection");
    size_t own_n, n = 0;
    struct http_header *own = respond_headers(r, NULL, &own_n);
    struct http_header *all = arena_alloc(r->arena, (own_n + h->headers_n) * sizeof(*all));
    for (; n < own_n; n++)
        all[n] = own[n];
    for (size_t i = 0; i < h->headers_n; i++) {
        const char *name = h->headers[i].name, *value = h->headers[i].value;
        if (is_of_connection(name, connection) || is_about_origins(name) ||
            str_equal(name, "date") || str_equal(name, "server"))
            continue;
        bool is_place = str_equal(name, "location");
        all[n++] =
            (struct http_header){ arena_strdup(r->arena, name),
                                  is_place ? link_of(p, value) : arena_strdup(r->arena, value) };
    }
    p->head = (struct http_response){ .status = h->status, .headers = all, .headers_n = n };
    p->head.body_bytes = strtoull(header_of(h, "content-length"), NULL, 10);
}

static bool is_html(const char *content_type)
{
    size_t n = strcspn(content_type, "; \t");
    return n == strlen("text/html") && strncmp(content_type, "text/html", n) == 0;
}

static void start_stream(struct proxied *p)
{
    struct request *r = p->exchange->request;
    respond_count(r, p->head.status);
    p->stream = http_stream_start(r->http, &p->head, NULL, NULL);
}

static void on_head(const struct http_client_head *h, void *arg)
{
    struct proxied *p = arg;
    keep_head(p, h);
    const char *encoding = header_of(h, "content-encoding");
    bool has_place = *header_of(h, "location");
    bool has_body = !p->is_head && h->status != 204 && h->status != 304;
    p->is_packed = str_equal(encoding, "gzip");
    p->is_page = has_body && !has_place && is_html(header_of(h, "content-type")) &&
                 (!*encoding || p->is_packed);
    bool is_empty = !p->head.body_bytes && *header_of(h, "content-length");
    if (has_body && !p->is_page && !is_empty)
        start_stream(p);
}

static int pass_piece(struct proxied *p, struct bytes piece)
{
    if (!http_stream_wait(p->stream, PROXY_PIECES_QUEUED))
        return -1;
    scoped(shared_bytes) struct shared_bytes *chunk = shared_bytes_new(piece);
    http_stream_write(p->stream, chunk);
    return 0;
}

static int on_piece(struct bytes piece, void *arg)
{
    struct proxied *p = arg;
    if (p->stream)
        return pass_piece(p, piece);
    buffer_add_bytes(&p->page, piece);
    if (p->page.len <= PROXY_PAGE_BYTES_MAX)
        return 0;
    p->is_page = false;
    start_stream(p);
    return pass_piece(p, buffer_bytes(&p->page));
}

/* ---- its end ---- */

static void rewrite_page(struct proxied *p)
{
    scoped(buffer) struct buffer plain = { 0 }, links = { 0 };
    if (!p->is_packed) {
        proxy_links_rewrite(&p->links, buffer_bytes(&p->page), &links);
    } else if (gzip_unpack(buffer_bytes(&p->page), PROXY_PAGE_BYTES_MAX, &plain)) {
        scoped(buffer) struct buffer changed = { 0 };
        proxy_links_rewrite(&p->links, buffer_bytes(&plain), &changed);
        struct bytes text = buffer_bytes(&changed);
        gzip_pack(&text, 1, &links);
    } else {
        return; /* what it says is not what it is: nothing of ours to change */
    }
    struct buffer before = p->page;
    p->page = links;
    links = before;
}

static void answer_whole(struct proxied *p)
{
    struct request *r = p->exchange->request;
    if (p->is_page)
        rewrite_page(p);
    struct bytes part = buffer_bytes(&p->page);
    p->head.parts = &part;
    p->head.parts_n = part.len > 0;
    if (!p->is_head)
        p->head.body_bytes = 0; /* the part's own size counts */
    p->head.release = free;
    p->head.arg = buffer_take(&p->page);
    respond_count(r, p->head.status);
    http_respond(r->http, &p->head);
}

static void answer_failure(struct proxied *p, struct error *err)
{
    struct request *r = p->exchange->request;
    const char *why = arena_strdup(r->arena, err->message);
    error_set(err, ERR_UNAVAILABLE, "error trying to reach service: %s", why);
    respond_error(r, err, NULL);
}

/* ---- asking ---- */

struct header_list {
    struct http_header items[PROXY_HEADERS_MAX];
    size_t n;
};

static void take_header(const char *name, const char *value, void *arg)
{
    struct header_list *list = arg;
    if (list->n < PROXY_HEADERS_MAX)
        list->items[list->n++] = (struct http_header){ name, value };
}

static void fill_links(struct exchange *x, struct proxy_links *out)
{
    const struct request_info *info = &x->request->info;
    size_t len = strlen(info->path) - strlen(info->subpath);
    out->prefix = arena_strndup(x->request->arena, info->path, len);
    out->backend = x->target.address;
    out->host = text_of(x->request, http_request_header(x->request->http, "host"));
}

void proxy_http_run(struct exchange *x, struct http_client *client)
{
    struct request *r = x->request;
    struct error err = { 0 };
    struct http_client_response unused = { 0 };
    struct header_list headers = { 0 };
    const char *method = text_of(r, http_request_method(r->http));
    struct proxied p = { .exchange = x, .is_head = str_equal(method, "HEAD") };
    fill_links(x, &p.links);
    proxy_http_each_header(r, take_header, &headers);
    struct http_client_request ask = { .method = method,
                                       .url = exchange_url(x),
                                       .headers = headers.items,
                                       .headers_n = headers.n,
                                       .body = http_request_body(r->http),
                                       .cancel_fd = x->left_fd,
                                       .on_head = on_head };
    int rc = http_client_round_trip(client, &ask, on_piece, &p, r->arena, &unused, &err);
    if (!p.stream && rc < 0)
        answer_failure(&p, &err);
    else if (!p.stream)
        answer_whole(&p);
    else if (rc < 0)
        http_stream_abort(p.stream);
    else
        http_stream_end(p.stream);
    buffer_free(&p.page);
}

bool proxy_http_redirect(struct exchange *x)
{
    struct request *r = x->request;
    struct bytes method = http_request_method(r->http), path = http_request_path(r->http);
    bool is_read = bytes_equal_str(method, "GET") || bytes_equal_str(method, "HEAD");
    if (*r->info.subpath || !is_read || http_request_is_upgrade(r->http))
        return false;
    struct http_response answer = { .status = 301 };
    struct http_header *headers = respond_headers(r, NULL, &answer.headers_n);
    const char *place = arena_printf(r->arena, "%.*s/%s%.*s", (int)path.len, path.data,
                                     r->query.len ? "?" : "", (int)r->query.len, r->query.data);
    headers[answer.headers_n++] = (struct http_header){ "location", place };
    answer.headers = headers;
    respond_count(r, answer.status);
    http_respond(r->http, &answer);
    return true;
}
