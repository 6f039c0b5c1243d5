/* SPDX-License-Identifier: Apache-2.0
 * Clients, some on each member, each with one request under way and now and then a pause: puts of unique
 * values, deletes, transactions, linearizable, serializable and past reads, and leases that are kept alive on
 * a stream, revoked, or left to end. Each request is recorded when it is called and when it returns. A
 * request that does not return in time, or loses its connection, has an unknown outcome, and the client goes
 * on. One client compacts, always at revisions before the replay's. */
#include <stdio.h>

#include "proto/rpc.pb-c.h"
#include "tests/chaos/recorder.h"

enum {
    CLIENTS_MAX = 128,
    LEASES = 2,
    STEPS_MAX = 3,
    RECONNECT_MS = 50,
    SILENCE_MS_MAX = 3000,
    TTL_S_MIN = 2,
    TTL_S_MAX = 5,
};

struct lease {
    int64_t id; /* 0 = none */
    int64_t ttl_s;
    bool is_granted, is_kept; /* not kept: it is left to end */
    uint64_t next_keepalive_ms, revoke_at_ms;
};

struct client {
    uint32_t number;
    size_t endpoint;
    struct connection connection;
    uint64_t next_ms, reconnect_ms;
    struct call call;
    struct history_op *op; /* under way; NULL = none */
    uint64_t op_began_ms;
    bool has_reply;
    struct history_reply reply;
    struct arena arena; /* of the reply */
    uint64_t writes;    /* for unique values */
    struct lease leases[LEASES];
    struct call keepalives; /* the stream */
    struct history_op *keepalive;
    uint64_t keepalive_began_ms;
    uint64_t next_compact_ms;
};

static struct client clients[CLIENTS_MAX];
static size_t client_count;

/* Memory of a request until it is recorded; recording copies it. */
static struct {
    char keys[8][16], value[4][32];
    unsigned key_count, value_count;
    struct history_step steps[2][STEPS_MAX];
    struct history_compare compares[2];
} draft;

/* --- drafts ----------------------------------------------------------------------------------- */

static struct slice some_key(void)
{
    char *key = draft.keys[draft.key_count++ % 8];
    snprintf(key, sizeof draft.keys[0], "k/%02u", (unsigned)random_below(recorder.keys));
    return slice_text(key);
}

static struct slice new_value(struct client *c)
{
    char *value = draft.value[draft.value_count++ % 4];
    snprintf(value, sizeof draft.value[0], "c%u.%llu", c->number, (unsigned long long)++c->writes);
    return slice_text(value);
}

static struct history_step put_step(struct client *c)
{
    struct history_step s = {
        .kind = HISTORY_PUT, .key = some_key(), .value = new_value(c), .wants_prev = chance(30)};
    struct lease *l = &c->leases[random_below(LEASES)];
    if (l->is_granted && chance(40))
        s.lease = l->id;
    return s;
}

/* One key, all, or from one on; some with a limit. */
static void choose_range(struct history_step *s)
{
    s->key = some_key();
    if (chance(35)) {
        s->key = slice_text("k/");
        s->range_end = slice_text("k0");
    } else if (chance(15)) {
        s->range_end = slice_text("k0");
    }
}

static struct history_step range_step(void)
{
    struct history_step s = {.kind = HISTORY_RANGE};
    choose_range(&s);
    if (chance(20))
        s.limit = 1 + (int64_t)random_below(4);
    s.is_count_only = chance(5);
    return s;
}

static struct history_step delete_step(void)
{
    struct history_step s = {.kind = HISTORY_DELETE, .wants_prev = chance(40)};
    s.key = some_key();
    if (chance(5))
        choose_range(&s);
    return s;
}

static struct history_compare some_compare(void)
{
    struct history_compare compare = {.key = some_key(), .relation = (enum history_relation)random_below(4)};
    compare.target = (enum history_target)random_below(4);
    if (compare.target == HISTORY_VALUE)
        compare.value = slice_text("c1.1");
    else if (compare.target == HISTORY_VERSION)
        compare.number = (int64_t)random_below(4);
    else
        compare.number = recorder.revision - (int64_t)random_below(20);
    if (compare.number < 0)
        compare.number = 0;
    if (compare.target == HISTORY_CREATE && chance(50))
        compare.number = 0; /* "is not there" */
    return compare;
}

/* etcd refuses a transaction that changes a key twice: one write a branch, with reads before and behind. */
static void draft_branch(struct client *c, unsigned branch, struct history_steps *steps)
{
    struct history_step *list = draft.steps[branch];
    size_t n = 0;
    if (chance(40))
        list[n++] = range_step();
    if (chance(75))
        list[n++] = chance(75) ? put_step(c) : delete_step();
    if (n == 0 || chance(30))
        list[n++] = range_step();
    *steps = (struct history_steps){list, n};
}

static struct history_request draft_txn(struct client *c)
{
    struct history_request q = {
        .kind = HISTORY_TXN, .compares = draft.compares, .compare_count = random_below(3)};
    for (size_t i = 0; i < q.compare_count; i++)
        draft.compares[i] = some_compare();
    draft_branch(c, 0, &q.then);
    draft_branch(c, 1, &q.otherwise);
    return q;
}

static struct history_request one(struct history_step step)
{
    draft.steps[0][0] = step;
    return (struct history_request){.kind = step.kind, .then = {draft.steps[0], 1}};
}

static struct history_request draft_range(void)
{
    struct history_request q = one(range_step());
    q.is_serializable = chance(35);
    if (chance(10) && recorder.revision - recorder.compacted > 2)
        draft.steps[0][0].at_revision =
            recorder.revision - (int64_t)random_below((uint64_t)(recorder.revision - recorder.compacted - 1));
    return q;
}

/* A lease that is due for something: granted when there is none, revoked when its time has come. */
static bool draft_lease(struct client *c, uint64_t now, struct history_request *q)
{
    for (size_t i = 0; i < LEASES; i++) {
        struct lease *l = &c->leases[i];
        if (!l->id) {
            *l = (struct lease){.id = (int64_t)(random_below(UINT64_C(1) << 62) | 1)};
            l->is_kept = chance(60);
            l->ttl_s = TTL_S_MIN + (int64_t)random_below(TTL_S_MAX - TTL_S_MIN + 1);
            l->revoke_at_ms = l->is_kept ? now + 2000 + random_below(8000) : UINT64_MAX;
            *q = (struct history_request){.kind = HISTORY_GRANT, .lease = l->id, .ttl_s = l->ttl_s};
            return true;
        }
        if (l->is_granted && now >= l->revoke_at_ms) {
            *q = (struct history_request){.kind = HISTORY_REVOKE, .lease = l->id};
            l->is_granted = false; /* nothing more is put on it */
            return true;
        }
    }
    return false;
}

static bool draft_compaction(struct client *c, uint64_t now, struct history_request *q)
{
    int64_t known = recorder.replayed < recorder.revision ? recorder.replayed : recorder.revision;
    if (c->number != 0 || !recorder.compact_every_ms || now < c->next_compact_ms)
        return false;
    c->next_compact_ms = now + recorder.compact_every_ms;
    if (known - (int64_t)recorder.compact_keep <= recorder.compacted)
        return false;
    recorder.compacted = known - (int64_t)recorder.compact_keep;
    *q = (struct history_request){.kind = HISTORY_COMPACT, .compact_revision = recorder.compacted};
    return true;
}

static struct history_request draft_request(struct client *c, uint64_t now)
{
    struct history_request q;
    uint64_t kind = random_below(100);
    draft.key_count = draft.value_count = 0;
    if (draft_compaction(c, now, &q))
        return q;
    if (chance(10) && draft_lease(c, now, &q))
        return q;
    if (kind < 40)
        return one(put_step(c));
    if (kind < 65)
        return draft_range();
    if (kind < 75)
        return one(delete_step());
    return draft_txn(c);
}

/* --- outcomes --------------------------------------------------------------------------------- */

static bool is_write(const struct history_op *op)
{
    return op->request.kind == HISTORY_PUT || op->request.kind == HISTORY_DELETE ||
           op->request.kind == HISTORY_TXN || op->request.kind == HISTORY_GRANT ||
           op->request.kind == HISTORY_REVOKE;
}

static void count_op(const struct history_op *op)
{
    int64_t now = client_now_ns();
    if (op->outcome == HISTORY_FAILED)
        recorder.failed++;
    else if (op->outcome == HISTORY_UNKNOWN)
        recorder.unknown++;
    else if (!is_write(op))
        recorder.reads[recorder.phase]++;
    else {
        recorder.writes[recorder.phase]++;
        if (recorder.last_write_ns && now - recorder.last_write_ns > recorder.longest_gap_ns)
            recorder.longest_gap_ns = now - recorder.last_write_ns;
        recorder.last_write_ns = now;
    }
}

static void forget_lease(struct client *c, int64_t id)
{
    for (size_t i = 0; i < LEASES; i++)
        if (c->leases[i].id == id)
            c->leases[i] = (struct lease){0};
}

static void follow_lease(struct client *c, const struct history_op *op)
{
    if (op->request.kind == HISTORY_REVOKE) {
        forget_lease(c, op->request.lease);
    } else if (op->request.kind == HISTORY_GRANT) {
        for (size_t i = 0; i < LEASES; i++) {
            if (c->leases[i].id != op->request.lease)
                continue;
            c->leases[i].is_granted = op->outcome == HISTORY_OK;
            c->leases[i].next_keepalive_ms = client_now_ms() + (uint64_t)c->leases[i].ttl_s * 300;
        }
        if (op->outcome != HISTORY_OK)
            forget_lease(c, op->request.lease);
    }
}

/* The next keepalive of a lease reports its end. */
static void drop_ended_leases(struct client *c)
{
    for (size_t i = 0; i < LEASES; i++)
        if (c->leases[i].is_granted && !c->leases[i].is_kept)
            c->leases[i] = (struct lease){0};
}

static void finish(struct client *c, enum history_outcome outcome, const char *error)
{
    struct history_op *op = c->op;
    c->op = NULL;
    c->next_ms = client_now_ms() + random_below(2 * recorder.think_ms + 1);
    if (outcome == HISTORY_OK) {
        saw_revision(c->reply.revision);
        history_return(&recorder.history, op, client_now_ns(), outcome, &c->reply);
    } else {
        struct history_reply why = {.error = slice_text(error)};
        history_return(&recorder.history, op, client_now_ns(), outcome, &why);
        if (strstr(error, "lease not found"))
            drop_ended_leases(c);
    }
    follow_lease(c, op);
    count_op(op);
}

static void on_message(struct call *call, struct slice message)
{
    struct client *c = call->arg;
    c->has_reply = convert_reply(&c->op->request, message, &c->arena, &c->reply);
}

static void on_end(struct call *call, int status, const char *text)
{
    struct client *c = call->arg;
    if (status == STATUS_OK && c->has_reply)
        finish(c, HISTORY_OK, "");
    else
        finish(c, status == STATUS_OK ? HISTORY_UNKNOWN : convert_failure(status), text);
}

/* --- keepalives ------------------------------------------------------------------------------- */

static void finish_keepalive(struct client *c, enum history_outcome outcome,
                             const struct history_reply *reply)
{
    struct history_op *op = c->keepalive;
    if (!op)
        return;
    c->keepalive = NULL;
    history_return(&recorder.history, op, client_now_ns(), outcome, reply);
    if (outcome == HISTORY_OK && reply->ttl_s <= 0)
        forget_lease(c, op->request.lease);
    count_op(op);
}

static void on_keepalive(struct call *call, struct slice message)
{
    struct client *c = call->arg;
    struct history_reply reply;
    arena_reset(&recorder.scratch);
    if (c->keepalive && convert_reply(&c->keepalive->request, message, &recorder.scratch, &reply))
        finish_keepalive(c, HISTORY_OK, &reply);
}

static void on_keepalives_end(struct call *call, int status, const char *text)
{
    (void)status;
    (void)text;
    finish_keepalive(call->arg, HISTORY_UNKNOWN, NULL);
}

static void send_keepalive(struct client *c, struct lease *l, uint64_t now)
{
    Etcdserverpb__LeaseKeepAliveRequest m = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    struct history_request q = {.kind = HISTORY_KEEPALIVE, .lease = l->id};
    m.id = l->id;
    l->next_keepalive_ms = now + (uint64_t)l->ttl_s * 300;
    c->keepalive = history_call(&recorder.history, c->number, client_now_ns(), &q);
    c->keepalive_began_ms = now;
    if (c->keepalives.connection) {
        call_send(&c->keepalives, &m.base);
    } else {
        c->keepalives.on_message = on_keepalive;
        c->keepalives.on_end = on_keepalives_end;
        c->keepalives.arg = c;
        call_start(&c->connection, &c->keepalives, "/etcdserverpb.Lease/LeaseKeepAlive", &m.base, false,
                   false);
    }
}

static void tend_leases(struct client *c, uint64_t now)
{
    if (c->keepalive && now - c->keepalive_began_ms > recorder.op_limit_ms) {
        call_drop(&c->keepalives); /* a late answer would be taken for that of the next question */
        finish_keepalive(c, HISTORY_UNKNOWN, NULL);
    }
    for (size_t i = 0; i < LEASES; i++) {
        struct lease *l = &c->leases[i];
        bool is_over = l->is_granted && !l->is_kept && now > l->next_keepalive_ms + (uint64_t)l->ttl_s * 2000;
        if (is_over)
            *l = (struct lease){0}; /* ended by itself, or soon */
        else if (l->is_granted && l->is_kept && !c->keepalive && now >= l->next_keepalive_ms &&
                 !recorder.is_ending)
            send_keepalive(c, l, now);
    }
}

/* --- the clock -------------------------------------------------------------------------------- */

static void begin(struct client *c, uint64_t now)
{
    struct history_request q = draft_request(c, now);
    c->op = history_call(&recorder.history, c->number, client_now_ns(), &q);
    c->op_began_ms = now;
    c->has_reply = false;
    arena_reset(&c->arena);
    c->call.on_message = on_message;
    c->call.on_end = on_end;
    c->call.arg = c;
    convert_start(&c->connection, &c->call, &c->op->request);
}

static void on_down(struct connection *connection)
{
    struct client *c = connection->arg;
    c->reconnect_ms = client_now_ms() + RECONNECT_MS;
}

static void tick(struct client *c)
{
    uint64_t now = client_now_ms();
    connection_check(&c->connection, SILENCE_MS_MAX);
    if (c->op && now - c->op_began_ms > recorder.op_limit_ms) {
        call_drop(&c->call);
        finish(c, HISTORY_UNKNOWN, "no answer in time");
    }
    if (c->connection.state == CONNECTION_DOWN && now >= c->reconnect_ms && !recorder.is_ending)
        connection_open(&c->connection, &recorder.endpoints[c->endpoint]);
    if (c->connection.state != CONNECTION_UP)
        return;
    tend_leases(c, now);
    if (!c->op && now >= c->next_ms && !recorder.is_ending)
        begin(c, now);
}

void traffic_start(void)
{
    client_count = recorder.endpoint_count * recorder.clients_per_endpoint;
    if (client_count > CLIENTS_MAX)
        client_count = CLIENTS_MAX;
    for (size_t i = 0; i < client_count; i++) {
        struct client *c = &clients[i];
        c->number = (uint32_t)i;
        c->endpoint = i % recorder.endpoint_count;
        c->connection.arg = c;
        c->connection.on_down = on_down;
        c->next_compact_ms = client_now_ms() + recorder.compact_every_ms;
    }
}

void traffic_tick(void)
{
    for (size_t i = 0; i < client_count; i++)
        tick(&clients[i]);
}

bool traffic_is_idle(void)
{
    for (size_t i = 0; i < client_count; i++)
        if (clients[i].op || clients[i].keepalive)
            return false;
    return true;
}

void traffic_give_up(void)
{
    for (size_t i = 0; i < client_count; i++)
        connection_close(&clients[i].connection, "the run is over");
}
