/* SPDX-License-Identifier: Apache-2.0
 * Clients and their requests; see workload.h. A client does one thing at a time:
 *
 *   thinks -> calls (the request travels) -> is at the member -> the answer travels -> thinks
 *                 \------------ timeout: unknown, next member --------------/
 *
 * A request whose client has given up continues at the member, as on a real server, until the member hears
 * that the connection is closed. */
#include "tests/sim/cluster/workload.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/sim/cluster/invariants.h"
#include "tests/sim/cluster/network.h"
#include "tests/sim/cluster/requests.h"

enum { CLIENTS_MAX = 32, STEPS_MAX = 4, LEASES_MAX = 64 };

#define LEASE_LATE_NS INT64_C(3000000000)

struct client;

struct call {
    struct kv_request request;
    struct link link;
    struct workload *load;
    struct client *client; /* NULL: it has given up */
    struct history_op *op;
    struct history_request wanted;
    struct arena arena;
    struct sim_event travel; /* to the member, and back */
    struct sim_event cancel; /* the member hears that the client has disconnected */
    unsigned slot;
    struct process *at; /* the member has it */
    bool is_over;       /* the answer is known */
    int err;
    struct history_reply reply;
};

struct client {
    struct workload *load;
    uint32_t number;
    unsigned slot; /* the member it talks to */
    struct call *call;
    struct sim_event next, patience;
};

struct lease {
    int64_t id;
    int64_t ttl_s;
    uint64_t keep_until_ns; /* then the lease is left to expire */
};

/* One more client tests that leases expire: it grants one, puts a key with it, and reads until the key is
 * gone. */
struct prober {
    enum { PROBE_GRANT, PROBE_PUT, PROBE_WAIT, PROBE_DONE } state;
    int64_t lease;
    char key[32];
};

struct workload {
    struct world *world;
    struct history history;
    struct watchers *watchers;
    struct client clients[CLIENTS_MAX + 1]; /* the prober is the last */
    unsigned client_count;
    struct link calls;
    struct lease leases[LEASES_MAX];
    unsigned lease_count;
    int64_t next_lease;
    uint64_t next_value;
    int64_t revision, seen_revision, compacted;
    struct workload_counts counts;
    struct prober prober;
    struct workload_progress progress;
    bool is_stopped, is_restricted;
    bool is_in_core[MACHINES_MAX];
    struct arena scratch;
};

/* --- choice of requests ------------------------------------------------------------------------------- */

static uint64_t draw(struct workload *l, uint64_t from, uint64_t to)
{
    return world_draw(&l->world->load_random, from, to);
}

static bool chance(struct workload *l, unsigned percent)
{
    return draw(l, 0, 99) < percent;
}

static struct slice draw_key(struct workload *l)
{
    char *text = arena_printf(&l->scratch, "k%02" PRIu64, draw(l, 0, l->world->plan.keys - 1));
    return slice_text(text);
}

/* Unique, so that the checkers know which request wrote it. */
static struct slice draw_value(struct workload *l)
{
    uint64_t size = draw(l, 0, l->world->plan.value_bytes);
    char *text = arena_printf(&l->scratch, "v%" PRIu64, ++l->next_value);
    size_t length = strlen(text);
    if (size <= length)
        return slice_of(text, length);
    char *padded = arena_alloc(&l->scratch, size);
    memset(padded, '.', size);
    memcpy(padded, text, length);
    return slice_of(padded, size);
}

static void draw_range(struct workload *l, struct history_step *s)
{
    s->key = draw_key(l);
    switch (draw(l, 0, 5)) {
    case 0:
        s->key = slice_text("k");
        s->range_end = slice_text("l");
        break;
    case 1:
        s->range_end = slice_of("", 1); /* one NUL: to the end */
        break;
    case 2:
        s->range_end = slice_text("k99");
        break;
    default:
        break;
    }
}

static struct history_step draw_put(struct workload *l)
{
    struct history_step s = {.kind = HISTORY_PUT, .key = draw_key(l)};
    s.value = draw_value(l);
    s.wants_prev = chance(l, 20);
    if (l->lease_count && chance(l, 25))
        s.lease = l->leases[draw(l, 0, l->lease_count - 1)].id;
    return s;
}

static struct history_step draw_delete(struct workload *l)
{
    struct history_step s = {.kind = HISTORY_DELETE, .wants_prev = chance(l, 20)};
    s.key = draw_key(l);
    if (chance(l, 15))
        draw_range(l, &s);
    return s;
}

static struct history_step draw_read(struct workload *l)
{
    struct history_step s = {.kind = HISTORY_RANGE};
    draw_range(l, &s);
    if (chance(l, 10))
        s.limit = (int64_t)draw(l, 1, 4);
    else if (chance(l, 10))
        s.is_count_only = true;
    if (chance(l, 15) && l->seen_revision > 1)
        s.at_revision = (int64_t)draw(l, 1, (uint64_t)l->seen_revision + 1);
    return s;
}

static void draw_compare(struct workload *l, struct history_compare *c)
{
    *c = (struct history_compare){.key = draw_key(l)};
    c->relation = (enum history_relation)draw(l, 0, 3);
    c->target = (enum history_target)draw(l, 0, 3);
    if (c->target == HISTORY_VALUE)
        c->value = slice_text(arena_printf(&l->scratch, "v%" PRIu64, draw(l, 1, l->next_value + 1)));
    else if (c->target == HISTORY_VERSION)
        c->number = (int64_t)draw(l, 0, 3);
    else
        c->number = chance(l, 50) ? 0 : (int64_t)draw(l, 1, (uint64_t)l->seen_revision + 1);
}

/* Some have a key twice: such a request is always refused. */
static void draw_steps(struct workload *l, struct history_steps *ret_steps, bool is_reading)
{
    size_t count = draw(l, 1, STEPS_MAX);
    struct history_step *steps = arena_new(&l->scratch, count * sizeof *steps);
    for (size_t i = 0; i < count; i++) {
        steps[i] = is_reading || chance(l, 40) ? draw_read(l) : chance(l, 75) ? draw_put(l) : draw_delete(l);
        steps[i].at_revision = 0;
        /* etcd does not notice that a delete "to the end" covers a put of the same transaction; the checkers
         * allow one change of a key in a revision. */
        if (steps[i].kind == HISTORY_DELETE && steps[i].range_end.size == 1)
            steps[i].range_end = slice_text("k99");
    }
    *ret_steps = (struct history_steps){steps, count};
}

static struct history_request draw_txn(struct workload *l)
{
    struct history_request r = {.kind = HISTORY_TXN};
    bool is_reading = chance(l, 20);
    size_t count = draw(l, 0, 2);
    struct history_compare *compares = arena_new(&l->scratch, (count + 1) * sizeof *compares);
    for (size_t i = 0; i < count; i++)
        draw_compare(l, &compares[i]);
    r.compares = compares;
    r.compare_count = count;
    draw_steps(l, &r.then, is_reading);
    draw_steps(l, &r.otherwise, is_reading);
    r.is_serializable = is_reading && chance(l, 30);
    return r;
}

static struct history_request one_step(struct workload *l, struct history_step s)
{
    struct history_step *kept = arena_copy(&l->scratch, &s, sizeof s);
    return history_one_step(kept);
}

static struct history_request draw_lease_request(struct workload *l)
{
    if (l->lease_count < 3 || (l->lease_count < LEASES_MAX && chance(l, 15)))
        return (struct history_request){
            .kind = HISTORY_GRANT, .lease = ++l->next_lease, .ttl_s = (int64_t)draw(l, 1, 6)};
    struct lease *lease = &l->leases[draw(l, 0, l->lease_count - 1)];
    if (l->world->clock.now_ns < lease->keep_until_ns)
        return (struct history_request){.kind = chance(l, 93) ? HISTORY_KEEPALIVE : HISTORY_REVOKE,
                                        .lease = lease->id};
    int64_t id = lease->id;
    *lease = l->leases[--l->lease_count]; /* forgotten: it expires by itself */
    return (struct history_request){.kind = chance(l, 20) ? HISTORY_REVOKE : HISTORY_KEEPALIVE, .lease = id};
}

static struct history_request draw_request(struct workload *l)
{
    const struct plan *plan = &l->world->plan;
    uint64_t n = draw(l, 0, 99);
    if (n < 18 && plan->leases)
        return draw_lease_request(l);
    if (n < 20 && plan->compactions && l->seen_revision > 10)
        return (struct history_request){
            .kind = HISTORY_COMPACT,
            .compact_revision = (int64_t)draw(l, (uint64_t)l->seen_revision / 2, (uint64_t)l->seen_revision)};
    if (n < 38)
        return draw_txn(l);
    if (n < 48)
        return one_step(l, draw_delete(l));
    if (n < 70) {
        struct history_request r = one_step(l, draw_read(l));
        r.is_serializable = chance(l, 30);
        return r;
    }
    return one_step(l, draw_put(l));
}

/* --- the prober ---------------------------------------------------------------------------------------- */

static struct history_request probe_request(struct workload *l)
{
    struct prober *p = &l->prober;
    if (p->state == PROBE_GRANT) {
        p->lease = ++l->next_lease;
        snprintf(p->key, sizeof p->key, "probe%" PRId64, p->lease);
        return (struct history_request){.kind = HISTORY_GRANT, .lease = p->lease, .ttl_s = 1};
    }
    struct history_step s = {.kind = HISTORY_RANGE, .key = slice_text(p->key)};
    if (p->state == PROBE_PUT) {
        s.kind = HISTORY_PUT;
        s.value = draw_value(l);
        s.lease = p->lease;
    }
    return one_step(l, s);
}

static void probe_answered(struct workload *l, const struct call *c, enum history_outcome outcome)
{
    struct prober *p = &l->prober;
    bool is_ok = outcome == HISTORY_OK;
    switch (p->state) {
    case PROBE_GRANT:
        p->state = is_ok ? PROBE_PUT : PROBE_GRANT;
        break;
    case PROBE_PUT: /* it may have expired already, or its state is unknown: another one */
        p->state = is_ok ? PROBE_WAIT : PROBE_GRANT;
        break;
    case PROBE_WAIT:
        if (is_ok && c->reply.results[0].kv_count == 0)
            p->state = PROBE_DONE;
        break;
    case PROBE_DONE:
        break;
    }
    l->progress.lease_has_expired = p->state == PROBE_DONE;
}

/* --- a call's life ------------------------------------------------------------------------------------- */

static void free_call(struct call *c)
{
    struct sim_clock *clock = &c->load->world->clock;
    if (c->at)
        kv_cancel(c->at->kv, &c->request);
    sim_clock_remove(clock, &c->travel);
    sim_clock_remove(clock, &c->cancel);
    list_remove(&c->link);
    arena_done(&c->arena);
    mem_free(c);
}

static void note_lease(struct workload *l, const struct call *c)
{
    if (c->wanted.kind != HISTORY_GRANT || l->lease_count == LEASES_MAX)
        return;
    l->leases[l->lease_count++] =
        (struct lease){c->wanted.lease, c->reply.ttl_s, l->world->clock.now_ns + draw(l, 0, 15000) * 1000000};
}

static void think(struct client *client)
{
    struct workload *l = client->load;
    if (l->is_stopped)
        return;
    sim_clock_add(&l->world->clock, &client->next, draw(l, 100, 2 * l->world->plan.think_ms * 1000) * 1000);
}

/* Running members are tried first, as by clients that keep a list. */
static void choose_member(struct client *client)
{
    struct world *w = client->load->world;
    const struct workload *l = client->load;
    for (int i = 0; i < (l->is_restricted ? 100 : 4); i++) {
        client->slot = (unsigned)draw(client->load, 0, w->machine_count - 1);
        if (l->is_restricted
                ? l->is_in_core[client->slot]
                : w->machines[client->slot]->is_member && process_is_up(w->machines[client->slot]->process))
            return;
    }
}

static void note_progress(struct workload *l, const struct call *c)
{
    const struct history_request *r = &c->wanted;
    if (!l->is_restricted || !l->is_in_core[c->slot])
        return;
    if (r->kind == HISTORY_PUT)
        l->progress.has_written = true;
    if (r->kind == HISTORY_RANGE && !r->is_serializable)
        l->progress.has_read[c->slot] = true;
}

static void record(struct call *c, enum history_outcome outcome)
{
    struct workload *l = c->load;
    struct world *w = l->world;
    if (c->err)
        c->reply.error = slice_text(err_text(c->err));
    history_return(&l->history, c->op, (int64_t)w->clock.now_ns, outcome, &c->reply);
    if (outcome == HISTORY_OK) {
        l->counts.acknowledged++;
        if (c->reply.revision > l->seen_revision)
            l->seen_revision = c->reply.revision;
        note_lease(l, c);
        note_progress(l, c);
    } else if (outcome == HISTORY_FAILED) {
        l->counts.failed++;
    } else {
        l->counts.unknown++;
    }
    if (w->options.is_verbose) {
        struct buf b = {0};
        history_describe(&b, c->op);
        world_print(w, "client %u: %s at m%u: %s, revision %" PRId64, c->op->client, buf_text(&b), c->slot,
                    outcome == HISTORY_OK ? "ok"
                    : c->err              ? err_text(c->err)
                                          : "given up",
                    c->reply.revision);
        buf_done(&b);
    }
    world_mark(w, c->op->number << 8 | (uint64_t)outcome, (uint64_t)c->reply.revision);
}

/* The answer is at the client. */
static void on_answer(struct sim_event *event)
{
    struct call *c = container_of(event, struct call, travel);
    struct client *client = c->client;
    if (client) {
        enum history_outcome outcome = request_outcome(c->err);
        record(c, outcome);
        sim_clock_remove(&c->load->world->clock, &client->patience);
        client->call = NULL;
        if (client == &c->load->clients[c->load->client_count])
            probe_answered(c->load, c, outcome);
        if (outcome != HISTORY_OK && chance(c->load, 60))
            choose_member(client);
        think(client);
    }
    free_call(c);
}

static void answer(struct call *c, int err)
{
    struct world *w = c->load->world;
    c->at = NULL;
    c->is_over = true;
    c->err = err;
    c->travel.fire = on_answer;
    sim_clock_add(&w->clock, &c->travel, world_draw(&w->load_random, 50, 2000) * 1000);
}

static void on_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct call *c = container_of(r, struct call, request);
    if (!err)
        request_reply(&c->wanted, response, &c->arena, &c->reply);
    answer(c, err);
}

/* The request is at the member's machine. */
static void on_arrival(struct sim_event *event)
{
    struct call *c = container_of(event, struct call, travel);
    struct world *w = c->load->world;
    struct process *p = w->machines[c->slot]->process;
    if (!process_is_up(p)) {
        answer(c, ERR_CLOSED);
        return;
    }
    uint64_t until = process_paused_until(p);
    if (until) {
        sim_clock_add(&w->clock, event, until - w->clock.now_ns);
        return;
    }
    c->at = p;
    c->request.done = on_done;
    cluster_running = p;
    request_start(p->kv, &c->request, &c->wanted, &c->arena);
    cluster_running = NULL;
    process_touch(p);
}

static void on_cancel(struct sim_event *event)
{
    struct call *c = container_of(event, struct call, cancel);
    uint64_t until = c->at ? process_paused_until(c->at) : 0;
    if (until)
        sim_clock_add(&c->load->world->clock, event, until - c->load->world->clock.now_ns);
    else
        free_call(c);
}

static void on_impatience(struct sim_event *event)
{
    struct client *client = container_of(event, struct client, patience);
    struct call *c = client->call;
    struct workload *l = client->load;
    record(c, HISTORY_UNKNOWN);
    if (client == &l->clients[l->client_count])
        probe_answered(l, c, HISTORY_UNKNOWN);
    c->client = NULL;
    client->call = NULL;
    sim_clock_add(&l->world->clock, &c->cancel, draw(l, 100, 5000000) * 1000);
    choose_member(client);
    think(client);
}

static void call(struct client *client, const struct history_request *request)
{
    struct workload *l = client->load;
    struct world *w = l->world;
    struct call *c = mem_new(sizeof *c);
    c->load = l;
    c->client = client;
    c->slot = client->slot;
    c->op = history_call(&l->history, client->number, (int64_t)w->clock.now_ns, request);
    c->wanted = c->op->request;
    c->travel.fire = on_arrival;
    c->cancel.fire = on_cancel;
    client->call = c;
    list_add_last(&l->calls, &c->link);
    sim_clock_add(&w->clock, &c->travel, draw(l, 50, 2000) * 1000);
    sim_clock_add(&w->clock, &client->patience,
                  draw(l, w->plan.patience_ms * 500, w->plan.patience_ms * 1500) * 1000);
}

/* The prober reads from a member that has not been read from yet. */
static void choose_unread(struct client *prober)
{
    const struct workload *l = prober->load;
    for (unsigned i = 0; i < l->world->machine_count; i++)
        if (l->is_in_core[i] && l->world->machines[i]->is_member && !l->progress.has_read[i] &&
            chance(prober->load, 50))
            prober->slot = i;
}

static void on_next(struct sim_event *event)
{
    struct client *client = container_of(event, struct client, next);
    struct workload *l = client->load;
    bool is_prober = client == &l->clients[l->client_count];
    if (chance(l, 5) || (l->is_restricted && !l->is_in_core[client->slot]))
        choose_member(client);
    if (is_prober)
        choose_unread(client);
    arena_reset(&l->scratch);
    struct history_request request = is_prober ? probe_request(l) : draw_request(l);
    call(client, &request);
}

/* --- events of the cluster ---------------------------------------------------------------------------- */

void workload_flush(struct process *p)
{
    watchers_flush(p->machine->world->workload->watchers, p);
}

/* Requests end with ERR_STOPPED when kv closes; streams must close before. */
void workload_process_ended(struct process *p)
{
    watchers_process_ended(p->machine->world->workload->watchers, p);
}

void workload_committed(struct world *w, const struct store_change *change, int64_t ended_lease)
{
    struct workload *l = w->workload;
    struct history_change *changes = mem_new((change->count + 1) * sizeof *changes);
    for (size_t i = 0; i < change->count; i++)
        changes[i] = (struct history_change){change->events[i].is_delete, request_kv(&change->events[i].kv)};
    struct history_commit commit = {change->revision, changes, change->count, ended_lease};
    history_commit_add(&l->history, &commit);
    mem_free(changes);
    if (change->revision > l->revision)
        l->revision = change->revision;
}

/* --- life ---------------------------------------------------------------------------------------------- */

struct workload *workload_new(struct world *w)
{
    struct workload *l = mem_new(sizeof *l);
    l->world = w;
    l->revision = l->seen_revision = 1;
    l->next_lease = 1000;
    list_init(&l->calls);
    l->watchers = watchers_new(w, &l->history);
    l->client_count = (unsigned)w->plan.clients;
    for (unsigned i = 0; i <= l->client_count; i++) {
        struct client *c = &l->clients[i];
        c->load = l;
        c->number = i;
        c->next.fire = on_next;
        c->patience.fire = on_impatience;
    }
    return l;
}

void workload_start(struct workload *l)
{
    for (unsigned i = 0; i < l->client_count; i++) {
        choose_member(&l->clients[i]);
        think(&l->clients[i]);
    }
    watchers_start(l->watchers);
}

void workload_keep_to(struct workload *l, const bool *is_in_core)
{
    memcpy(l->is_in_core, is_in_core, sizeof l->is_in_core);
    l->is_restricted = true;
    l->progress = (struct workload_progress){0};
    watchers_keep_to(l->watchers, is_in_core);
    think(&l->clients[l->client_count]);
}

struct workload_progress workload_progress(const struct workload *l)
{
    struct workload_progress progress = l->progress;
    progress.watchers_are_level = watchers_are_level(l->watchers, l->revision);
    return progress;
}

void workload_print(const struct workload *l)
{
    watchers_print(l->watchers, l->revision);
}

bool workload_drain(struct workload *l)
{
    bool is_over = true;
    l->is_stopped = true;
    for (unsigned i = 0; i <= l->client_count; i++) {
        sim_clock_remove(&l->world->clock, &l->clients[i].next);
        is_over = is_over && !l->clients[i].call;
    }
    return is_over;
}

void workload_stop(struct workload *l, int64_t complete_to)
{
    (void)workload_drain(l);
    for (unsigned i = 0; i <= l->client_count; i++) {
        struct client *c = &l->clients[i];
        sim_clock_remove(&l->world->clock, &c->patience);
        if (c->call) {
            record(c->call, HISTORY_UNKNOWN);
            c->call->client = NULL;
            c->call = NULL;
        }
    }
    LIST_FOR_EACH_SAFE (link, &l->calls)
        free_call(container_of(link, struct call, link));
    watchers_stop(l->watchers, complete_to);
}

void workload_free(struct workload *l)
{
    watchers_free(l->watchers);
    history_done(&l->history);
    arena_done(&l->scratch);
    mem_free(l);
}

struct workload_counts workload_counts(const struct workload *l)
{
    struct workload_counts counts = l->counts;
    counts.events = watchers_events(l->watchers);
    return counts;
}

int64_t workload_revision(const struct workload *l)
{
    return l->revision;
}

struct history *workload_history(struct workload *l)
{
    return &l->history;
}

/* A paused leader gives leases their time again, so pauses make a cluster unhealthy too. */
static bool is_healthy(const struct world *w)
{
    return w->plan.calm && !w->plan.pause_ms && w->is_untouched &&
           invariants_leader_count(w->invariants) == 1;
}

void workload_judge(struct world *w)
{
    struct check_report report = {0};
    struct check_options options = {.is_replay_complete = true,
                                    .clock_fast_ppm = (int64_t)w->plan.skew_ppm + 1,
                                    .was_healthy = is_healthy(w),
                                    .lease_late_bound_ns = LEASE_LATE_NS};
    if (!check_history(&w->workload->history, &options, &report))
        world_violated(w, report.count ? "history" : "history_order", "the checkers say:\n%s",
                       report.text.size ? buf_text(&report.text) : "the order of mutations is not known");
    check_report_done(&report);
}
