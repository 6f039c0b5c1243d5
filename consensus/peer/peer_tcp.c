/* SPDX-License-Identifier: Apache-2.0
 * Table of operations of the TCP transport, and its init and close. */
#include "consensus/peer/peer_tcp.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "consensus/peer/peer_impl.h"

enum { NS_PER_MS = 1000000 };

static struct tcp_peers *to_tcp(struct peers *peers)
{
    return container_of(peers, struct tcp_peers, peers);
}

uint64_t peer_now_ms(struct tcp_peers *p)
{
    return p->io->ops->mono_ns(p->io) / NS_PER_MS;
}

/* --- members ------------------------------------------------------------------------------------------- */
struct member *peer_member_get(struct tcp_peers *p, uint64_t id)
{
    return map_get(&p->members, id);
}

struct member *peer_member_add(struct tcp_peers *p, uint64_t id)
{
    struct member *m = mem_new(sizeof *m);
    m->p = p;
    m->id = id;
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++) {
        m->streams[i].member = m;
        m->streams[i].kind = (enum peer_stream)i;
    }
    map_put(&p->members, id, m);
    return m;
}

static bool has_urls(const struct member *m, const char *const *urls, size_t count)
{
    bool same = m->url_count == count;
    for (size_t i = 0; same && i < count; i++)
        same = strcmp(m->urls[i], urls[i]) == 0;
    return same;
}

static void drop_urls(struct member *m)
{
    for (unsigned i = 0; i < m->url_count; i++)
        mem_free(m->urls[i]);
    m->url_count = 0;
}

void peer_member_set_urls(struct member *m, const char *const *urls, size_t count)
{
    count = count < KNOWN_URLS_MAX ? count : KNOWN_URLS_MAX;
    if (!has_urls(m, urls, count)) {
        drop_urls(m);
        for (; m->url_count < count; m->url_count++)
            m->urls[m->url_count] = mem_string(urls[m->url_count]);
        for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
            peer_stream_restart(&m->streams[i]);
    }
}

void peer_member_free(struct member *m)
{
    if (m->is_learned)
        m->p->learned_count--;
    map_remove(&m->p->members, m->id);
    peer_listen_close_streams(m);
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        peer_stream_done(&m->streams[i]);
    drop_urls(m);
    mem_free(m);
}

/* --- operations ---------------------------------------------------------------------------------------- */
static void set_events(struct peers *peers, const struct peer_events *events, void *arg)
{
    to_tcp(peers)->events = events;
    to_tcp(peers)->arg = arg;
}

/* 0 is the first level, of members that announce none. */
bool peer_level_is_low(const struct tcp_peers *p, uint32_t level)
{
    return (level ? level : 1) < p->required_level;
}

static void set_level(struct peers *peers, unsigned own, unsigned required)
{
    struct tcp_peers *p = to_tcp(peers);
    p->level = own;
    p->required_level = required;
}

static void set_identity(struct peers *peers, uint64_t cluster_id, uint64_t member_id)
{
    struct tcp_peers *p = to_tcp(peers);
    uint64_t id;
    void *value;
    if (p->cluster_id == cluster_id && p->self == member_id)
        return;
    bool is_new = p->self == 0;
    p->cluster_id = cluster_id;
    p->self = member_id;
    if (peer_member_get(p, member_id))
        peer_member_free(peer_member_get(p, member_id));
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);) {
        struct member *m = value;
        if (m->is_learned) {
            peer_member_free(m);
            continue;
        }
        if (!is_new)
            peer_listen_close_streams(m);
        for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
            peer_stream_restart(&m->streams[i]);
    }
}

static void set_member(struct peers *peers, uint64_t id, const char *const *urls, size_t count)
{
    struct tcp_peers *p = to_tcp(peers);
    if (id == 0 || id == p->self)
        return;
    map_remove(&p->removed, id);
    struct member *m = peer_member_get(p, id);
    if (!m)
        m = peer_member_add(p, id);
    if (m->is_learned) {
        m->is_learned = false;
        p->learned_count--;
    }
    peer_member_set_urls(m, urls, count);
}

static void remove_member(struct peers *peers, uint64_t id)
{
    struct tcp_peers *p = to_tcp(peers);
    struct member *m = peer_member_get(p, id);
    map_put(&p->removed, id, &p->removed);
    if (m)
        peer_member_free(m);
}

/* Drops members that another member listed and that did not open a stream in time. */
static void drop_late_vouched(struct tcp_peers *p)
{
    uint64_t id, now = peer_now_ms(p);
    void *value;
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);) {
        struct member *m = value;
        bool has_stream = false;
        for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
            has_stream |= m->in[i].conn != NULL;
        if (m->is_learned && !has_stream && now > m->vouched_until_ms)
            peer_member_free(m);
    }
}

/* Adds new URLs of a known member, unless one of our streams reaches it where we know it. */
static void add_urls(struct member *m, const char *const *urls, size_t count)
{
    const char *all[KNOWN_URLS_MAX];
    size_t n = 0;
    for (unsigned i = 0; i < PEER_STREAM_COUNT; i++)
        if (peer_stream_is_up(&m->streams[i]))
            return;
    for (; n < m->url_count; n++)
        all[n] = m->urls[n];
    for (size_t i = 0; i < count && n < KNOWN_URLS_MAX; i++) {
        bool is_new = true;
        for (size_t j = 0; j < n; j++)
            is_new = is_new && strcmp(all[j], urls[i]) != 0;
        if (is_new)
            all[n++] = urls[i];
    }
    if (n == m->url_count)
        return;
    char *copies[KNOWN_URLS_MAX];
    for (size_t i = 0; i < n; i++)
        copies[i] = mem_string(all[i]);
    peer_member_set_urls(m, (const char *const *)copies, n);
    for (size_t i = 0; i < n; i++)
        mem_free(copies[i]);
}

static void set_vouched(struct peers *peers, uint64_t id, const char *const *urls, size_t count)
{
    struct tcp_peers *p = to_tcp(peers);
    struct member *m = peer_member_get(p, id);
    if (id == 0 || id == p->self || map_get(&p->removed, id))
        return;
    if (m && !m->is_learned) {
        add_urls(m, urls, count);
        return;
    }
    drop_late_vouched(p);
    m = peer_member_get(p, id);
    if (!m && p->learned_count >= LEARNED_MAX)
        return;
    if (!m) {
        m = peer_member_add(p, id);
        m->is_learned = true;
        p->learned_count++;
    }
    m->vouched_until_ms = peer_now_ms(p) + VOUCHED_MS;
    peer_member_set_urls(m, urls, count);
}

static bool send_message(struct peers *peers, uint64_t to, enum peer_stream kind, struct slice head,
                         struct slice body)
{
    static const size_t limits[PEER_STREAM_COUNT] = {LOG_QUEUE_MAX, BULK_QUEUE_MAX};
    struct member *m = peer_member_get(to_tcp(peers), to);
    if (!m)
        return false;
    struct stream *l = &m->streams[kind];
    size_t size = head.size + body.size;
    if (peer_stream_is_up(l) && size <= PEER_MESSAGE_MAX) {
        size_t queued = peer_conn_queued(l->conn);
        if (queued == 0 || queued + size <= limits[kind]) {
            peer_conn_add(l->conn, WIRE_MESSAGE, head, body);
            return true;
        }
    }
    m->sent_failures++;
    return false;
}

static size_t queued(struct peers *peers, uint64_t to, enum peer_stream kind)
{
    struct member *m = peer_member_get(to_tcp(peers), to);
    return m && m->streams[kind].conn ? peer_conn_queued(m->streams[kind].conn) : 0;
}

static void flush(struct peers *peers)
{
    struct link *l;
    while ((l = list_take_first(&to_tcp(peers)->dirty)))
        peer_conn_flush(container_of(l, struct conn, dirty));
}

static uint64_t peer_tcp_query(struct peers *peers, const char *url, struct slice text, uint64_t timeout_ms,
                               void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    return peer_query_start(to_tcp(peers), url, text, timeout_ms, done, arg);
}

static void peer_tcp_cancel(struct peers *peers, uint64_t number)
{
    peer_query_cancel(to_tcp(peers), number);
}

static void answer(struct peers *peers, struct peer_served_query *query, struct slice text)
{
    peer_served_query_answer(to_tcp(peers), query, text);
}

static void confirm(struct peers *peers, struct peer_served_query *query, const char *const *urls,
                    size_t count, void (*done)(void *arg, bool is_confirmed), void *arg)
{
    peer_served_query_confirm(to_tcp(peers), query, urls, count, done, arg);
}

static size_t round_trips(struct peers *peers, struct peer_round_trip *ret_list, size_t max)
{
    uint64_t id;
    void *value;
    size_t count = 0;
    for (size_t at = 0; count < max && map_next(&to_tcp(peers)->members, &at, &id, &value);) {
        const struct member *m = value;
        const struct stream *l = &m->streams[PEER_STREAM_LOG];
        ret_list[count++] = (struct peer_round_trip){id, m->round_trip_ns,
                                                     peer_stream_is_up(l) ? (l->up_ms ? l->up_ms : 1) : 0};
    }
    return count;
}

static const struct peer_ops tcp_ops = {
    .set_events = set_events,
    .set_identity = set_identity,
    .set_level = set_level,
    .set_member = set_member,
    .remove_member = remove_member,
    .set_vouched = set_vouched,
    .send = send_message,
    .queued = queued,
    .flush = flush,
    .query = peer_tcp_query,
    .cancel = peer_tcp_cancel,
    .answer = answer,
    .confirm = confirm,
    .round_trips = round_trips,
};

/* --- TLS ----------------------------------------------------------------------------------------------- */
static int make_own_pair(const struct peer_tcp_options *o, char *cert, char *key, size_t size, char *error,
                         size_t error_size)
{
    struct url url;
    char names[LISTENERS_MAX][sizeof url.host];
    const char *hosts[LISTENERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < o->listen_url_count && count < LISTENERS_MAX; i++)
        if (url_parse(slice_text(o->listen_urls[i]), &url) == OK) {
            peer_tls_name(&url, names[count]);
            hosts[count] = names[count];
            count++;
        }
    snprintf(cert, size, "%s/cert.pem", o->tls.auto_dir);
    snprintf(key, size, "%s/key.pem", o->tls.auto_dir);
    return tls_self_signed(o->tls.auto_dir, hosts, count, o->tls.auto_years ? o->tls.auto_years : 1, error,
                           error_size);
}

/* As in etcd: with a CA both sides are checked; with our own self-signed pair none is. */
static int open_tls(struct tcp_peers *p, const struct peer_tcp_options *o, char *error, size_t error_size)
{
    const struct peer_tls_options *t = &o->tls;
    char cert[512], key[512];
    bool is_own = !t->cert_file && t->auto_dir;
    struct tls_options in = {.cert_file = t->cert_file,
                             .key_file = t->key_file,
                             .ca_file = t->ca_file,
                             .crl_file = t->crl_file,
                             .cipher_suites = t->cipher_suites,
                             .min_version = t->min_version,
                             .max_version = t->max_version};
    if (is_own) {
        int err = make_own_pair(o, cert, key, sizeof cert, error, error_size);
        if (err)
            return err;
        in.cert_file = cert;
        in.key_file = key;
    }
    struct tls_options out = in;
    if (t->client_cert_file) {
        out.cert_file = t->client_cert_file;
        out.key_file = t->client_key_file;
    }
    out.use_system_ca = !t->ca_file && !is_own;
    in.require_client_cert = t->ca_file || t->client_cert_auth;
    in.use_system_ca = t->client_cert_auth && !t->ca_file;
    in.allowed_cn = t->allowed_cn;
    in.allowed_hostname = t->allowed_hostname;
    int err = in.cert_file ? tls_context_new(&in, error, error_size, &p->tls_in) : OK;
    if (err || out.cert_file || out.ca_file)
        return err ? err : tls_context_new(&out, error, error_size, &p->tls_out);
    p->tls_later[0] = out.cipher_suites ? mem_string(out.cipher_suites) : NULL;
    p->tls_later[1] = out.min_version ? mem_string(out.min_version) : NULL;
    p->tls_later[2] = out.max_version ? mem_string(out.max_version) : NULL;
    return OK;
}

/* Without a certificate of our own, OpenSSL (4 MB of memory) is not initialized before an https member is
 * dialed. NULL: it failed, and the error is logged. */
struct tls_context *peer_tls_out(struct tcp_peers *p)
{
    char error[256] = "";
    struct tls_options out = {.cipher_suites = p->tls_later[0],
                              .min_version = p->tls_later[1],
                              .max_version = p->tls_later[2],
                              .use_system_ca = true};
    if (!p->tls_out && tls_context_new(&out, error, sizeof error, &p->tls_out) != OK) {
        log_error("cannot speak TLS to members", F_STR("reason", error));
        p->tls_out = NULL;
    }
    return p->tls_out;
}

/* --- init and close ------------------------------------------------------------------------------------ */
static void join_urls(struct tcp_peers *p, const struct peer_tcp_options *o)
{
    for (size_t i = 0; i < o->advertise_url_count; i++) {
        size_t size = strlen(o->advertise_urls[i]) + 1;
        if (p->urls.size + size > WIRE_URLS_MAX)
            break;
        if (p->urls.size)
            buf_add_byte(&p->urls, ',');
        buf_add_text(&p->urls, o->advertise_urls[i]);
    }
}

int peer_tcp_new(const struct peer_tcp_options *o, char *error, size_t error_size, struct peers **ret_peers)
{
    struct tcp_peers *p = mem_new(sizeof *p);
    uint64_t heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : HEARTBEAT_MS;
    p->peers.ops = &tcp_ops;
    p->io = o->io;
    p->loop = o->loop;
    p->run = p->io->ops->random(p->io);
    p->ping_ms = heartbeat_ms * PING_HEARTBEATS;
    p->silence_ms = p->ping_ms * SILENCE_PINGS;
    list_init(&p->conns);
    list_init(&p->dirty);
    list_init(&p->unauthenticated);
    peer_conn_tls_init(p);
    list_init(&p->queries);
    list_init(&p->served_queries);
    list_init(&p->dial_backs);
    if (o->tokens)
        proof_tokens_copy(&p->tokens, o->tokens);
    p->output = o->output;
    p->requires_proof = o->requires_proof;
    p->ca_proves = o->tls.ca_file != NULL;
    p->skip_client_san = o->tls.skip_client_san;
    join_urls(p, o);
    uv_idle_init(p->loop, &p->last);
    p->last.data = p;
    p->open_handles++;
    metric_collector_add(peer_report_metrics, p);
    int err = open_tls(p, o, error, error_size);
    for (size_t i = 0; !err && i < o->listen_url_count; i++)
        err = peer_listen_open(p, o->listen_urls[i], error, error_size);
    if (err)
        peer_tcp_close(&p->peers, NULL, NULL);
    else
        *ret_peers = &p->peers;
    return err;
}

void peer_tcp_set_tokens(struct peers *peers, const struct proof_tokens *tokens)
{
    proof_tokens_free(&to_tcp(peers)->tokens);
    proof_tokens_copy(&to_tcp(peers)->tokens, tokens);
}

void peer_release(struct tcp_peers *p)
{
    if (!p->is_closing || p->open_handles)
        return;
    void (*closed)(void *) = p->closed;
    void *arg = p->closed_arg;
    if (p->tls_in)
        tls_context_free(p->tls_in);
    if (p->tls_out)
        tls_context_free(p->tls_out);
    for (size_t i = 0; i < sizeof p->tls_later / sizeof *p->tls_later; i++)
        mem_free(p->tls_later[i]);
    map_done(&p->members);
    map_done(&p->removed);
    proof_tokens_free(&p->tokens);
    buf_done(&p->urls);
    mem_free(p);
    if (closed)
        closed(arg);
}

static void on_last_closed(uv_handle_t *h)
{
    struct tcp_peers *p = h->data;
    p->open_handles--;
    peer_release(p);
}

void peer_tcp_close(struct peers *peers, void (*done)(void *arg), void *arg)
{
    struct tcp_peers *p = to_tcp(peers);
    uint64_t id;
    void *value;
    assert(!p->is_closing);
    p->is_closing = true;
    p->closed = done;
    p->closed_arg = arg;
    p->events = NULL;
    metric_collector_remove(peer_report_metrics, p);
    peer_listen_close(p);
    for (size_t at = 0; map_next(&p->members, &at, &id, &value);)
        peer_member_free(value);
    peer_queries_done(p);
    peer_served_queries_done(p); /* and their dial-backs */
    peer_dial_backs_done(p);
    LIST_FOR_EACH_SAFE (l, &p->conns) {
        struct conn *c = container_of(l, struct conn, all);
        c->owner = NULL;
        peer_conn_close(c, ERR_CLOSED, "closing");
    }
    p->io->ops->timer_stop(p->io, &p->tls_handshake_timer);
    uv_close((uv_handle_t *)&p->last, on_last_closed); /* no other callback frees p, and done is called
                                                          later */
}
