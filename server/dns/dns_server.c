/* SPDX-License-Identifier: Apache-2.0
 * DNS server: sockets, UDP and metrics. TCP is in dns_tcp.c.
 *
 * A query is answered at once from the registry's current view; no state of it is kept. UDP queries are
 * read and answered in batches (recvmmsg, sendmmsg). An answer that the socket does not take is dropped;
 * the client retries. */
#include "server/dns/dns_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/port_holder.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/text.h"
#include "base/turn.h"
#include "server/dns/dns_server_private.h"

enum {
    BATCH = 32,
    BATCHES_PER_TURN = 8, /* batches; then other handles run */
    SLICE_NS = 2000000,   /* the same limit as time, ns */
    CONTROL_SIZE = 64,
    CONNECTIONS_MAX = 256,
    IDLE_MS = 10000,
    BACKLOG = 128,
    UDP_BUFFER = 1 << 20, /* the kernel's buffer, for bursts */
    SECOND_NS = 1000000000,
};

struct dns_batch {
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_vec[BATCH], out_vec[BATCH];
    struct sockaddr_storage peers[BATCH];
    _Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_SIZE];
    uint8_t queries[BATCH][DNS_QUERY_MAX + 1]; /* one byte more, so that a longer query is noticed */
    uint8_t answers[BATCH][DNS_UDP_SIZE];
};

uint16_t dns_server_read_client(const struct sockaddr_storage *from, struct dns_address *ret_address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (from->ss_family == AF_INET) {
        memcpy(&v4, from, sizeof v4);
        ret_address->size = sizeof v4.sin_addr;
        memcpy(ret_address->bytes, &v4.sin_addr, sizeof v4.sin_addr);
        return ntohs(v4.sin_port);
    }
    memcpy(&v6, from, sizeof v6);
    ret_address->size = sizeof v6.sin6_addr;
    memcpy(ret_address->bytes, &v6.sin6_addr, sizeof v6.sin6_addr);
    return ntohs(v6.sin6_port);
}

static void count_result(struct dns_server *s, const struct dns_result *r, size_t size)
{
    if (r->cookie == DNS_COOKIE_VALID)
        metric_add(METRIC_DNS_COOKIES_VALID, 1);
    else if (r->cookie == DNS_COOKIE_BAD)
        metric_add(METRIC_DNS_COOKIES_BAD, 1);
    if (r->verdict == DNS_RATE_SLIP)
        metric_add(METRIC_DNS_LIMITED_SLIPPED, 1);
    if (r->verdict == DNS_RATE_DROP) {
        metric_add(METRIC_DNS_LIMITED_DROPPED, 1);
    } else if (size == 0) {
        s->dropped++;
    } else {
        s->rcodes[r->rcode]++;
        s->truncated += r->is_truncated;
    }
}

static uint32_t now_s(void)
{
    return (uint32_t)(clock_wall_ns() / SECOND_NS); /* modulo 2^32, as in RFC 9018 */
}

static void change_secret(struct dns_server *s)
{
    uint8_t secret[SIPHASH_KEY_SIZE];
    random_bytes(secret, sizeof secret);
    dns_cookie_set_secret(&s->secrets, secret, now_s());
}

static void on_indexing(uv_idle_t *h)
{
    struct dns_server *s = h->data;
    turn_enter(TURN_DNS_QUERY);
    if (!registry_is_ready(s->registry) || !dns_index_turn(s->index, registry_catalog(s->registry)))
        uv_idle_stop(h); /* the next question that needs it continues */
}

static void go_on_with_index(struct dns_server *s)
{
    if (dns_index_is_building(s->index) && !s->is_stopping)
        uv_idle_start(&s->indexing, on_indexing);
}

/* Builds the index before the first question needs it. */
static void begin_index(struct dns_server *s)
{
    if (!registry_is_ready(s->registry))
        return;
    dns_index_set_audience(s->index, s->audience ? s->audience(s->audience_arg) : NULL);
    (void)dns_index_is_ready(s->index, registry_catalog(s->registry));
    go_on_with_index(s);
}

size_t dns_server_answer(struct dns_server *s, struct slice query, enum dns_transport transport,
                         const struct dns_address *client, uint8_t *out)
{
    struct dns_result result;
    struct dns_view view = {
        .zone = &s->zone,
        .catalog = registry_is_ready(s->registry) ? registry_catalog(s->registry) : NULL,
        .index = s->index,
        .choices = &s->choices,
        .audience = s->audience ? s->audience(s->audience_arg) : NULL,
        .secrets = &s->secrets,
        .rate = s->rate,
    };
    struct dns_request request = {
        .query = query,
        .is_tcp = transport == DNS_TCP,
        .client = *client,
        .now_s = now_s(),
        .mono_ns = clock_coarse_ns(),
        .random = hash64_u64(s->answered++),
    };
    if (dns_cookie_is_due(&s->secrets, request.now_s))
        change_secret(s);
    arena_reset(&s->arena);
    s->queries[transport]++;
    size_t size = dns_answer(&view, &request, &s->arena, out, &result);
    count_result(s, &result, size);
    go_on_with_index(s);
    return size;
}

/* --- UDP --------------------------------------------------------------------------------------------- */
/* Sends the control message back: the answer leaves from the address that the query came to. The interface is
 * cleared, because the route back may use another one. */
static void reply_from_same_address(struct msghdr *in, struct msghdr *out)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(in);
    if (!c)
        return;
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo *info = (struct in_pktinfo *)(void *)CMSG_DATA(c);
        info->ipi_ifindex = 0;
    } else if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_PKTINFO) {
        return;
    }
    out->msg_control = in->msg_control;
    out->msg_controllen = in->msg_controllen;
}

static void prepare_batch(struct dns_batch *b, bool is_wildcard)
{
    for (size_t i = 0; i < BATCH; i++) {
        b->in_vec[i] = (struct iovec){b->queries[i], sizeof b->queries[i]};
        b->in[i].msg_hdr = (struct msghdr){.msg_name = &b->peers[i],
                                           .msg_namelen = sizeof b->peers[i],
                                           .msg_iov = &b->in_vec[i],
                                           .msg_iovlen = 1,
                                           .msg_control = is_wildcard ? b->control[i] : NULL,
                                           .msg_controllen = is_wildcard ? CONTROL_SIZE : 0};
    }
}

/* False: the port of a service that answers any packet (echo, discard, daytime, quote of the day, chargen,
 * time). With a forged source address it and this server would answer each other forever. Resolvers never
 * send from these ports, nor from 0. */
static bool is_safe_port(uint16_t port)
{
    static const uint16_t never[] = {0, 7, 13, 17, 19, 37};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (port == never[i])
            return false;
    return true;
}

static size_t answer_batch(struct dns_server *s, size_t count)
{
    struct dns_batch *b = s->batch;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct dns_address client;
        if (!is_safe_port(dns_server_read_client(&b->peers[i], &client))) {
            s->queries[DNS_UDP]++;
            s->dropped++;
            continue;
        }
        size_t size =
            dns_server_answer(s, slice_of(b->queries[i], b->in[i].msg_len), DNS_UDP, &client, b->answers[n]);
        if (size == 0)
            continue;
        b->out_vec[n] = (struct iovec){b->answers[n], size};
        b->out[n].msg_hdr = (struct msghdr){.msg_name = &b->peers[i],
                                            .msg_namelen = b->in[i].msg_hdr.msg_namelen,
                                            .msg_iov = &b->out_vec[n],
                                            .msg_iovlen = 1};
        reply_from_same_address(&b->in[i].msg_hdr, &b->out[n].msg_hdr);
        n++;
    }
    return n;
}

/* An answer that cannot be sent (no such peer, a full socket) does not delay the others. */
static void send_batch(struct dns_server *s, int fd, size_t count)
{
    for (size_t at = 0; at < count;) {
        int n = sendmmsg(fd, s->batch->out + at, (unsigned)(count - at), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            s->dropped++;
            at++;
        }
    }
}

bool dns_server_is_slice_over(struct dns_server *s)
{
    uint64_t now_ns = clock_mono_ns(), turn_ms = uv_now(s->loop);
    if (turn_ms != s->slice_at_ms || !s->slice_end_ns) {
        s->slice_at_ms = turn_ms;
        s->slice_end_ns = now_ns + SLICE_NS;
    }
    return now_ns >= s->slice_end_ns;
}

/* Fits the batch size to the time of an answer, because all queries of a batch are answered in one turn. A
 * question about a service of 10,000 instances takes 2 ms. */
static void fit_batch(struct dns_server *s, uint64_t took_ns)
{
    if (took_ns > SLICE_NS / 2 && s->batch_size > 1)
        s->batch_size /= 2;
    else if (took_ns < SLICE_NS / 8 && s->batch_size < BATCH)
        s->batch_size *= 2;
}

static void on_udp(uv_poll_t *h, int status, int events)
{
    struct dns_socket *socket = h->data;
    struct dns_server *s = socket->server;
    (void)status;
    (void)events;
    turn_enter(TURN_DNS_QUERY);
    for (int i = 0; i < BATCHES_PER_TURN && (i == 0 || !dns_server_is_slice_over(s)); i++) {
        uint64_t begin_ns = clock_mono_ns();
        size_t wanted = s->batch_size;
        prepare_batch(s->batch, socket->is_wildcard);
        int n = recvmmsg(socket->fd, s->batch->in, (unsigned)wanted, MSG_DONTWAIT, NULL);
        if (n > 0)
            send_batch(s, socket->fd, answer_batch(s, (size_t)n));
        fit_batch(s, clock_mono_ns() - begin_ns);
        if (n < (int)wanted)
            return;
    }
}

/* --- listening --------------------------------------------------------------------------------------- */
static int listen_error(char *error, size_t size, struct slice where, const char *what, int errnum)
{
    snprintf(error, size, "cannot listen for DNS on %.*s: %s%s%s", (int)(where.size < 100 ? where.size : 100),
             (const char *)where.data, what, errnum ? ": " : "", errnum ? strerror(errnum) : "");
    return errnum == EADDRINUSE ? ERR_EXISTS : ERR_INVALID;
}

/* As above, with the process that uses the port. */
static int listen_error_in_use(char *error, size_t size, struct slice where, const char *what, int errnum,
                               uint16_t port)
{
    int err = listen_error(error, size, where, what, errnum);
    size_t n = strlen(error);
    if (err == ERR_EXISTS)
        port_holder_describe(port, strcmp(what, "UDP") == 0, "--listen-dns", error + n, size - n);
    return err;
}

static struct dns_listen listen_at(const struct dns_address *a, uint16_t port)
{
    struct dns_listen l = {0};
    if (a->size == sizeof(struct in_addr)) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&v4.sin_addr, a->bytes, a->size);
        memcpy(&l.address, &v4, l.size = sizeof v4);
    } else {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&v6.sin6_addr, a->bytes, a->size);
        memcpy(&l.address, &v6, l.size = sizeof v6);
    }
    return l;
}

/* Reads one "host:port". localhost is 127.0.0.1 alone; ::1 must be given as such. */
static int read_listen(struct slice text, struct dns_address *ret_address, uint16_t *ret_port)
{
    const uint8_t *colon = text.size ? memrchr(text.data, ':', text.size) : NULL;
    uint64_t port;
    if (!colon)
        return ERR_MALFORMED;
    struct slice host = slice_of(text.data, (size_t)(colon - text.data));
    if (text_to_u64(slice_of(colon + 1, text.size - host.size - 1), &port) || port > UINT16_MAX)
        return ERR_MALFORMED;
    *ret_port = (uint16_t)port;
    if (slice_equal(host, slice_text("localhost")))
        host = slice_text("127.0.0.1");
    if (memchr(host.data, ':', host.size) && host.data[0] != '[')
        return ERR_MALFORMED;
    return dns_address_read(host, ret_address);
}

/* Opens each address of the list; with s NULL it only checks and counts them. */
static int each_listen(const char *list, char *error, size_t error_size, struct dns_server *s,
                       int (*open)(struct dns_server *s, struct slice text, const struct dns_address *address,
                                   uint16_t port, char *error, size_t error_size))
{
    size_t count = 0;
    const char *at = list;
    for (;;) {
        struct slice text = slice_of(at, strcspn(at, ","));
        struct dns_address address;
        uint16_t port;
        if (read_listen(text, &address, &port))
            return listen_error(error, error_size, text, "expected IP:port or localhost:port", 0);
        if (++count > DNS_ADDRESSES_MAX)
            return listen_error(error, error_size, text, "more than 16 addresses", 0);
        int err = open ? open(s, text, &address, port, error, error_size) : 0;
        if (err)
            return err;
        at += text.size;
        if (!*at)
            return 0;
        at++;
    }
}

int dns_server_check(const char *listen, const char *zone, char *error, size_t error_size)
{
    struct dns_zone z;
    if (dns_zone_init(&z, slice_text(zone), 0)) {
        snprintf(error, error_size, "not a DNS zone of 1 to %d bytes: \"%.100s\"", DNS_ZONE_MAX, zone);
        return ERR_INVALID;
    }
    return *listen ? each_listen(listen, error, error_size, NULL, NULL) : 0;
}

static int open_socket(struct dns_server *s, const struct dns_listen *l, int type, struct dns_socket *ret)
{
    int on = 1, size = UDP_BUFFER, family = l->address.ss_family;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    else
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (ret->is_wildcard && type == SOCK_DGRAM)
        setsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                   family == AF_INET ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&l->address, l->size) != 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) != 0)) {
        int errnum = errno;
        close(fd);
        return errnum;
    }
    ret->fd = fd;
    ret->server = s;
    ret->poll.data = ret;
    int rc = uv_poll_init(s->loop, &ret->poll, fd);
    assert(rc == 0);
    s->open_handles++;
    return 0;
}

/* With port 0 the kernel chooses the TCP port, and UDP uses the same: a client must find TCP on the UDP
 * port. */
static int open_pair(struct dns_server *s, struct slice text, const struct dns_address *address,
                     uint16_t port, char *error, size_t error_size)
{
    static const struct dns_address any4 = {.size = 4}, any6 = {.size = 16};
    struct dns_listen l = listen_at(address, port);
    struct dns_socket *tcp = &s->tcp[s->tcp_count], *udp = &s->udp[s->udp_count];
    bool is_wildcard = dns_address_equal(address, &any4) || dns_address_equal(address, &any6);
    udp->is_wildcard = tcp->is_wildcard = is_wildcard;
    int errnum = open_socket(s, &l, SOCK_STREAM, tcp);
    if (errnum)
        return listen_error_in_use(error, error_size, text, "TCP", errnum, port);
    s->tcp_count++;
    getsockname(tcp->fd, (struct sockaddr *)&l.address, &l.size);
    errnum = open_socket(s, &l, SOCK_DGRAM, udp);
    if (errnum)
        return listen_error_in_use(error, error_size, text, "UDP", errnum, port);
    s->udp_count++;
    if (!is_wildcard)
        dns_zone_add_server(&s->zone, address);
    return 0;
}

int dns_server_port(const struct dns_server *s)
{
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    if (!s->tcp_count || getsockname(s->tcp[0].fd, (struct sockaddr *)&a, &size) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                        : ((struct sockaddr_in6 *)&a)->sin6_port);
}

/* --- life -------------------------------------------------------------------------------------------- */
static void dns_server_collect(void *arg, struct buf *out)
{
    static const char *const transports[] = {"udp", "tcp"};
    const struct dns_server *s = arg;
    metric_print_head(out, "cairn_dns_queries_total", "counter", "Messages that came in.");
    for (size_t i = 0; i < DNS_TRANSPORTS; i++)
        buf_addf(out, "cairn_dns_queries_total{transport=\"%s\"} %llu\n", transports[i],
                 (unsigned long long)s->queries[i]);
    metric_print_head(out, "cairn_dns_answers_total", "counter", "Answers by what they say.");
#define RCODE(name, value, text)                                                                             \
    buf_addf(out, "cairn_dns_answers_total{rcode=\"" text "\"} %llu\n", (unsigned long long)s->rcodes[value]);
#include "server/dns/dns_rcode.def"
#undef RCODE
    metric_print_head(out, "cairn_dns_truncated_total", "counter", "Answers that did not fit.");
    metric_print_value(out, "cairn_dns_truncated_total", (double)s->truncated);
    metric_print_head(out, "cairn_dns_dropped_total", "counter",
                      "Messages without an answer: no queries, or answers that could not be sent.");
    metric_print_value(out, "cairn_dns_dropped_total", (double)s->dropped);
    metric_print_head(out, "cairn_dns_connections", "gauge", "TCP connections that are open.");
    metric_print_value(out, "cairn_dns_connections", (double)s->connection_count);
    metric_print_head(out, "cairn_dns_pending_bytes", "gauge",
                      "Answers that TCP clients have not taken yet.");
    metric_print_value(out, "cairn_dns_pending_bytes", (double)dns_tcp_pending(s));
}

void dns_server_handle_closed(struct dns_server *s)
{
    if (--s->open_handles > 0 || !s->is_stopping)
        return;
    void (*done)(void *arg) = s->done;
    void *arg = s->done_arg;
    dns_index_free(s->index);
    dns_rate_free(s->rate);
    arena_done(&s->arena);
    dns_choices_done(&s->choices);
    mem_free(s->batch);
    mem_free(s);
    if (done)
        done(arg);
}

static void on_socket_closed(uv_handle_t *h)
{
    dns_server_handle_closed(((struct dns_socket *)h->data)->server);
}

static void on_own_closed(uv_handle_t *h)
{
    dns_server_handle_closed(h->data);
}

static void close_sockets(struct dns_socket *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uv_poll_stop(&list[i].poll);
        uv_close((uv_handle_t *)&list[i].poll, on_socket_closed);
        close(list[i].fd);
    }
}

void dns_server_stop(struct dns_server *s, void (*done)(void *arg), void *arg)
{
    s->is_stopping = true;
    s->done = done;
    s->done_arg = arg;
    metric_collector_remove(dns_server_collect, s);
    close_sockets(s->udp, s->udp_count);
    close_sockets(s->tcp, s->tcp_count);
    dns_tcp_stop(s);
    uv_close((uv_handle_t *)&s->timer, on_own_closed);
    uv_close((uv_handle_t *)&s->indexing, on_own_closed);
}

static struct dns_rate *new_rate(uint64_t per_s)
{
    uint8_t key[SIPHASH_KEY_SIZE];
    random_bytes(key, sizeof key);
    return per_s ? dns_rate_new(per_s, key) : NULL;
}

int dns_server_new(const struct dns_server_options *o, char *error, size_t error_size,
                   struct dns_server **ret)
{
    int err = dns_server_check(o->listen, o->zone, error, error_size);
    if (err)
        return err;
    struct dns_server *s = mem_new(sizeof *s);
    s->loop = o->loop;
    s->registry = o->registry;
    s->connections_max = o->connections_max ? o->connections_max : CONNECTIONS_MAX;
    s->idle_ms = o->idle_ms ? o->idle_ms : IDLE_MS;
    s->output = o->output;
    s->index = dns_index_new(clock_mono_ns);
    s->audience = o->audience;
    s->audience_arg = o->audience_arg;
    s->batch = mem_new(sizeof *s->batch);
    s->batch_size = BATCH;
    change_secret(s);
    s->rate = new_rate(o->rate_limit);
    list_init(&s->connections);
    uv_timer_init(s->loop, &s->timer);
    s->timer.data = s;
    uv_idle_init(s->loop, &s->indexing);
    s->indexing.data = s;
    s->open_handles += 2;
    metric_collector_add(dns_server_collect, s);
    err = dns_zone_init(&s->zone, slice_text(o->zone), (uint32_t)(o->ttl_ns / SECOND_NS));
    if (!err)
        err = each_listen(o->listen, error, error_size, s, open_pair);
    if (err) {
        dns_server_stop(s, NULL, NULL);
        return err;
    }
    for (size_t i = 0; i < o->host_count && s->zone.server_count == 0; i++) {
        struct dns_address address;
        if (!dns_address_read(slice_text(o->hosts[i]), &address))
            dns_zone_add_server(&s->zone, &address);
    }
    for (size_t i = 0; i < s->udp_count; i++)
        uv_poll_start(&s->udp[i].poll, UV_READABLE, on_udp);
    dns_tcp_watch(s);
    begin_index(s);
    *ret = s;
    return 0;
}
