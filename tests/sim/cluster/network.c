/* SPDX-License-Identifier: Apache-2.0
 * Streams, packets and member RPCs; see network.h.
 *
 * A stream belongs to the sender. It is DOWN, is connecting and tries again and again, or is UP to one run
 * of the receiver. Only the first packet of a stream is on the clock, so the order holds whatever delays are
 * drawn. */
#include "tests/sim/cluster/network.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "consensus/node/boot.h"
#include "consensus/peer/codec.h"
#include "tests/sim/cluster/invariants.h"
#include "tests/sim/cluster/network_impl.h"

static struct port *port_of(struct peers *p)
{
    return container_of(p, struct port, peers);
}

/* --- links -------------------------------------------------------------------------------------------- */

bool network_is_cut(const struct network *n, unsigned from, unsigned to)
{
    return n->cuts[from][to] > 0;
}

void network_cut(struct network *n, unsigned from, unsigned to, bool is_cut)
{
    if (is_cut)
        n->cuts[from][to]++;
    else if (n->cuts[from][to])
        n->cuts[from][to]--;
}

void network_clog(struct network *n, unsigned from, unsigned to, uint64_t until_ns)
{
    n->clogged_until_ns[from][to] = until_ns;
}

void network_heal_all(struct network *n)
{
    memset(n->cuts, 0, sizeof n->cuts);
    memset(n->clogged_until_ns, 0, sizeof n->clogged_until_ns);
}

static uint64_t draw_delay(struct network *n, unsigned from, unsigned to)
{
    struct world *w = n->world;
    uint64_t now = w->clock.now_ns, until = n->clogged_until_ns[from][to];
    uint64_t delay =
        w->plan.delay_min_us * 1000 + world_exponential(&w->network_random, w->plan.delay_mean_us * 1000);
    return until > now ? delay + until - now : delay;
}

struct network_counts network_counts(const struct network *n)
{
    return n->counts;
}

/* --- events of a process ------------------------------------------------------------------------------ */

/* The process, or NULL when that run is over. If it is paused, *ret_until says when to schedule the event
 * again. */
static struct process *receiver(struct network *n, unsigned slot, uint64_t serial, uint64_t *ret_until)
{
    struct process *p = cluster_find(n->world, slot, serial);
    *ret_until = p ? process_paused_until(p) : 0;
    return p;
}

static void on_note(struct sim_event *event)
{
    struct note *t = container_of(event, struct note, event);
    struct network *n = t->network;
    uint64_t until;
    struct process *p = receiver(n, t->slot, t->serial, &until);
    if (until) {
        sim_clock_add(&n->world->clock, event, until - n->world->clock.now_ns);
        return;
    }
    list_remove(&t->link);
    if (p && p->port->events) {
        const struct peer_events *e = p->port->events;
        cluster_running = p;
        if (t->kind == NOTE_REACHABLE)
            e->on_reachable(p->port->arg, t->id, t->stream);
        else if (t->kind == NOTE_UNREACHABLE)
            e->on_unreachable(p->port->arg, t->id, t->stream);
        else
            e->on_removed(p->port->arg, t->id);
        cluster_running = NULL;
        process_touch(p);
    }
    mem_free(t);
}

static void notify(struct port *port, int kind, uint64_t id, enum peer_stream stream)
{
    struct network *n = port->network;
    struct note *t = mem_new(sizeof *t);
    t->event.fire = on_note;
    t->network = n;
    t->slot = port->process->machine->slot;
    t->serial = port->process->serial;
    t->kind = kind;
    t->id = id;
    t->stream = stream;
    list_add_last(&n->notes, &t->link);
    sim_clock_add(&n->world->clock, &t->event, world_draw(&n->world->network_random, 100, 20000));
}

static void hand_over(struct network *n, struct process *p, uint64_t from, enum peer_stream kind,
                      struct slice bytes)
{
    n->counts.delivered++;
    world_mark(n->world, from ^ bytes.size << 32, p->serial);
    if (!p->port->events)
        return;
    cluster_running = p;
    p->port->events->on_message(p->port->arg, from, kind, bytes);
    cluster_running = NULL;
    process_touch(p);
}

/* --- packets ------------------------------------------------------------------------------------------- */

static void free_packet(struct stream *stream, struct packet *k)
{
    list_remove(&k->link);
    stream->queued -= k->bytes.size;
    buf_done(&k->bytes);
    mem_free(k);
}

static void on_stray(struct sim_event *event)
{
    struct stray *s = container_of(event, struct stray, event);
    struct network *n = s->network;
    uint64_t until;
    struct process *p = receiver(n, s->to_slot, s->to_serial, &until);
    if (until) {
        sim_clock_add(&n->world->clock, event, until - n->world->clock.now_ns);
        return;
    }
    if (p && !network_is_cut(n, s->from_slot, s->to_slot))
        hand_over(n, p, s->from_id, s->kind, buf_slice(&s->bytes));
    list_remove(&s->link);
    buf_done(&s->bytes);
    mem_free(s);
}

static void send_stray(struct stream *stream, struct slice bytes, uint64_t after_ns)
{
    struct network *n = stream->port->network;
    struct stray *s = mem_new(sizeof *s);
    s->event.fire = on_stray;
    s->network = n;
    s->from_slot = stream->port->process->machine->slot;
    s->from_id = stream->port->member_id;
    s->to_slot = stream->remote->slot;
    s->to_serial = stream->target;
    s->kind = stream->kind;
    buf_add_slice(&s->bytes, bytes);
    list_add_last(&n->strays, &s->link);
    sim_clock_add(&n->world->clock, &s->event, after_ns);
}

static void drop_packets(struct stream *stream)
{
    while (!list_is_empty(&stream->packets)) {
        free_packet(stream, container_of(stream->packets.next, struct packet, link));
        stream->port->network->counts.lost++;
    }
    sim_clock_remove(&stream->port->network->world->clock, &stream->deliver);
}

static void retry_later(struct stream *stream)
{
    struct world *w = stream->port->network->world;
    if (!heap_contains(&stream->connect.node))
        sim_clock_add(&w->clock, &stream->connect, world_draw(&w->network_random, 5, 150) * 1000000);
}

static void break_stream(struct stream *stream)
{
    if (!stream->is_up)
        return;
    stream->is_up = false;
    stream->blocked_ns = 0;
    drop_packets(stream);
    notify(stream->port, NOTE_UNREACHABLE, stream->remote->id, stream->kind);
    retry_later(stream);
}

static void arm(struct stream *stream)
{
    struct world *w = stream->port->network->world;
    if (list_is_empty(&stream->packets) || heap_contains(&stream->deliver.node))
        return;
    const struct packet *first = container_of(stream->packets.next, struct packet, link);
    uint64_t now = w->clock.now_ns;
    sim_clock_add(&w->clock, &stream->deliver, first->ready_ns > now ? first->ready_ns - now : 0);
}

static void on_deliver(struct sim_event *event)
{
    struct stream *stream = container_of(event, struct stream, deliver);
    struct network *n = stream->port->network;
    struct world *w = n->world;
    uint64_t until;
    struct process *p = receiver(n, stream->remote->slot, stream->target, &until);
    if (network_is_cut(n, stream->port->process->machine->slot, stream->remote->slot)) {
        if (!stream->blocked_ns)
            stream->blocked_ns = w->clock.now_ns;
        if (w->clock.now_ns - stream->blocked_ns > w->plan.dead_after_ms * 1000000)
            break_stream(stream);
        else
            sim_clock_add(&w->clock, event, POLL_NS);
        return;
    }
    stream->blocked_ns = 0;
    if (!p) {
        break_stream(stream);
        return;
    }
    if (until) {
        sim_clock_add(&w->clock, event, until - w->clock.now_ns);
        return;
    }
    struct packet *k = container_of(stream->packets.next, struct packet, link);
    struct buf bytes = buf_move(&k->bytes);
    stream->queued -= bytes.size;
    free_packet(stream, k);
    arm(stream);
    hand_over(n, p, stream->port->member_id, stream->kind, buf_slice(&bytes));
    buf_done(&bytes);
}

/* --- connecting ---------------------------------------------------------------------------------------- */

static bool was_removed(const struct port *port, uint64_t id)
{
    for (size_t i = 0; i < port->removed_count; i++)
        if (port->removed[i] == id)
            return true;
    return false;
}

static void start_streams(struct port *port, struct remote *r)
{
    struct world *w = port->network->world;
    for (int i = 0; i < PEER_STREAM_COUNT; i++)
        if (port->member_id && r->id != port->member_id && !r->streams[i].is_up &&
            !heap_contains(&r->streams[i].connect.node))
            sim_clock_add(&w->clock, &r->streams[i].connect,
                          world_draw(&w->network_random, 100, 3000) * 1000);
}

static struct remote *find_remote(const struct port *port, uint64_t id)
{
    for (size_t i = 0; i < port->remote_count; i++)
        if (port->remotes[i]->id == id)
            return port->remotes[i];
    return NULL;
}

static void on_connect(struct sim_event *event);

static struct remote *new_remote(struct port *port, uint64_t id)
{
    assert(port->remote_count < REMOTES_MAX);
    struct remote *r = mem_new(sizeof *r);
    for (int i = 0; i < PEER_STREAM_COUNT; i++) {
        struct stream *stream = &r->streams[i];
        stream->port = port;
        stream->remote = r;
        stream->kind = (enum peer_stream)i;
        stream->deliver.fire = on_deliver;
        stream->connect.fire = on_connect;
        list_init(&stream->packets);
    }
    r->id = id;
    port->remotes[port->remote_count++] = r;
    return r;
}

static void set_remote(struct port *port, uint64_t id, unsigned slot)
{
    struct remote *r = find_remote(port, id);
    if (id == port->member_id || (r && r->slot == slot))
        return;
    for (int i = 0; r && i < PEER_STREAM_COUNT; i++)
        break_stream(&r->streams[i]);
    if (!r)
        r = new_remote(port, id);
    r->slot = slot;
    start_streams(port, r);
}

/* The connecting member sends its own address: a new leader may be unknown to a receiver that is behind. */
static void learn(struct port *port, uint64_t id, unsigned slot)
{
    if (!find_remote(port, id))
        set_remote(port, id, slot);
}

static void on_connect(struct sim_event *event)
{
    struct stream *stream = container_of(event, struct stream, connect);
    struct port *port = stream->port;
    struct network *n = port->network;
    struct world *w = n->world;
    unsigned from = port->process->machine->slot, to = stream->remote->slot;
    if (port->is_ended || stream->is_up)
        return;
    if (network_is_cut(n, from, to) || network_is_cut(n, to, from)) {
        if (!stream->blocked_ns)
            stream->blocked_ns = w->clock.now_ns;
        if (w->clock.now_ns - stream->blocked_ns > w->plan.dead_after_ms * 1000000) {
            stream->blocked_ns = 0;
            notify(port, NOTE_UNREACHABLE, stream->remote->id, stream->kind);
        }
        retry_later(stream);
        return;
    }
    stream->blocked_ns = 0;
    struct process *p = w->machines[to]->process;
    if (p && process_is_up(p) && process_paused_until(p)) {
        retry_later(stream);
        return;
    }
    if (p && process_is_up(p) && p->port->member_id && was_removed(p->port, port->member_id))
        notify(port, NOTE_REMOVED, p->port->member_id, stream->kind);
    else if (p && process_is_up(p) && p->port->member_id == stream->remote->id &&
             p->port->cluster_id == port->cluster_id) {
        stream->is_up = true;
        stream->target = p->serial;
        stream->last_ns = w->clock.now_ns;
        stream->up_since_ms = port->process->io->ops->mono_ns(port->process->io) / 1000000;
        notify(port, NOTE_REACHABLE, stream->remote->id, stream->kind);
        learn(p->port, port->member_id, from);
        return;
    }
    notify(port, NOTE_UNREACHABLE, stream->remote->id, stream->kind);
    retry_later(stream);
}

/* --- the table ----------------------------------------------------------------------------------------- */

static void port_set_events(struct peers *p, const struct peer_events *events, void *arg)
{
    port_of(p)->events = events;
    port_of(p)->arg = arg;
}

static void port_set_identity(struct peers *p, uint64_t cluster_id, uint64_t member_id)
{
    struct port *port = port_of(p);
    port->cluster_id = cluster_id;
    port->member_id = member_id;
    for (size_t i = 0; i < port->remote_count; i++)
        start_streams(port, port->remotes[i]);
}

static unsigned slot_of_url(const struct network *n, const char *url)
{
    for (unsigned i = 0; i < n->world->machine_count; i++)
        if (strcmp(n->world->machines[i]->url, url) == 0)
            return i;
    return MACHINES_MAX;
}

static void free_remote(struct port *port, struct remote *r)
{
    struct sim_clock *c = &port->network->world->clock;
    for (int i = 0; i < PEER_STREAM_COUNT; i++) {
        drop_packets(&r->streams[i]);
        sim_clock_remove(c, &r->streams[i].connect);
    }
    mem_free(r);
}

static void port_remove_member(struct peers *p, uint64_t id)
{
    struct port *port = port_of(p);
    if (port->removed_count < REMOVED_MAX && !was_removed(port, id))
        port->removed[port->removed_count++] = id;
    for (size_t i = 0; i < port->remote_count; i++) {
        if (port->remotes[i]->id == id) {
            free_remote(port, port->remotes[i]);
            port->remotes[i] = port->remotes[--port->remote_count];
            break;
        }
    }
    /* Its streams to this member end too. */
    const struct world *w = port->network->world;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct process *other = w->machines[i]->process;
        if (!other || other->port->member_id != id)
            continue;
        for (size_t k = 0; k < other->port->remote_count; k++)
            for (int stream = 0; stream < PEER_STREAM_COUNT; stream++)
                if (other->port->remotes[k]->streams[stream].target == port->process->serial)
                    break_stream(&other->port->remotes[k]->streams[stream]);
    }
}

static void port_set_member(struct peers *p, uint64_t id, const char *const *urls, size_t count)
{
    struct port *port = port_of(p);
    unsigned slot = count ? slot_of_url(port->network, urls[0]) : MACHINES_MAX;
    if (slot != MACHINES_MAX)
        set_remote(port, id, slot);
}

/* A proposal that arrived twice would be applied twice: raft forwards it without a check. */
static bool may_misbehave(struct slice head, struct slice body)
{
    uint8_t bytes[2] = {0};
    for (size_t i = 0; i < 2 && i < head.size + body.size; i++)
        bytes[i] = i < head.size ? head.data[i] : body.data[i - head.size];
    return bytes[0] == CODEC_RAFT && bytes[1] != RAFT_MSG_PROP;
}

static bool port_send(struct peers *p, uint64_t to, enum peer_stream kind, struct slice head,
                      struct slice body)
{
    struct port *port = port_of(p);
    struct network *n = port->network;
    struct world *w = n->world;
    struct remote *r = find_remote(port, to);
    size_t size = head.size + body.size;
    if (port->is_ended || !r)
        return false;
    struct stream *stream = &r->streams[kind];
    bool is_full = stream->queued && stream->queued + size > w->plan.queue_bytes;
    if (!stream->is_up || is_full || size > PEER_MESSAGE_MAX) {
        n->counts.refused++;
        return false;
    }
    n->counts.sent++;
    struct buf bytes = {0};
    buf_add_slice(&bytes, head);
    buf_add_slice(&bytes, body);
    invariants_sent(port->process, to, kind, buf_slice(&bytes));
    uint64_t delay = draw_delay(n, port->process->machine->slot, r->slot);
    bool may = may_misbehave(head, body);
    if (may && world_chance(&w->network_random, w->plan.duplicate_ppm)) {
        n->counts.duplicated++;
        send_stray(stream, buf_slice(&bytes), delay + world_draw(&w->network_random, 0, 50000000));
    }
    if (world_chance(&w->network_random, w->plan.drop_ppm)) {
        n->counts.lost++;
        buf_done(&bytes);
        return true;
    }
    if (may && world_chance(&w->network_random, w->plan.reorder_ppm)) {
        n->counts.late++;
        send_stray(stream, buf_slice(&bytes), delay + world_draw(&w->network_random, 0, 300000000));
        buf_done(&bytes);
        return true;
    }
    struct packet *k = mem_new(sizeof *k);
    k->ready_ns = w->clock.now_ns + delay;
    if (k->ready_ns < stream->last_ns)
        k->ready_ns = stream->last_ns;
    stream->last_ns = k->ready_ns;
    k->bytes = bytes;
    stream->queued += size;
    list_add_last(&stream->packets, &k->link);
    arm(stream);
    return true;
}

static size_t port_queued(struct peers *p, uint64_t to, enum peer_stream kind)
{
    const struct remote *r = find_remote(port_of(p), to);
    return r ? r->streams[kind].queued : 0;
}

static void port_flush(struct peers *p)
{
    (void)p; /* messages of a turn are on their way: a turn takes no time */
}

void network_flush(struct port *port)
{
    port_flush(&port->peers);
}

static size_t port_round_trips(struct peers *p, struct peer_round_trip *ret_list, size_t max)
{
    const struct port *port = port_of(p);
    size_t count = 0;
    for (size_t i = 0; i < port->remote_count && count < max; i++) {
        const struct remote *r = port->remotes[i];
        const struct stream *stream = &r->streams[PEER_STREAM_LOG];
        ret_list[count++] = (struct peer_round_trip){r->id, stream->is_up ? 1000000 : 0,
                                                     stream->is_up ? stream->up_since_ms : 0};
    }
    return count;
}

/* --- member RPCs -------------------------------------------------------------------------------------- */

static void free_question(struct peer_served_query *q)
{
    sim_clock_remove(&q->network->world->clock, &q->event);
    sim_clock_remove(&q->network->world->clock, &q->timeout);
    sim_clock_remove(&q->network->world->clock, &q->back);
    list_remove(&q->link);
    buf_done(&q->text);
    mem_free(q);
}

static void on_question_over(struct sim_event *event)
{
    struct peer_served_query *q = container_of(event, struct peer_served_query, event);
    struct network *n = q->network;
    uint64_t until;
    struct process *p = receiver(n, q->from_slot, q->from_serial, &until);
    if (until) {
        sim_clock_add(&n->world->clock, event, until - n->world->clock.now_ns);
        return;
    }
    if (p && !q->is_canceled) {
        cluster_running = p;
        q->done(q->arg, q->err, q->err ? (struct slice){0} : buf_slice(&q->text));
        cluster_running = NULL;
        process_touch(p);
    }
    free_question(q);
}

static void end_question(struct peer_served_query *q, int err, uint64_t after_ns)
{
    struct sim_clock *c = &q->network->world->clock;
    q->err = err;
    q->is_answered = true;
    q->event.fire = on_question_over;
    sim_clock_remove(c, &q->timeout);
    sim_clock_remove(c, &q->event);
    sim_clock_add(c, &q->event, after_ns);
}

static void on_question_timeout(struct sim_event *event)
{
    end_question(container_of(event, struct peer_served_query, timeout), ERR_TIMEOUT, 0);
}

/* Members have a token here, but show it only where no other proof is enough: so dial-backs are simulated,
 * too. */
static bool needs_token(struct slice text)
{
    Peerpb__BootstrapQuery *q = boot_read_query(text);
    bool is_add = q && q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__ADD;
    if (q)
        peerpb__bootstrap_query__free_unpacked(q, NULL);
    return is_add;
}

static void on_question_arrives(struct sim_event *event)
{
    struct peer_served_query *q = container_of(event, struct peer_served_query, event);
    struct network *n = q->network;
    struct world *w = n->world;
    struct process *p = q->to_slot < w->machine_count ? w->machines[q->to_slot]->process : NULL;
    if (q->to_slot < w->machine_count && network_is_cut(n, q->from_slot, q->to_slot))
        return; /* the time-out follows */
    if (!process_is_alive(p) || !p->port->events) {
        end_question(q, ERR_CLOSED, w->plan.delay_min_us * 1000);
        return;
    }
    uint64_t until = process_paused_until(p);
    if (until) {
        sim_clock_add(&w->clock, event, until - w->clock.now_ns);
        return;
    }
    struct buf text = buf_move(&q->text);
    q->is_asked = true;
    q->to_serial = p->serial;
    cluster_running = p;
    struct peer_query_sender asker = {.proof =
                                          needs_token(buf_slice(&text)) ? PEER_PROOF_TOKEN : PEER_PROOF_NONE};
    p->port->events->on_query(p->port->arg, q, &asker, buf_slice(&text));
    cluster_running = NULL;
    process_touch(p);
    buf_done(&text);
}

static uint64_t port_ask(struct peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                         void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    struct port *port = port_of(p);
    struct network *n = port->network;
    struct peer_served_query *q = mem_new(sizeof *q);
    q->network = n;
    q->number = ++n->question_count;
    q->from_slot = port->process->machine->slot;
    q->from_serial = port->process->serial;
    q->to_slot = slot_of_url(n, url);
    q->done = done;
    q->arg = arg;
    buf_add_slice(&q->text, text);
    q->event.fire = on_question_arrives;
    q->timeout.fire = on_question_timeout;
    list_add_last(&n->questions, &q->link);
    unsigned to = q->to_slot < MACHINES_MAX ? q->to_slot : q->from_slot;
    sim_clock_add(&n->world->clock, &q->event, draw_delay(n, q->from_slot, to));
    sim_clock_add(&n->world->clock, &q->timeout, timeout_ms * 1000000);
    return q->number;
}

static void port_cancel(struct peers *p, uint64_t ask)
{
    struct network *n = port_of(p)->network;
    LIST_FOR_EACH (l, &n->questions) {
        struct peer_served_query *q = container_of(l, struct peer_served_query, link);
        if (q->number == ask)
            q->is_canceled = true;
    }
}

static void port_answer(struct peers *p, struct peer_served_query *q, struct slice text)
{
    struct network *n = port_of(p)->network;
    if (q->is_answered)
        return; /* too late */
    sim_clock_remove(&n->world->clock, &q->back);
    if (q->is_impostor) {
        q->on_answer(q->arg, text);
        free_question(q);
        return;
    }
    buf_clear(&q->text);
    buf_add_slice(&q->text, text);
    if (network_is_cut(n, q->to_slot, q->from_slot))
        return;
    end_question(q, OK, draw_delay(n, q->to_slot, q->from_slot));
}

/* The machine at the URL confirms whether it sent this query, in this run. */
static void on_dialed_back(struct sim_event *event)
{
    struct peer_served_query *q = container_of(event, struct peer_served_query, back);
    struct network *n = q->network;
    uint64_t until;
    struct process *p = receiver(n, q->to_slot, q->to_serial, &until);
    if (until) {
        sim_clock_add(&n->world->clock, event, until - n->world->clock.now_ns);
        return;
    }
    if (!p)
        return;
    cluster_running = p;
    q->confirmed(q->confirmed_arg, q->is_confirmed);
    cluster_running = NULL;
    process_touch(p);
}

static void port_confirm(struct peers *p, struct peer_served_query *q, const char *const *urls, size_t count,
                         void (*done)(void *arg, bool is_confirmed), void *arg)
{
    struct network *n = port_of(p)->network;
    q->is_confirmed = false;
    for (size_t i = 0; i < count && !q->is_impostor; i++)
        q->is_confirmed |=
            slot_of_url(n, urls[i]) == q->from_slot && cluster_find(n->world, q->from_slot, q->from_serial) &&
            !network_is_cut(n, q->from_slot, q->to_slot) && !network_is_cut(n, q->to_slot, q->from_slot);
    q->confirmed = done;
    q->confirmed_arg = arg;
    q->back.fire = on_dialed_back;
    unsigned from = q->is_impostor ? q->to_slot : q->from_slot;
    sim_clock_add(&n->world->clock, &q->back, 2 * draw_delay(n, from, q->to_slot));
}

static void port_set_vouched(struct peers *p, uint64_t id, const char *const *urls, size_t count)
{
    (void)p, (void)id, (void)urls, (void)count; /* streams here are identified by their token */
}

/* --- impostors ----------------------------------------------------------------------------------------- */

/* The time in which the queried member may still answer. */
static void on_impostor_timeout(struct sim_event *event)
{
    struct peer_served_query *q = container_of(event, struct peer_served_query, timeout);
    struct network *n = q->network;
    if (cluster_find(n->world, q->to_slot, q->to_serial))
        sim_clock_add(&n->world->clock, event, 20000000000);
    else
        free_question(q);
}

void network_ask_as_impostor(struct network *n, struct process *p, struct slice text,
                             void (*on_answer)(void *arg, struct slice answer), void *arg)
{
    struct peer_served_query *q = mem_new(sizeof *q);
    q->network = n;
    q->to_slot = p->machine->slot;
    q->to_serial = p->serial;
    q->is_impostor = true;
    q->on_answer = on_answer;
    q->arg = arg;
    q->timeout.fire = on_impostor_timeout;
    list_add_last(&n->questions, &q->link);
    sim_clock_add(&n->world->clock, &q->timeout, 20000000000);
    struct peer_query_sender asker = {.proof = PEER_PROOF_NONE};
    cluster_running = p;
    p->port->events->on_query(p->port->arg, q, &asker, text);
    cluster_running = NULL;
    process_touch(p);
}

bool network_may_be_asked(struct process *p)
{
    return process_is_up(p) && p->port->events && p->port->member_id && !process_paused_until(p);
}

uint64_t network_peer_of(const struct process *p, uint64_t drawn)
{
    return p->port->remote_count ? p->port->remotes[drawn % p->port->remote_count]->id : 0;
}

void network_say_as_impostor(struct network *n, struct process *p, uint64_t from, struct slice bytes)
{
    hand_over(n, p, from, PEER_STREAM_LOG, bytes);
}

static const struct peer_ops port_ops = {
    .set_events = port_set_events,
    .set_identity = port_set_identity,
    .set_member = port_set_member,
    .remove_member = port_remove_member,
    .set_vouched = port_set_vouched,
    .send = port_send,
    .queued = port_queued,
    .flush = port_flush,
    .query = port_ask,
    .cancel = port_cancel,
    .answer = port_answer,
    .confirm = port_confirm,
    .round_trips = port_round_trips,
};

/* --- life ---------------------------------------------------------------------------------------------- */

struct network *network_new(struct world *w)
{
    struct network *n = mem_new(sizeof *n);
    n->world = w;
    list_init(&n->strays);
    list_init(&n->notes);
    list_init(&n->questions);
    return n;
}

void network_free(struct network *n)
{
    struct sim_clock *c = &n->world->clock;
    LIST_FOR_EACH_SAFE (l, &n->strays) {
        struct stray *s = container_of(l, struct stray, link);
        sim_clock_remove(c, &s->event);
        buf_done(&s->bytes);
        mem_free(s);
    }
    LIST_FOR_EACH_SAFE (t, &n->notes) {
        struct note *note = container_of(t, struct note, link);
        sim_clock_remove(c, &note->event);
        mem_free(note);
    }
    LIST_FOR_EACH_SAFE (q, &n->questions)
        free_question(container_of(q, struct peer_served_query, link));
    mem_free(n);
}

struct port *network_port_new(struct network *n, struct process *p)
{
    struct port *port = mem_new(sizeof *port);
    port->peers.ops = &port_ops;
    port->network = n;
    port->process = p;
    return port;
}

struct peers *port_peers(struct port *port)
{
    return &port->peers;
}

/* Messages in flight may still arrive after their sender dies, and then in order. */
static void orphan(struct stream *stream)
{
    struct world *w = stream->port->network->world;
    bool survives = world_chance(&w->network_random, 500000);
    LIST_FOR_EACH_SAFE (l, &stream->packets) {
        struct packet *k = container_of(l, struct packet, link);
        uint64_t now = w->clock.now_ns;
        if (survives)
            send_stray(stream, buf_slice(&k->bytes), k->ready_ns > now ? k->ready_ns - now : 0);
        free_packet(stream, k);
    }
}

static void notice_end(struct network *n, const struct process *gone)
{
    for (unsigned i = 0; i < n->world->machine_count; i++) {
        struct process *p = n->world->machines[i]->process;
        if (!p || p == gone)
            continue;
        for (size_t k = 0; k < p->port->remote_count; k++)
            for (int stream = 0; stream < PEER_STREAM_COUNT; stream++)
                if (p->port->remotes[k]->streams[stream].target == gone->serial &&
                    !network_is_cut(n, gone->machine->slot, i))
                    break_stream(&p->port->remotes[k]->streams[stream]);
    }
}

void network_port_mute(struct port *port)
{
    port->events = NULL;
}

void network_port_end(struct port *port)
{
    if (port->is_ended)
        return;
    for (size_t i = 0; i < port->remote_count; i++) {
        for (int stream = 0; stream < PEER_STREAM_COUNT; stream++)
            orphan(&port->remotes[i]->streams[stream]);
        free_remote(port, port->remotes[i]);
    }
    port->remote_count = 0;
    port->is_ended = true;
    port->events = NULL;
    notice_end(port->network, port->process);
}

void network_port_free(struct port *port)
{
    network_port_end(port);
    mem_free(port);
}

void network_reset_stream(struct network *n)
{
    struct world *w = n->world;
    struct stream *streams[MACHINES_MAX * REMOTES_MAX];
    size_t count = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct process *p = w->machines[i]->process;
        if (!p)
            continue;
        for (size_t k = 0; k < p->port->remote_count; k++)
            for (int stream = 0; stream < PEER_STREAM_COUNT; stream++)
                if (p->port->remotes[k]->streams[stream].is_up)
                    streams[count++] = &p->port->remotes[k]->streams[stream];
    }
    if (!count)
        return;
    struct stream *stream = streams[world_draw(&w->network_random, 0, count - 1)];
    world_note(w, "connection %s -> m%u breaks", stream->port->process->machine->name, stream->remote->slot);
    break_stream(stream);
}
