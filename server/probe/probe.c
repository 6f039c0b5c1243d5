/* SPDX-License-Identifier: Apache-2.0
 * Runs health checks; see probe.h. The life of a run:
 *
 *     lookup (a name only; LOOKUPS_MAX at once) ──► rules ──► connect ──► tcp: passed
 *                                                               │
 *                                       TLS handshake, if any ◄─┴─► http: request ──► status line
 *                                                                   grpc: call ──► status of the call
 *
 * Any step may end it with an outcome, and the timer ends it anywhere. A run is freed when its handles are
 * closed and its lookup has returned. */
#include "server/probe/probe.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/net/tls.h"
#include "base/turn.h"
#include "server/probe/probe_grpc.h"
#include "server/probe/probe_http.h"

enum {
    LOOKUPS_MAX = 2,      /* of libuv's four threads, which other lookups of this process use too */
    INPUT_SIZE = 4 << 10, /* of one read */
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
};

struct prober {
    struct check_prober ops; /* first */
    uv_loop_t *loop;
    struct check_networks allowed;
    size_t runs, lookups;
    struct link lookup_queue, tls_queue;
    bool is_freed;
    /* The CAs of the machine take milliseconds to load: a worker does it for the first https check. */
    enum { TLS_NONE, TLS_LOADING, TLS_READY } tls_state;
    uv_work_t tls_work;
    struct tls_context *verified, *insecure;
    char tls_error[256];
    char input[INPUT_SIZE];
};

struct probe_run {
    struct prober *prober;
    struct check_probe *probe; /* NULL: ended or canceled */
    struct link queue;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_getaddrinfo_t lookup;
    size_t open; /* handles that are not closed, and the lookup */
    bool has_tcp, is_sent;
    struct tls *tls;
    struct probe_answer answer;
    struct probe_grpc *grpc;
    /* of an outcome that is reported in the next turn of the loop */
    bool has_outcome;
    char output[CHECK_OUTPUT_MAX + 1];
};

static void lookup_next(struct prober *p);

/* --- the end of a run ----------------------------------------------------------------------------------- */

static void free_prober_if_done(struct prober *p)
{
    if (!p->is_freed || p->runs || p->tls_state == TLS_LOADING)
        return;
    tls_context_free(p->verified);
    tls_context_free(p->insecure);
    mem_free(p);
}

static void release(struct probe_run *r)
{
    struct prober *p = r->prober;
    if (--r->open)
        return;
    tls_free(r->tls);
    probe_grpc_free(r->grpc);
    mem_free(r);
    p->runs--;
    free_prober_if_done(p);
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void close_handles(struct probe_run *r)
{
    list_remove(&r->queue);
    r->probe->impl = NULL;
    r->probe = NULL;
    uv_close((uv_handle_t *)&r->timer, on_closed);
    if (r->has_tcp)
        uv_close((uv_handle_t *)&r->tcp, on_closed);
}

static void end_run(struct probe_run *r, enum check_outcome outcome, const char *output)
{
    struct check_probe *probe = r->probe;
    close_handles(r);
    probe->done(probe, outcome, output);
}

/* From inside of start, where done must not be called. */
static void fail_later(struct probe_run *r, const char *output)
{
    r->has_outcome = true;
    snprintf(r->output, sizeof r->output, "%s", output);
    uv_timer_start(&r->timer, r->timer.timer_cb, 0, 0);
}

static void probe_on_timer(uv_timer_t *timer)
{
    struct probe_run *r = timer->data;
    char output[64];
    turn_enter(TURN_REGISTRY_CHECKS);
    if (r->has_outcome) {
        end_run(r, CHECK_FAIL, r->output);
        return;
    }
    const char *at = !r->has_tcp ? "the lookup" : r->is_sent ? "the answer" : "the connection";
    snprintf(output, sizeof output, "no end of %s within %u ms", at, (unsigned)r->probe->timeout_ms);
    end_run(r, CHECK_FAIL, output);
}

/* --- answers -------------------------------------------------------------------------------------------- */

static void take_http(struct probe_run *r, struct slice bytes)
{
    char output[CHECK_OUTPUT_MAX];
    int err = probe_answer_feed(&r->answer, bytes);
    int status = r->answer.status;
    if (err) {
        end_run(r, CHECK_FAIL,
                err == ERR_LIMIT ? "the head of the answer is too long" : "the answer is no HTTP/1 answer");
        return;
    }
    if (!status)
        return;
    snprintf(output, sizeof output, "HTTP %d%s", status,
             status >= 300 && status < 400 ? " (redirects are not followed)" : "");
    end_run(r, status < 300 ? CHECK_PASS : status == 429 ? CHECK_WARN : CHECK_FAIL, output);
}

/* A fresh connection takes this little at once. False: the run has ended. */
static bool send_bytes(struct probe_run *r, const struct buf *bytes)
{
    uv_buf_t out = uv_buf_init((char *)bytes->data, (unsigned)bytes->size);
    if (!bytes->size)
        return true;
    int n = uv_try_write((uv_stream_t *)&r->tcp, &out, 1);
    if (n == (int)bytes->size)
        return true;
    end_run(r, CHECK_FAIL, n < 0 ? uv_strerror(n) : "the connection does not take the request");
    return false;
}

static void send_plain(struct probe_run *r, const struct buf *bytes)
{
    struct buf sealed = {0};
    if (!bytes->size) {
        return;
    } else if (!r->tls) {
        send_bytes(r, bytes);
    } else if (tls_send(r->tls, buf_slice(bytes)) != OK) {
        end_run(r, CHECK_FAIL, "the request could not be encrypted");
    } else {
        tls_take_output(r->tls, &sealed);
        send_bytes(r, &sealed);
    }
    buf_done(&sealed);
}

static void take_grpc(struct probe_run *r, struct slice bytes)
{
    char output[CHECK_OUTPUT_MAX];
    enum check_outcome outcome;
    struct buf out = {0};
    int err = probe_grpc_feed(r->grpc, bytes);
    if (!err && probe_grpc_outcome(r->grpc, &outcome, output, sizeof output)) {
        end_run(r, outcome, output);
        return;
    }
    if (!err)
        err = probe_grpc_take_output(r->grpc, &out);
    if (err)
        end_run(r, CHECK_FAIL,
                err == ERR_LIMIT ? "the answer is too long" : "the answer is no HTTP/2 answer");
    else
        send_plain(r, &out);
    buf_done(&out);
}

static void take_plain(struct probe_run *r, struct slice bytes)
{
    if (r->grpc)
        take_grpc(r, bytes);
    else
        take_http(r, bytes);
}

static void send_request(struct probe_run *r)
{
    const struct check_probe *q = r->probe;
    struct buf out = {0};
    uint16_t usual = q->type == CHECK_HTTPS ? HTTPS_PORT : HTTP_PORT;
    int err = OK;
    r->is_sent = true;
    if (q->type == CHECK_GRPC) {
        r->grpc = probe_grpc_new(q->host, q->port, q->is_tls, q->service);
        err = r->grpc ? probe_grpc_take_output(r->grpc, &out) : ERR_LIMIT;
    } else {
        probe_http_request(&out, q->host, q->port == usual ? 0 : q->port, q->path);
    }
    if (err)
        end_run(r, CHECK_FAIL, "the request could not be made");
    else
        send_plain(r, &out);
    buf_done(&out);
}

/* OpenSSL's text may hold text of the peer. */
static void end_tls(struct probe_run *r)
{
    char output[CHECK_OUTPUT_MAX];
    size_t n = (size_t)snprintf(output, sizeof output, "%s", tls_error(r->tls));
    for (size_t i = 0; i < n && i < sizeof output - 1; i++)
        if (output[i] < 0x20 || output[i] > 0x7e)
            output[i] = '?';
    end_run(r, CHECK_FAIL, *output ? output : "tls: the connection was closed");
}

static void take_sealed(struct probe_run *r, struct slice bytes)
{
    struct buf plain = {0}, out = {0};
    int err = tls_receive(r->tls, bytes, &plain);
    tls_take_output(r->tls, &out);
    if (!send_bytes(r, &out))
        goto out;
    if (plain.size)
        take_plain(r, buf_slice(&plain));
    if (!r->probe)
        goto out;
    if (err)
        end_tls(r);
    else if (tls_is_ready(r->tls) && !r->is_sent)
        send_request(r);
out:
    buf_done(&plain);
    buf_done(&out);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct probe_run *r = handle->data;
    (void)size;
    *ret = uv_buf_init(r->prober->input, INPUT_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct probe_run *r = stream->data;
    turn_enter(TURN_REGISTRY_CHECKS);
    if (!r->probe || n == 0)
        return;
    struct slice bytes = slice_of(buf->base, n > 0 ? (size_t)n : 0);
    if (n < 0)
        end_run(r, CHECK_FAIL,
                n == UV_EOF ? "the connection was closed without an answer" : uv_strerror((int)n));
    else if (r->tls)
        take_sealed(r, bytes);
    else
        take_plain(r, bytes);
}

/* --- connecting ----------------------------------------------------------------------------------------- */

static void on_connected(uv_connect_t *request, int status)
{
    struct probe_run *r = request->data;
    struct buf hello = {0};
    turn_enter(TURN_REGISTRY_CHECKS);
    if (!r->probe)
        return;
    if (status < 0) {
        end_run(r, CHECK_FAIL, uv_strerror(status));
        return;
    }
    if (r->probe->type == CHECK_TCP) {
        end_run(r, CHECK_PASS, "connected");
        return;
    }
    uv_read_start((uv_stream_t *)&r->tcp, on_alloc, on_read);
    if (!r->tls) {
        send_request(r);
        return;
    }
    tls_take_output(r->tls, &hello);
    send_bytes(r, &hello);
    buf_done(&hello);
}

/* The one place that connects. */
static void connect_to(struct probe_run *r, const struct sockaddr *address)
{
    struct prober *p = r->prober;
    bool is_v6 = address->sa_family == AF_INET6;
    char output[CHECK_OUTPUT_MAX];
    const uint8_t *bytes =
        is_v6 ? ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr
              : (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    const char *refusal = check_address_refusal(&p->allowed, is_v6, bytes);
    if (refusal) {
        metric_add(METRIC_CHECK_REFUSED, 1);
        snprintf(output, sizeof output, "the address is not allowed: %s (--registry-check-allow)", refusal);
        fail_later(r, output);
        return;
    }
    uv_tcp_init(p->loop, &r->tcp);
    r->has_tcp = true;
    r->open++;
    r->tcp.data = r->connect.data = r;
    int rc = uv_tcp_connect(&r->connect, &r->tcp, address, on_connected);
    if (rc < 0)
        fail_later(r, uv_strerror(rc));
}

static void set_port(struct sockaddr *address, uint16_t port)
{
    if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct probe_run *r = request->data;
    struct prober *p = r->prober;
    turn_enter(TURN_REGISTRY_CHECKS);
    p->lookups--;
    if (!r->probe) {
        /* It has ended meanwhile. */
    } else if (status < 0 || !list ||
               (list->ai_addr->sa_family != AF_INET && list->ai_addr->sa_family != AF_INET6)) {
        end_run(r, CHECK_FAIL, status < 0 ? uv_strerror(status) : "the name has no address");
    } else {
        set_port(list->ai_addr, r->probe->port);
        connect_to(r, list->ai_addr);
    }
    uv_freeaddrinfo(list);
    lookup_next(p);
    release(r);
}

static void lookup_next(struct prober *p)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    while (p->lookups < LOOKUPS_MAX && !list_is_empty(&p->lookup_queue)) {
        struct probe_run *r = container_of(p->lookup_queue.next, struct probe_run, queue);
        list_remove(&r->queue);
        r->lookup.data = r;
        int rc = uv_getaddrinfo(p->loop, &r->lookup, on_resolved, r->probe->host, NULL, &hints);
        if (rc < 0) {
            fail_later(r, uv_strerror(rc));
            continue;
        }
        r->open++;
        p->lookups++;
    }
}

static void find_address(struct probe_run *r)
{
    struct sockaddr_storage address;
    const struct check_probe *q = r->probe;
    if (uv_ip4_addr(q->host, q->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(q->host, q->port, (struct sockaddr_in6 *)&address) == 0) {
        connect_to(r, (const struct sockaddr *)&address);
        return;
    }
    list_add_last(&r->prober->lookup_queue, &r->queue);
    lookup_next(r->prober);
}

/* --- TLS ------------------------------------------------------------------------------------------------ */

static void load_contexts(uv_work_t *work)
{
    struct prober *p = work->data;
    const struct tls_options verified = {.use_system_ca = true}, insecure = {0};
    if (tls_context_new(&verified, p->tls_error, sizeof p->tls_error, &p->verified) != OK)
        p->verified = NULL;
    if (tls_context_new(&insecure, p->tls_error, sizeof p->tls_error, &p->insecure) != OK)
        p->insecure = NULL;
    tls_thread_end();
}

static void begin_tls(struct probe_run *r)
{
    struct tls_context *context = r->probe->is_insecure ? r->prober->insecure : r->prober->verified;
    if (!context) {
        fail_later(r, "tls: the certificates of this machine could not be loaded");
        return;
    }
    r->tls = tls_connect_for(context, r->probe->host, r->probe->type == CHECK_GRPC ? "h2" : NULL);
    find_address(r);
}

static void on_loaded(uv_work_t *work, int status)
{
    struct prober *p = work->data;
    (void)status;
    turn_enter(TURN_REGISTRY_CHECKS);
    p->tls_state = TLS_READY;
    while (!list_is_empty(&p->tls_queue)) {
        struct probe_run *r = container_of(p->tls_queue.next, struct probe_run, queue);
        list_remove(&r->queue);
        begin_tls(r);
    }
    free_prober_if_done(p);
}

static void wait_for_tls(struct probe_run *r)
{
    struct prober *p = r->prober;
    if (p->tls_state == TLS_READY) {
        begin_tls(r);
        return;
    }
    list_add_last(&p->tls_queue, &r->queue);
    if (p->tls_state == TLS_LOADING)
        return;
    p->tls_work.data = p;
    p->tls_state = TLS_LOADING;
    if (uv_queue_work(p->loop, &p->tls_work, load_contexts, on_loaded) < 0) {
        p->tls_state = TLS_NONE;
        list_remove(&r->queue);
        fail_later(r, "tls: the certificates of this machine could not be loaded");
    }
}

/* --- the interface -------------------------------------------------------------------------------------- */

static void prober_start(struct check_prober *ops, struct check_probe *probe)
{
    struct prober *p = container_of(ops, struct prober, ops);
    struct probe_run *r = mem_new(sizeof *r);
    r->prober = p;
    r->probe = probe;
    probe->impl = r;
    p->runs++;
    r->open = 1;
    uv_timer_init(p->loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, probe_on_timer, probe->timeout_ms, 0);
    if (!probe_host_is_valid(probe->host))
        fail_later(r, "the host is neither an address nor a name");
    else if (probe->type == CHECK_HTTPS || probe->is_tls)
        wait_for_tls(r);
    else
        find_address(r);
}

static void prober_cancel(struct check_prober *ops, struct check_probe *probe)
{
    (void)ops;
    if (probe->impl)
        close_handles(probe->impl);
}

struct prober *prober_new(struct uv_loop_s *loop, struct slice allowed)
{
    struct prober *p = mem_new(sizeof *p);
    char error[200];
    int err = check_networks_parse(allowed, &p->allowed, error, sizeof error);
    assert(!err);
    (void)err;
    p->ops = (struct check_prober){prober_start, prober_cancel};
    p->loop = loop;
    list_init(&p->lookup_queue);
    list_init(&p->tls_queue);
    return p;
}

struct check_prober *prober_interface(struct prober *p)
{
    return &p->ops;
}

void prober_free(struct prober *p)
{
    if (!p)
        return;
    p->is_freed = true;
    free_prober_if_done(p);
}
