/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client.c - libcurl behind base/http_client.h.
 *
 * A call borrows a slot: one transfer and the connections it has kept.  Slots go back to the
 * client, the last one used is the next one taken, so that few connections serve many calls.
 */
#include "base/http_client.h"

#include <ctype.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "base/socket.h"
#include "base/tls_internal.h"

#define SLOTS_IDLE_MAX          16
#define SLOT_CONNECTIONS_MAX    4
#define CONNECT_TIMEOUT_MS      10000
#define WAIT_MS_MAX             3600000 /* libcurl wants a limit; it shortens it as its timers ask */
#define BODY_BYTES_MAX_DEFAULT  (64 * 1024 * 1024)
#define UPLOAD_BUFFER_BYTES_MAX (64L * 1024)
#define HEAD_BYTES_MAX          (64 * 1024)
#define HEADERS_MAX             128

struct slot {
    struct slot *next;
    CURLM *multi;
    CURL *easy;
};

struct http_client {
    struct buffer ca, certificate, key;
    char *server_name;
    bool insecure_skip_verify;

    pthread_mutex_t lock; /* guards what follows */
    struct slot *idle;
    int idle_n;
    int active_n; /* slots that are taken */
};

struct call {
    struct slot *slot;
    const struct http_client_request *request;
    int (*on_body)(struct bytes piece, void *arg);
    void *arg;
    size_t body_bytes_max;
    struct buffer body;
    struct buffer head; /* its lines, where ON_HEAD is asked for */
    bool has_head;      /* and has been told */
    struct curl_slist *headers, *connect_to;

    int64_t started_ns;
    char curl_error[CURL_ERROR_SIZE];
    enum { GOING, STOPPED, TOO_LARGE } state;
};

/* ---- libcurl itself ---- */

/* It brings thirty other libraries: a fifth of an idle server's memory, and most servers never make
 * a call.  The first call loads them. */
#define LIBRARY "libcurl.so.4"

/* clang-format off */
#define FUNCTIONS(X)                                                                             \
    X(easy_cleanup) X(easy_getinfo) X(easy_init) X(easy_reset) X(easy_setopt) X(easy_strerror)   \
    X(free) X(global_init) X(multi_add_handle) X(multi_cleanup) X(multi_info_read) X(multi_init) \
    X(multi_perform) X(multi_poll) X(multi_remove_handle) X(multi_setopt) X(multi_strerror)      \
    X(slist_append) X(slist_free_all) X(url) X(url_cleanup) X(url_get) X(url_set)
/* clang-format on */

#define POINTER(name) __typeof__(curl_##name) *name;
static struct {
    FUNCTIONS(POINTER)
    char problem[200]; /* "": it is there */
} curl;

static void load_function(void *library, const char *name, void *function)
{
    void *symbol = library ? dlsym(library, name) : NULL;
    if (!symbol && !*curl.problem)
        snprintf(curl.problem, sizeof(curl.problem), "%s", dlerror());
    memcpy(function, &symbol, sizeof(symbol));
}

static void load_curl(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
#define LOAD(name) load_function(library, "curl_" #name, &curl.name);
    FUNCTIONS(LOAD)
    if (!*curl.problem)
        ensure(curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static int need_curl(struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_curl);
    return *curl.problem ? error_set(err, ERR_INTERNAL, "%s", curl.problem) : 0;
}

/* ---- clients ---- */

struct http_client *http_client_new(const struct tls_client_config *tls, struct error *err)
{
    ignore_sigpipe();
    static const struct tls_client_config system_trust;
    if (!tls)
        tls = &system_trust;
    /* libcurl reads the PEM at each connection; reading it once here tells what is wrong with it
     * now. */
    scoped(tls) struct tls *checked = tls_client_new(tls, err);
    if (!checked)
        return NULL;
    struct http_client *c = xcalloc(1, sizeof(*c));
    buffer_add_bytes(&c->ca, tls->ca_pem);
    buffer_add_bytes(&c->certificate, tls->certificate_pem);
    buffer_add_bytes(&c->key, tls->key_pem);
    c->server_name = tls->server_name ? xstrdup(tls->server_name) : NULL;
    c->insecure_skip_verify = tls->insecure_skip_verify;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

/* ---- slots ---- */

static void slot_free(struct slot *s)
{
    curl.easy_cleanup(s->easy);
    curl.multi_cleanup(s->multi);
    free(s);
}

static struct slot *slot_take(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    struct slot *s = c->idle;
    if (s) {
        c->idle = s->next;
        c->idle_n--;
    }
    c->active_n++;
    pthread_mutex_unlock(&c->lock);
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        s->multi = curl.multi_init();
        s->easy = curl.easy_init();
        ensure(s->multi && s->easy);
        curl.multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)SLOT_CONNECTIONS_MAX);
    }
    return s;
}

static void slot_give_back(struct http_client *c, struct slot *s)
{
    curl.easy_reset(s->easy); /* keeps the connections, forgets what was the caller's */
    pthread_mutex_lock(&c->lock);
    c->active_n--;
    bool keep = c->idle_n < SLOTS_IDLE_MAX;
    if (keep) {
        s->next = c->idle;
        c->idle = s;
        c->idle_n++;
    }
    pthread_mutex_unlock(&c->lock);
    if (!keep)
        slot_free(s);
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    ensure(c->active_n == 0);
    while (c->idle) {
        struct slot *next = c->idle->next;
        slot_free(c->idle);
        c->idle = next;
    }
    pthread_mutex_destroy(&c->lock);
    buffer_free(&c->ca);
    buffer_free(&c->certificate);
    buffer_free(&c->key);
    free(c->server_name);
    free(c);
}

/* ---- a call ---- */

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct call *call = arg;
    size_t len = size * n;
    long status = 0;
    curl.easy_getinfo(call->slot->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->on_body && (call->request->on_head || (status >= 200 && status < 300))) {
        if (call->on_body((struct bytes){ data, len }, call->arg) == 0)
            return len;
        call->state = STOPPED;
        return 0;
    }
    if (call->body.len + len > call->body_bytes_max) {
        call->state = TOO_LARGE;
        return 0;
    }
    buffer_add(&call->body, data, len);
    return len;
}

/* A line without a colon is no header: the status line, and garbage. */
static size_t parse_headers(char *lines, struct http_header *out, size_t max)
{
    size_t count = 0;
    for (char *line; count < max && (line = strsep(&lines, "\n"));) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        *value++ = '\0';
        for (char *c = line; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        value += strspn(value, " \t");
        size_t len = strcspn(value, "\r");
        while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
            len--;
        value[len] = '\0';
        out[count++] = (struct http_header){ line, value };
    }
    return count;
}

static void tell_head(struct call *call, long status)
{
    struct http_header headers[HEADERS_MAX];
    buffer_add_char(&call->head, '\0');
    struct http_client_head head = { .status = (int)status, .headers = headers };
    head.headers_n = parse_headers(call->head.data, headers, HEADERS_MAX);
    call->has_head = true; /* what follows are trailers */
    call->request->on_head(&head, call->arg);
}

/* Called with each line of the head; the last one is empty. */
static size_t on_head_line(char *line, size_t size, size_t n, void *arg)
{
    struct call *call = arg;
    struct bytes text = { line, size * n };
    long status = 0;
    curl.easy_getinfo(call->slot->easy, CURLINFO_RESPONSE_CODE, &status);
    bool is_end = text.len > 0 && (*line == '\r' || *line == '\n');
    if (bytes_has_prefix(text, BYTES("HTTP/")))
        buffer_clear(&call->head); /* there may have been a 100 before */
    if (call->has_head)
        return text.len;
    if (is_end && status >= 200) {
        tell_head(call, status);
    } else if (call->head.len + text.len > HEAD_BYTES_MAX) {
        call->state = TOO_LARGE;
        return 0;
    } else {
        buffer_add_bytes(&call->head, text);
    }
    return text.len;
}

static int on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    (void)arg, (void)purpose;
    socket_tune(fd);
    return CURL_SOCKOPT_OK;
}

static void add_header(struct call *call, const char *name, const char *value)
{
    /* "name;" is how libcurl is told of a header without a value. */
    scoped(str) char *line = *value ? xasprintf("%s: %s", name, value) : xasprintf("%s;", name);
    call->headers = curl.slist_append(call->headers, line);
}

static void set_headers(struct call *call)
{
    bool has_content_type = false;
    for (size_t i = 0; i < call->request->headers_n; i++) {
        const struct http_header *h = &call->request->headers[i];
        has_content_type = has_content_type || str_equal(h->name, "content-type");
        add_header(call, h->name, h->value);
    }
    if (!has_content_type)
        call->headers = curl.slist_append(call->headers, "Content-Type:"); /* else it invents one */
    call->headers = curl.slist_append(call->headers, "Expect:");
    curl.easy_setopt(call->slot->easy, CURLOPT_HTTPHEADER, call->headers);
}

static void set_method(struct call *call)
{
    CURL *easy = call->slot->easy;
    const struct http_client_request *r = call->request;
    if (str_equal(r->method, "HEAD")) {
        curl.easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (r->body.len > 0 || str_equal(r->method, "POST") || str_equal(r->method, "PUT")) {
        curl.easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
        curl.easy_setopt(easy, CURLOPT_POSTFIELDS, r->body.data ? r->body.data : "");
        curl.easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_BYTES_MAX);
    }
    curl.easy_setopt(easy, CURLOPT_CUSTOMREQUEST, r->method);
}

static void set_blob(CURL *easy, CURLoption option, const struct buffer *pem)
{
    struct curl_blob blob = { pem->data, pem->len, CURL_BLOB_NOCOPY };
    if (pem->len > 0)
        curl.easy_setopt(easy, option, &blob);
}

static void set_tls(CURL *easy, const struct http_client *c)
{
    curl.easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    set_blob(easy, CURLOPT_CAINFO_BLOB, &c->ca);
    set_blob(easy, CURLOPT_SSLCERT_BLOB, &c->certificate);
    set_blob(easy, CURLOPT_SSLKEY_BLOB, &c->key);
    curl.easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, c->insecure_skip_verify ? 0L : 1L);
    curl.easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, c->insecure_skip_verify ? 0L : 2L);
}

/* libcurl checks the certificate against the host of the URL.  So SERVER_NAME becomes that host,
 * the connection goes to the host that was there, and the Host header stays. */
static int use_server_name(struct call *call, const char *server_name, struct error *err)
{
    CURLU *u = curl.url();
    char *host = NULL, *port = NULL, *url = NULL;
    int ok = u && curl.url_set(u, CURLUPART_URL, call->request->url, 0) == CURLUE_OK &&
             curl.url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
             curl.url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
             curl.url_set(u, CURLUPART_HOST, server_name, 0) == CURLUE_OK &&
             curl.url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK;
    if (ok) {
        scoped(str) char *route = xasprintf("%s:%s:%s:%s", server_name, port, host, port);
        call->connect_to = curl.slist_append(NULL, route);
        curl.easy_setopt(call->slot->easy, CURLOPT_CONNECT_TO, call->connect_to);
        scoped(str) char *host_port = xasprintf("%s:%s", host, port);
        add_header(call, "host", host_port);
        curl.easy_setopt(call->slot->easy, CURLOPT_URL, url);
    }
    curl.free(host);
    curl.free(port);
    curl.free(url);
    curl.url_cleanup(u);
    return ok ? 0 : error_set(err, ERR_BAD_REQUEST, "url %s is malformed", call->request->url);
}

static int call_set_up(struct call *call, const struct http_client *c, struct error *err)
{
    CURL *easy = call->slot->easy;
    const struct http_client_request *r = call->request;
    curl.easy_setopt(easy, CURLOPT_URL, r->url);
    curl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl.easy_setopt(easy, CURLOPT_USERAGENT, "coracle/" CORACLE_VERSION);
    curl.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl.easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl.easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_error);
    curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl.easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl.easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
    if (r->on_head) {
        curl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head_line);
        curl.easy_setopt(easy, CURLOPT_HEADERDATA, call);
    }
    set_tls(easy, c);
    set_method(call);
    if (c->server_name && use_server_name(call, c->server_name, err) < 0)
        return -1;
    set_headers(call);
    return 0;
}

static bool is_canceled(const struct call *call)
{
    struct pollfd cancel = { .fd = call->request->cancel_fd, .events = POLLIN };
    return cancel.fd > 0 && poll(&cancel, 1, 0) > 0;
}

/* Runs the transfer to its end: libcurl's verdict, or ERR_CANCELED. */
static int call_run(struct call *call, CURLcode *verdict, struct error *err)
{
    CURLM *multi = call->slot->multi;
    for (;;) {
        int running = 0, left = 0;
        CURLMcode code = curl.multi_perform(multi, &running);
        if (code != CURLM_OK)
            return error_set(err, ERR_INTERNAL, "%s", curl.multi_strerror(code));
        CURLMsg *message = curl.multi_info_read(multi, &left);
        if (message && message->msg == CURLMSG_DONE) {
            *verdict = message->data.result;
            return 0;
        }
        if (is_canceled(call))
            return error_set(err, ERR_CANCELED, "canceled");
        struct curl_waitfd cancel = { .fd = call->request->cancel_fd, .events = CURL_WAIT_POLLIN };
        code = curl.multi_poll(multi, &cancel, cancel.fd > 0, WAIT_MS_MAX, NULL);
        if (code != CURLM_OK)
            return error_set(err, ERR_INTERNAL, "%s", curl.multi_strerror(code));
    }
}

/* ---- why it failed, in the words of Go's net/http: users read them in events ---- */

static char *url_part(const struct call *call, CURLUPart part)
{
    CURLU *u = curl.url();
    char *text = NULL, *copy;
    if (u && curl.url_set(u, CURLUPART_URL, call->request->url, 0) == CURLUE_OK)
        curl.url_get(u, part, &text, CURLU_DEFAULT_PORT);
    copy = xstrdup(text ? text : "");
    curl.free(text);
    curl.url_cleanup(u);
    return copy;
}

static int fail_dial(const struct call *call, const char *why, struct error *err)
{
    scoped(str) char *host = url_part(call, CURLUPART_HOST);
    scoped(str) char *port = url_part(call, CURLUPART_PORT);
    return error_set(err, ERR_UNAVAILABLE, "dial tcp %s:%s: %s", host, port, why);
}

static int fail_connect(const struct call *call, int code, struct error *err)
{
    scoped(str) char *text = socket_errno_text(code);
    scoped(str) char *why = xasprintf("connect: %s", text);
    return fail_dial(call, why, err);
}

static int fail_look_up(const struct call *call, struct error *err)
{
    scoped(str) char *host = url_part(call, CURLUPART_HOST);
    return error_set(err, ERR_UNAVAILABLE, "dial tcp: lookup %s: no such host", host);
}

static int fail_late(const struct call *call, struct error *err)
{
    int64_t took_ms = (clock_monotonic_ns(&system_clock) - call->started_ns) / NS_PER_MS;
    long status = 0;
    curl.easy_getinfo(call->slot->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->request->timeout_ms == 0 || took_ms < call->request->timeout_ms) {
        fail_dial(call, "i/o timeout", err);
        err->code = ERR_TIMEOUT;
        return -1;
    }
    return error_set(err, ERR_TIMEOUT, "context deadline exceeded (Client.Timeout %s)",
                     status ? "or context cancellation while reading body"
                            : "exceeded while awaiting headers");
}

static int fail_stream(const struct call *call, int code, struct error *err)
{
    char *local = NULL, *peer = NULL;
    long local_port = 0, peer_port = 0;
    scoped(str) char *why = socket_errno_text(code);
    curl.easy_getinfo(call->slot->easy, CURLINFO_LOCAL_IP, &local);
    curl.easy_getinfo(call->slot->easy, CURLINFO_LOCAL_PORT, &local_port);
    curl.easy_getinfo(call->slot->easy, CURLINFO_PRIMARY_IP, &peer);
    curl.easy_getinfo(call->slot->easy, CURLINFO_PRIMARY_PORT, &peer_port);
    bool is_v6 = peer && strchr(peer, ':');
    return error_set(err, ERR_UNAVAILABLE,
                     is_v6 ? "read tcp [%s]:%ld->[%s]:%ld: read: %s"
                           : "read tcp %s:%ld->%s:%ld: read: %s",
                     local ? local : "", local_port, peer ? peer : "", peer_port, why);
}

static int call_judge(const struct call *call, CURLcode verdict, struct error *err)
{
    long os_errno = 0;
    if (verdict == CURLE_OK)
        return 0;
    if (call->state == STOPPED)
        return error_set(err, ERR_CANCELED, "stopped by the receiver");
    if (call->state == TOO_LARGE)
        return error_set(err, ERR_TOO_LARGE, "answer is larger than %zu bytes",
                         call->body_bytes_max);
    curl.easy_getinfo(call->slot->easy, CURLINFO_OS_ERRNO, &os_errno);
    if (verdict == CURLE_OPERATION_TIMEDOUT)
        return fail_late(call, err);
    if (verdict == CURLE_COULDNT_RESOLVE_HOST)
        return fail_look_up(call, err);
    if (verdict == CURLE_COULDNT_CONNECT && os_errno)
        return fail_connect(call, (int)os_errno, err);
    if (verdict == CURLE_RECV_ERROR && os_errno)
        return fail_stream(call, (int)os_errno, err);
    if (verdict == CURLE_GOT_NOTHING)
        return error_set(err, ERR_UNAVAILABLE, "EOF");
    if (verdict == CURLE_SSL_CONNECT_ERROR && strstr(call->curl_error, "wrong version number"))
        return error_set(err, ERR_UNAVAILABLE, "http: server gave HTTP response to HTTPS client");
    bool is_ours = verdict == CURLE_URL_MALFORMAT || verdict == CURLE_UNSUPPORTED_PROTOCOL;
    return error_set(err, is_ours ? ERR_BAD_REQUEST : ERR_UNAVAILABLE, "%s",
                     call->curl_error[0] ? call->curl_error : curl.easy_strerror(verdict));
}

static void call_result(const struct call *call, struct arena *a, struct http_client_response *out)
{
    long status = 0;
    const char *content_type = NULL;
    curl.easy_getinfo(call->slot->easy, CURLINFO_RESPONSE_CODE, &status);
    curl.easy_getinfo(call->slot->easy, CURLINFO_CONTENT_TYPE, &content_type);
    *out = (struct http_client_response){
        .status = (int)status,
        .body = arena_bytes(a, buffer_bytes(&call->body)),
        .content_type = arena_bytes(a, bytes_of(content_type)),
    };
}

int http_client_round_trip(struct http_client *c, const struct http_client_request *r,
                           int (*on_body)(struct bytes piece, void *arg), void *arg,
                           struct arena *a, struct http_client_response *out, struct error *err)
{
    if (need_curl(err) < 0)
        return -1;
    struct call call = { .slot = slot_take(c), .request = r, .on_body = on_body, .arg = arg };
    call.started_ns = clock_monotonic_ns(&system_clock);
    call.body_bytes_max = r->body_bytes_max ? r->body_bytes_max : BODY_BYTES_MAX_DEFAULT;
    CURLcode verdict = CURLE_OK;
    int rc = call_set_up(&call, c, err);
    if (rc == 0) {
        curl.multi_add_handle(call.slot->multi, call.slot->easy);
        rc = call_run(&call, &verdict, err);
        if (rc == 0)
            rc = call_judge(&call, verdict, err);
        if (rc == 0)
            call_result(&call, a, out);
        curl.multi_remove_handle(call.slot->multi, call.slot->easy);
    }
    curl.slist_free_all(call.headers);
    curl.slist_free_all(call.connect_to);
    buffer_free(&call.body);
    buffer_free(&call.head);
    slot_give_back(c, call.slot);
    return rc;
}

int http_client_do(struct http_client *c, const struct http_client_request *r,
                   int (*on_body)(struct bytes piece, void *arg), void *arg, struct arena *a,
                   struct http_client_response *out, struct error *err)
{
    if (http_client_round_trip(c, r, on_body, arg, a, out, err) == 0)
        return 0;
    scoped(str) char *method = xstrdup(r->method); /* "Get", as Go has it */
    for (char *m = method; *m; m++)
        if (m > method && *m >= 'A' && *m <= 'Z')
            *m = (char)(*m - 'A' + 'a');
    return error_wrap(err, "%s \"%s\"", method, r->url);
}
