/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_links.c - links in HTML, found by looking for tags: no tree is made. */
#include "apiserver/proxy_links.h"

#include <ctype.h>
#include <strings.h>

/* The attributes that hold URLs, by tag, as upstream has them. */
static const struct {
    const char *tag, *attributes;
} linking[] = {
    { "a", " href " },
    { "applet", " codebase " },
    { "area", " href " },
    { "audio", " src " },
    { "base", " href " },
    { "blockquote", " cite " },
    { "body", " background " },
    { "button", " formaction " },
    { "command", " icon " },
    { "del", " cite " },
    { "embed", " src " },
    { "form", " action " },
    { "frame", " longdesc src " },
    { "head", " profile " },
    { "html", " manifest " },
    { "iframe", " longdesc src " },
    { "img", " longdesc src usemap " },
    { "input", " src usemap formaction " },
    { "ins", " cite " },
    { "link", " href " },
    { "object", " classid codebase data usemap " },
    { "q", " cite " },
    { "script", " src " },
    { "source", " src " },
    { "video", " poster src " },
};
/* Their content is text, whatever it looks like. */
static const char *const raw_tags[] = { "script",  "style",    "textarea", "title",   "iframe",
                                        "noembed", "noframes", "xmp",      "noscript" };
#define NAME_BYTES_MAX 16

/* ---- one link ---- */

static struct bytes tail(struct bytes b, size_t from)
{
    return (struct bytes){ b.data + from, b.len - from };
}

/* What "http://HOST" at the start of URL takes, if HOST is the backend, or *IS_CLIENTS; 0: no host
 * is named; SIZE_MAX: another one is. */
static size_t skip_host(const struct proxy_links *l, struct bytes url, bool *is_clients)
{
    static const char *const schemes[] = { "http://", "https://", "//" };
    *is_clients = false;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (url.len < n || strncasecmp(url.data, schemes[i], n) != 0)
            continue;
        struct bytes rest = tail(url, n), host = rest;
        host.len = 0;
        while (host.len < rest.len && !strchr("/?#", rest.data[host.len]))
            host.len++;
        *is_clients = bytes_equal_str(host, l->host);
        bool is_own = *is_clients || bytes_equal_str(host, l->backend);
        return is_own ? n + host.len : SIZE_MAX;
    }
    return 0;
}

struct bytes proxy_link(const struct proxy_links *l, struct bytes url, struct arena *a)
{
    bool is_clients;
    size_t at = skip_host(l, url, &is_clients);
    if (at == SIZE_MAX || at == url.len || url.data[at] != '/')
        return url;
    struct bytes path = tail(url, at), prefix = bytes_of(l->prefix);
    bool has_prefix = bytes_has_prefix(path, prefix);
    return bytes_of(arena_printf(a, "%.*s%s%.*s", is_clients ? (int)at : 0, url.data,
                                 has_prefix ? "" : l->prefix, (int)path.len, path.data));
}

/* ---- a page ---- */

struct page {
    const struct proxy_links *links;
    struct arena *arena;
    struct buffer *out;
    const char *at, *end;
    const char *copied; /* what is before it is in OUT */
};

static void skip_spaces(struct page *p)
{
    while (p->at < p->end && strchr(" \t\r\n\f", *p->at) && *p->at)
        p->at++;
}

/* A name in lower case, cut to what any of ours needs. */
static void take_name(struct page *p, const char *ends, char name[NAME_BYTES_MAX])
{
    size_t n = 0;
    for (; p->at < p->end && *p->at && !strchr(ends, *p->at); p->at++)
        if (n + 1 < NAME_BYTES_MAX)
            name[n++] = (char)tolower((unsigned char)*p->at);
    name[n] = '\0';
    if (p->at < p->end && !*p->at) /* a NUL ends nothing, and is no name */
        p->at++;
}

static struct bytes take_value(struct page *p)
{
    char quote = p->at < p->end && (*p->at == '"' || *p->at == '\'') ? *p->at : '\0';
    const char *begin = quote ? ++p->at : p->at;
    while (p->at < p->end && (quote ? *p->at != quote : !strchr(" \t\r\n\f>", *p->at)))
        p->at++;
    struct bytes value = { begin, (size_t)(p->at - begin) };
    if (quote && p->at < p->end)
        p->at++;
    return value;
}

static void replace(struct page *p, struct bytes value)
{
    struct bytes link = proxy_link(p->links, value, p->arena);
    if (link.data == value.data)
        return;
    buffer_add(p->out, p->copied, (size_t)(value.data - p->copied));
    buffer_add_bytes(p->out, link);
    p->copied = value.data + value.len;
}

static const char *links_of(const char *tag)
{
    for (size_t i = 0; i < ARRAY_LEN(linking); i++)
        if (str_equal(linking[i].tag, tag))
            return linking[i].attributes;
    return NULL;
}

static void take_attributes(struct page *p, const char *tag)
{
    const char *attributes = links_of(tag);
    char name[NAME_BYTES_MAX], word[NAME_BYTES_MAX + 2];
    for (;;) {
        skip_spaces(p);
        if (p->at == p->end || *p->at == '>')
            return;
        const char *begin = p->at;
        take_name(p, " \t\r\n\f=>/", name);
        skip_spaces(p);
        if (p->at < p->end && *p->at == '=') {
            p->at++;
            skip_spaces(p);
            struct bytes value = take_value(p);
            snprintf(word, sizeof(word), " %s ", name);
            if (attributes && *name && strstr(attributes, word))
                replace(p, value);
        } else if (p->at == begin) {
            p->at++; /* a '/' */
        }
    }
}

static const char *find(const struct page *p, const char *text)
{
    size_t n = strlen(text);
    for (const char *c = p->at; (size_t)(p->end - c) >= n; c++)
        if (strncasecmp(c, text, n) == 0)
            return c;
    return p->end;
}

static void skip_raw(struct page *p, const char *tag)
{
    char end[NAME_BYTES_MAX + 2];
    snprintf(end, sizeof(end), "</%s", tag);
    for (size_t i = 0; i < ARRAY_LEN(raw_tags); i++)
        if (str_equal(raw_tags[i], tag))
            p->at = find(p, end);
}

static void take_tag(struct page *p)
{
    char tag[NAME_BYTES_MAX];
    take_name(p, " \t\r\n\f>/", tag);
    take_attributes(p, tag);
    skip_raw(p, tag);
}

void proxy_links_rewrite(const struct proxy_links *l, struct bytes html, struct buffer *out)
{
    if (html.len == 0)
        return;
    scoped(arena) struct arena *arena = arena_new();
    struct page p = { .links = l,
                      .arena = arena,
                      .out = out,
                      .at = html.data,
                      .end = html.data + html.len,
                      .copied = html.data };
    while ((p.at = memchr(p.at, '<', (size_t)(p.end - p.at)))) {
        p.at++;
        if (bytes_has_prefix((struct bytes){ p.at, (size_t)(p.end - p.at) }, BYTES("!--")))
            p.at = find(&p, "-->");
        else if (p.at < p.end && isalpha((unsigned char)*p.at))
            take_tag(&p);
    }
    buffer_add(out, p.copied, (size_t)(p.end - p.copied));
}
