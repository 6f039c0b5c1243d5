/* SPDX-License-Identifier: Apache-2.0
 * The fake store and its clients; see check_fake.h. */
#include "check_fake.h"

#include <assert.h>
#include <stdio.h>

/* Clients wait so long, lost requests arrive within so long, leases end within so long after their time. */
enum { STEP_MS = 20, GHOST_MS = 100, EXPIRY_MS = 50 };

const struct check_options fake_options = {
    .is_replay_complete = true, .was_healthy = true, .lease_late_bound_ns = 300 * FAKE_MS};

struct slice fake_key(unsigned number)
{
    static const char names[FAKE_KEYS][3] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    return slice_of(names[number], 2);
}

struct fake *fake_new(uint64_t seed)
{
    struct fake *f = mem_new(sizeof *f);
    f->rng.state = seed;
    f->revision = 1;
    for (unsigned i = 0; i < FAKE_KEYS; i++)
        f->states[1].kvs[i].key = fake_key(i);
    return f;
}

void fake_free(struct fake *f)
{
    history_done(&f->history);
    arena_done(&f->arena);
    mem_free(f);
}

static uint64_t below(struct fake *f, uint64_t n)
{
    return rng_below(&f->rng, n);
}

/* --- the store --------------------------------------------------------------------------------------- */

static struct fake_lease *find_lease(struct fake *f, int64_t id)
{
    for (size_t i = 0; i < f->lease_count; i++)
        if (f->leases[i].id == id && f->leases[i].is_alive)
            return &f->leases[i];
    return NULL;
}

/* The pending state is that of revision + 1 until it is committed. */
struct transaction {
    struct fake_state state;
    struct history_change changes[4 * FAKE_KEYS];
    size_t count;
};

static void begin(struct fake *f, struct transaction *t)
{
    t->state = f->states[f->revision];
    t->count = 0;
}

static void commit(struct fake *f, struct transaction *t)
{
    if (t->count == 0)
        return;
    f->revision++;
    assert(f->revision < FAKE_REVISIONS);
    f->states[f->revision] = t->state;
    history_commit_add(&f->history, &(struct history_commit){f->revision, t->changes, t->count, 0});
    struct history_commit *copy =
        arena_copy(&f->arena, &f->history.commits[f->history.commit_count - 1], sizeof *copy);
    f->commits[f->revision] = copy;
}

static void delete_at(struct fake *f, struct transaction *t, struct history_kv *kv)
{
    t->changes[t->count++] = (struct history_change){true, {.key = kv->key, .mod = f->revision + 1}};
    *kv = (struct history_kv){.key = kv->key};
}

static struct history_result do_step(struct fake *f, struct transaction *t, const struct history_step *s,
                                     const struct fake_state *at)
{
    struct history_kv *found = arena_alloc(&f->arena, FAKE_KEYS * sizeof *found);
    struct history_result r = {.kvs = found};
    const struct fake_state *from = s->kind == HISTORY_RANGE && at ? at : &t->state;
    for (unsigned i = 0; i < FAKE_KEYS; i++) {
        struct history_kv *kv = &t->state.kvs[i];
        if (!history_in_range(fake_key(i), s->key, s->range_end))
            continue;
        if (from->kvs[i].version > 0)
            found[r.kv_count++] = from->kvs[i];
        if (s->kind == HISTORY_PUT) {
            bool is_new = kv->version == 0;
            *kv = (struct history_kv){fake_key(i),     s->value,        is_new ? f->revision + 1 : kv->create,
                                      f->revision + 1, kv->version + 1, s->lease};
            t->changes[t->count++] = (struct history_change){false, *kv};
        } else if (s->kind == HISTORY_DELETE && kv->version > 0) {
            delete_at(f, t, kv);
        }
    }
    r.count = s->kind == HISTORY_PUT ? 0 : (int64_t)r.kv_count;
    if (s->kind == HISTORY_RANGE) {
        if (s->limit && (size_t)s->limit < r.kv_count && !s->is_count_only) {
            r.has_more = true;
            r.kv_count = (size_t)s->limit;
        }
        r.kv_count = s->is_count_only ? 0 : r.kv_count;
    } else if (!s->wants_prev) {
        r.kv_count = 0;
    }
    return r;
}

static bool compare_holds(const struct fake *f, const struct history_compare *c)
{
    for (unsigned i = 0; i < FAKE_KEYS; i++) {
        const struct history_kv *kv = &f->states[f->revision].kvs[i];
        if (!slice_equal(fake_key(i), c->key))
            continue;
        int64_t n = c->target == HISTORY_MOD      ? kv->mod
                    : c->target == HISTORY_CREATE ? kv->create
                                                  : kv->version;
        bool equal = c->target == HISTORY_VALUE ? slice_equal(kv->value, c->value) : n == c->number;
        if (c->target == HISTORY_VALUE && kv->version == 0)
            return false;
        return c->relation == HISTORY_NOT_EQUAL ? !equal
               : c->relation == HISTORY_EQUAL   ? equal
               : c->relation == HISTORY_GREATER ? n > c->number
                                                : n < c->number;
    }
    return false;
}

static bool steps_are_allowed(struct fake *f, struct history_steps steps)
{
    for (size_t i = 0; i < steps.count; i++)
        if (steps.items[i].lease && !find_lease(f, steps.items[i].lease))
            return false;
    return true;
}

static enum history_outcome do_key_value(struct fake *f, const struct history_request *q, int64_t lag,
                                         struct history_reply *r)
{
    struct transaction t;
    begin(f, &t);
    int64_t at = q->then.count ? q->then.items[0].at_revision : 0;
    if (q->kind == HISTORY_RANGE && ((at && at < f->compacted) || at > f->revision))
        return HISTORY_FAILED;
    r->revision = q->is_serializable && f->revision > lag ? f->revision - lag : f->revision;
    if (at > r->revision)
        return HISTORY_FAILED;
    bool holds = true;
    for (size_t i = 0; i < q->compare_count; i++)
        holds &= compare_holds(f, &q->compares[i]);
    r->succeeded = q->kind == HISTORY_TXN && holds;
    const struct history_steps *steps = holds ? &q->then : &q->otherwise;
    if (!steps_are_allowed(f, *steps))
        return HISTORY_FAILED;
    struct history_result *results = arena_alloc(&f->arena, steps->count * sizeof *results);
    const struct fake_state *state = at                   ? &f->states[at]
                                     : q->is_serializable ? &f->states[r->revision]
                                                          : NULL;
    for (size_t i = 0; i < steps->count; i++)
        results[i] = do_step(f, &t, &steps->items[i], q->kind == HISTORY_RANGE ? state : NULL);
    r->results = results;
    r->result_count = steps->count;
    commit(f, &t);
    if (t.count)
        r->revision = f->revision;
    return HISTORY_OK;
}

static void end_lease(struct fake *f, struct fake_lease *l)
{
    struct transaction t;
    begin(f, &t);
    l->is_alive = false;
    for (unsigned i = 0; i < FAKE_KEYS; i++)
        if (t.state.kvs[i].version > 0 && t.state.kvs[i].lease == l->id)
            delete_at(f, &t, &t.state.kvs[i]);
    commit(f, &t);
}

static enum history_outcome do_request(struct fake *f, const struct history_request *q, int64_t lag,
                                       struct history_reply *r)
{
    struct fake_lease *l = find_lease(f, q->lease);
    *r = (struct history_reply){.revision = f->revision};
    if (q->kind <= HISTORY_TXN)
        return do_key_value(f, q, lag, r);
    if (q->kind == HISTORY_COMPACT) {
        if (q->compact_revision <= f->compacted || q->compact_revision > f->revision)
            return HISTORY_FAILED;
        f->compacted = q->compact_revision;
        return HISTORY_OK;
    }
    if (q->kind == HISTORY_GRANT) {
        if (f->lease_count == FAKE_LEASES)
            return HISTORY_FAILED;
        l = &f->leases[f->lease_count++];
        *l = (struct fake_lease){.id = q->lease, .ttl_s = q->ttl_s, .is_alive = true};
    }
    if (q->kind == HISTORY_REVOKE) {
        if (!l)
            return HISTORY_FAILED;
        end_lease(f, l);
        r->revision = f->revision;
        return HISTORY_OK;
    }
    if (l)
        l->until_ns = f->now_ns + l->ttl_s * 1000 * FAKE_MS + (int64_t)below(f, EXPIRY_MS) * FAKE_MS;
    r->ttl_s = l ? l->ttl_s : 0;
    return HISTORY_OK;
}

static void pass_time(struct fake *f, int64_t ns)
{
    f->now_ns += ns;
    for (size_t i = 0; i < f->lease_count; i++)
        if (f->leases[i].is_alive && f->leases[i].until_ns <= f->now_ns)
            end_lease(f, &f->leases[i]);
}

/* --- watches ------------------------------------------------------------------------------------------ */

static bool wants(const struct history_watch *w, const struct history_change *c)
{
    return history_in_range(c->kv.key, w->key, w->range_end) &&
           !(c->is_delete ? w->excludes_deletes : w->excludes_puts);
}

static struct history_event make_event(struct fake *f, const struct history_watch *w,
                                       const struct history_change *c)
{
    struct history_event e = {.change = *c};
    for (unsigned i = 0; i < FAKE_KEYS; i++)
        if (w->wants_prev && slice_equal(fake_key(i), c->kv.key) &&
            f->states[c->kv.mod - 1].kvs[i].version > 0 && c->kv.mod > f->compacted) {
            e.has_prev = true;
            e.prev = f->states[c->kv.mod - 1].kvs[i];
        }
    return e;
}

/* Events of the revisions up to `to` in one response, or the last revision's in fragments. */
static void deliver(struct fake *f, struct fake_watch *fw, int64_t to)
{
    struct history_watch *w = fw->watch;
    struct history_event events[256];
    size_t count = 0, last = 0;
    if (fw->is_over)
        return;
    if (fw->next < f->compacted) {
        history_watch_add(&f->history, w, f->now_ns,
                          &(struct history_response){.revision = f->revision,
                                                     .is_canceled = true,
                                                     .compact_revision = f->compacted});
        fw->is_over = true;
        return;
    }
    for (; fw->next <= to && count < 200; fw->next++) {
        const struct history_commit *c = f->commits[fw->next];
        size_t before = count;
        for (size_t i = 0; c && i < c->count; i++)
            if (wants(w, &c->changes[i]))
                events[count++] = make_event(f, w, &c->changes[i]);
        last = count > before ? before : last;
    }
    if (count == 0)
        return;
    size_t sent = w->allows_fragments && count - last > 1 ? last + 1 : 0;
    if (sent)
        history_watch_add(
            &f->history, w, f->now_ns,
            &(struct history_response){
                .revision = f->revision, .events = events, .event_count = sent, .is_fragment = true});
    history_watch_add(&f->history, w, f->now_ns,
                      &(struct history_response){
                          .revision = f->revision, .events = events + sent, .event_count = count - sent});
}

void fake_deliver(struct fake *f, struct history_watch *w, bool with_progress)
{
    struct fake_watch *fw = &f->watches[w->number];
    while (!fw->is_over && fw->next <= f->revision)
        deliver(f, fw, f->revision);
    if (with_progress && !fw->is_over && fw->next == f->revision + 1)
        history_watch_add(&f->history, w, f->now_ns, &(struct history_response){.revision = f->revision});
}

struct history_watch *fake_watch(struct fake *f, const struct history_watch *request)
{
    struct history_watch *w =
        history_watch_open(&f->history, 90 + (uint32_t)f->watch_count, f->now_ns, request);
    struct fake_watch *fw = &f->watches[f->watch_count++];
    *fw = (struct fake_watch){.watch = w, .next = w->start_revision ? w->start_revision : f->revision + 1};
    history_watch_add(&f->history, w, f->now_ns,
                      &(struct history_response){.revision = f->revision, .is_created = true});
    return w;
}

/* --- one by one ----------------------------------------------------------------------------------------- */

struct history_op *fake_do(struct fake *f, const struct history_request *request)
{
    struct history_reply reply;
    struct history_op *op = history_call(&f->history, 0, f->now_ns, request);
    enum history_outcome outcome = do_request(f, &op->request, 0, &reply);
    history_return(&f->history, op, f->now_ns, outcome, &reply);
    pass_time(f, FAKE_MS);
    return op;
}

static struct history_op *do_step_alone(struct fake *f, struct history_step step)
{
    struct history_request r = history_one_step(&step);
    return fake_do(f, &r);
}

struct history_op *fake_put(struct fake *f, const char *key, const char *value, int64_t lease)
{
    return do_step_alone(
        f, (struct history_step){
               .kind = HISTORY_PUT, .key = slice_text(key), .value = slice_text(value), .lease = lease});
}

struct history_op *fake_get(struct fake *f, const char *key)
{
    return do_step_alone(f, (struct history_step){.kind = HISTORY_RANGE, .key = slice_text(key)});
}

struct history_op *fake_delete(struct fake *f, const char *key)
{
    return do_step_alone(f, (struct history_step){.kind = HISTORY_DELETE, .key = slice_text(key)});
}

struct history_op *fake_lease_op(struct fake *f, enum history_kind kind, int64_t lease, int64_t ttl_s)
{
    return fake_do(f, &(struct history_request){.kind = kind, .lease = lease, .ttl_s = ttl_s});
}

struct history_op *fake_compact(struct fake *f, int64_t revision)
{
    return fake_do(f, &(struct history_request){.kind = HISTORY_COMPACT, .compact_revision = revision});
}

void fake_wait(struct fake *f, int64_t ms)
{
    for (int64_t i = 0; i < ms; i++)
        pass_time(f, FAKE_MS);
}

/* --- all at once ------------------------------------------------------------------------------------ */

static struct slice new_value(struct fake *f)
{
    char text[16];
    int size = snprintf(text, sizeof text, "v%u", ++f->value_count);
    return slice_of(arena_copy(&f->arena, text, (size_t)size), (size_t)size);
}

static struct history_step random_step(struct fake *f, enum history_kind kind, bool in_txn)
{
    struct history_step s = {.kind = kind, .key = fake_key((unsigned)below(f, FAKE_KEYS))};
    bool is_wide = !f->only_single_keys && below(f, 3) == 0;
    s.wants_prev = kind != HISTORY_RANGE && below(f, 2);
    if (kind == HISTORY_PUT) {
        s.value = new_value(f);
        if (f->lease_count && !f->only_single_keys && below(f, 2))
            s.lease = f->leases[f->lease_count - 1 - below(f, f->lease_count < 3 ? f->lease_count : 3)].id;
        return s;
    }
    if (is_wide)
        s.range_end = below(f, 2) ? slice_of("\0", 1) : fake_key((unsigned)below(f, FAKE_KEYS));
    if (kind == HISTORY_RANGE && !f->only_single_keys) {
        s.limit = (int64_t)below(f, 6);
        s.is_count_only = below(f, 8) == 0;
        if (!in_txn && below(f, 5) == 0)
            s.at_revision = 1 + (int64_t)below(f, (uint64_t)f->revision);
    }
    return s;
}

static struct history_compare random_compare(struct fake *f)
{
    const struct history_kv *kv = &f->states[f->revision].kvs[below(f, FAKE_KEYS)];
    struct history_compare c = {.key = kv->key,
                                .target =
                                    f->only_single_keys ? HISTORY_VALUE : (enum history_target)below(f, 4),
                                .value = kv->value};
    c.relation =
        c.target == HISTORY_VALUE ? (enum history_relation)below(f, 2) : (enum history_relation)below(f, 4);
    c.number = c.target == HISTORY_MOD ? kv->mod : c.target == HISTORY_CREATE ? kv->create : kv->version;
    return c;
}

static struct history_request random_txn(struct fake *f)
{
    struct history_request r = {.kind = HISTORY_TXN, .compare_count = 1};
    struct history_compare *c = arena_alloc(&f->arena, sizeof *c);
    struct history_step *steps = arena_new(&f->arena, 4 * sizeof *steps);
    *c = random_compare(f);
    r.compares = c;
    steps[0] = random_step(f, HISTORY_PUT, true);
    steps[1] = random_step(f, below(f, 2) ? HISTORY_RANGE : HISTORY_PUT, true);
    steps[2] = random_step(f, below(f, 2) ? HISTORY_RANGE : HISTORY_DELETE, true);
    r.then = (struct history_steps){steps, slice_equal(steps[0].key, steps[1].key) ? 1 : 2};
    r.otherwise = (struct history_steps){steps + 2, 1};
    if (f->only_single_keys) {
        steps[0].key = steps[2].key = c->key;
        r.then.count = 1;
    }
    return r;
}

static struct history_request random_request(struct fake *f)
{
    static int64_t const ttls[] = {1, 1, 2, 3};
    struct history_step *s = arena_new(&f->arena, sizeof *s);
    uint64_t kind = below(f, f->only_single_keys ? 75 : 100);
    if (kind < 55) {
        *s = random_step(f, kind < 25 ? HISTORY_PUT : kind < 47 ? HISTORY_RANGE : HISTORY_DELETE, false);
        struct history_request r = history_one_step(s);
        r.is_serializable = s->kind == HISTORY_RANGE && !f->only_single_keys && below(f, 3) == 0;
        return r;
    }
    if (kind < 75)
        return random_txn(f);
    int64_t lease = f->lease_count
                        ? f->leases[f->lease_count - 1 - below(f, f->lease_count < 4 ? f->lease_count : 4)].id
                        : 1;
    if (kind < 81) /* ids: never two the same, as the checker asks */
        return (struct history_request){
            .kind = HISTORY_GRANT, .lease = 1000 + (int64_t)f->history.op_count, .ttl_s = ttls[below(f, 4)]};
    if (kind < 98)
        return (struct history_request){.kind = kind < 95 ? HISTORY_KEEPALIVE : HISTORY_REVOKE,
                                        .lease = lease};
    return (struct history_request){.kind = HISTORY_COMPACT,
                                    .compact_revision = f->revision - (int64_t)below(f, 20)};
}

/* A request on its way, executed or not; `op` is NULL when idle. */
struct fake_call {
    struct history_op *op;
    bool is_done, is_lost;
    enum history_outcome outcome;
    struct history_reply reply;
    int64_t gone_ns; /* a lost one has no effect after this */
};

static void step_client(struct fake *f, struct fake_call *c, uint32_t client)
{
    if (!c->op) {
        struct history_request r = random_request(f);
        *c = (struct fake_call){.op = history_call(&f->history, client, f->now_ns, &r)};
    } else if (!c->is_done && below(f, 8) == 0) {
        /* The client gives up; the request may still arrive, or was refused for certain. */
        bool is_refused = below(f, 3) == 0;
        history_return(&f->history, c->op, f->now_ns, is_refused ? HISTORY_FAILED : HISTORY_UNKNOWN, NULL);
        c->is_lost = true;
        c->gone_ns = is_refused || below(f, 2) ? 0 : f->now_ns + GHOST_MS * FAKE_MS;
    } else if (!c->is_done) {
        c->outcome = do_request(f, &c->op->request, (int64_t)below(f, 4), &c->reply);
        c->is_done = true;
    } else {
        bool is_lost = below(f, 10) == 0;
        history_return(&f->history, c->op, f->now_ns, is_lost ? HISTORY_UNKNOWN : c->outcome, &c->reply);
        c->op = NULL;
    }
}

static void step_watches(struct fake *f)
{
    if (f->watch_count < FAKE_WATCHES - 1 && below(f, 20) == 0) {
        struct history_watch w = {.key = fake_key((unsigned)below(f, FAKE_KEYS))};
        w.excludes_puts = below(f, 8) == 0;
        w.excludes_deletes = below(f, 8) == 0;
        w.wants_prev = below(f, 2);
        w.allows_fragments = below(f, 2);
        if (below(f, 3))
            w.range_end = slice_of("\0", 1);
        if (below(f, 2))
            w.start_revision = 1 + (int64_t)below(f, (uint64_t)f->revision + 3);
        fake_watch(f, &w);
        return;
    }
    if (f->watch_count == 0)
        return;
    struct fake_watch *fw = &f->watches[below(f, f->watch_count)];
    if (below(f, 4) == 0)
        fake_deliver(f, fw->watch, true);
    else if (fw->next <= f->revision)
        deliver(f, fw, fw->next + (int64_t)below(f, (uint64_t)(f->revision - fw->next) + 1));
}

void fake_run(struct fake *f, size_t steps)
{
    struct fake_call calls[FAKE_CLIENTS] = {0}, ghosts[32] = {0};
    size_t ghost_count = 0;
    for (size_t i = 0; i < steps && f->revision < FAKE_REVISIONS - 64; i++) {
        pass_time(f, (int64_t)below(f, STEP_MS * FAKE_MS));
        uint32_t client = (uint32_t)below(f, FAKE_CLIENTS);
        step_client(f, &calls[client], client);
        if (calls[client].is_lost) {
            if (calls[client].gone_ns && ghost_count < sizeof ghosts / sizeof *ghosts)
                ghosts[ghost_count++] = calls[client];
            calls[client] = (struct fake_call){0};
        }
        if (ghost_count && below(f, 4) == 0) {
            struct fake_call *g = &ghosts[below(f, ghost_count)];
            if (f->now_ns <= g->gone_ns)
                do_request(f, &g->op->request, 0, &g->reply);
            *g = ghosts[--ghost_count];
        }
        if (!f->only_single_keys)
            step_watches(f);
    }
    for (size_t i = 0; i < f->watch_count; i++) {
        fake_deliver(f, f->watches[i].watch, false);
        if (!f->watches[i].is_over)
            f->watches[i].watch->complete_to = f->revision;
    }
}
