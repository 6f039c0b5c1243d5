/* SPDX-License-Identifier: Apache-2.0
 * States and the actions that lead from one state to the next. */
#include "tests/explore/host.h"

#include <stdarg.h>
#include <stdio.h>

uint64_t explore_mix(uint64_t h, uint64_t value)
{
    uint64_t z = (h ^ value) * UINT64_C(0x9fb21c651e98df25);
    return (z ^ (z >> 35)) * UINT64_C(0xd6e8feb86659fd93) + 1;
}

uint64_t explore_mix_bytes(uint64_t h, const void *data, size_t size)
{
    const uint8_t *p = data;
    h = explore_mix(h, size);
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t value;
        memcpy(&value, p, 8);
        h = explore_mix(h, value);
    }
    for (size_t i = 0; i < size; i++)
        h = explore_mix(h, p[i]);
    return h;
}

uint64_t explore_entry_hash(const struct raft_entry *e)
{
    struct slice data = blob_slice(e->data);
    return explore_mix_bytes(explore_mix(explore_mix(explore_mix(1, e->index), e->term), e->type), data.data,
                             data.size);
}

void world_break(struct world *w, const char *rule, const char *format, ...)
{
    if (w->broken)
        return;
    va_list args;
    va_start(args, format);
    w->broken = rule;
    vsnprintf(w->detail, sizeof w->detail, format, args);
    va_end(args);
}

/* --- messages --- */
static uint64_t hash_ids(uint64_t h, const struct raft_ids *ids)
{
    return explore_mix_bytes(h, ids->id, ids->count * sizeof ids->id[0]);
}

uint64_t explore_conf_hash(uint64_t h, const struct raft_conf_state *s)
{
    h = hash_ids(hash_ids(h, &s->voters), &s->voters_outgoing);
    return explore_mix(hash_ids(hash_ids(h, &s->learners), &s->learners_next), s->auto_leave);
}

static uint64_t hash_message(const struct raft_message *m)
{
    const uint64_t numbers[] = {m->type,     m->reject, m->to,     m->from, m->term,
                                m->log_term, m->index,  m->commit, m->vote, m->reject_hint};
    uint64_t h = explore_mix_bytes(7, numbers, sizeof numbers);
    h = explore_mix_bytes(h, m->context.data, m->context.size);
    for (size_t i = 0; i < m->entry_count; i++)
        h = explore_mix(h, explore_entry_hash(&m->entries[i]));
    if (m->snapshot)
        h = explore_conf_hash(explore_mix(explore_mix(h, m->snapshot->index), m->snapshot->term),
                              &m->snapshot->conf_state);
    for (size_t i = 0; i < m->response_count; i++)
        h = explore_mix(h, hash_message(&m->responses[i]));
    return h;
}

struct packet *packet_new(const struct raft_message *m)
{
    struct packet *p = mem_alloc(sizeof *p);
    *p = (struct packet){.references = 1, .hash = hash_message(m), .message = raft_message_keep(m)};
    return p;
}

void packet_unref(struct packet *p)
{
    if (--p->references)
        return;
    raft_message_done(&p->message);
    mem_free(p);
}

struct packet *world_find(const struct world *w, uint64_t packet)
{
    for (uint32_t i = 0; i < w->packet_count; i++)
        if (w->packet[i]->hash == packet)
            return w->packet[i];
    return NULL;
}

void world_send(struct world *w, const struct raft_message *m)
{
    if (m->to == RAFT_NONE || m->to > w->scope->members)
        return;
    struct packet *p = packet_new(m);
    /* The same message twice counts as one here; DUPLICATE covers the effects of a second copy. */
    if (world_find(w, p->hash) || w->packet_count == EXPLORE_PACKETS)
        packet_unref(p);
    else
        w->packet[w->packet_count++] = p;
}

static void network_remove(struct world *w, const struct packet *p)
{
    for (uint32_t i = 0; i < w->packet_count; i++) {
        if (w->packet[i] != p)
            continue;
        w->packet_count--;
        memmove(w->packet + i, w->packet + i + 1, (w->packet_count - i) * sizeof w->packet[0]);
        return;
    }
}

/* Forget messages of terms that their receiver has left for good. They have no effect and get no answer.
 * Otherwise two states that can never differ would count as two. */
static void network_forget(struct world *w)
{
    for (uint32_t i = 0; i < w->packet_count; i++) {
        struct packet *p = w->packet[i];
        const struct raft_message *m = &p->message;
        uint64_t term = w->member[m->to - 1]->disk.hard.term;
        bool answered =
            m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_APP || m->type == RAFT_MSG_PRE_VOTE;
        if (m->term == 0 || m->term >= term || answered)
            continue;
        network_remove(w, p);
        packet_unref(p);
        i--;
    }
}

/* --- members --- */
struct member *world_member(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    if (m->references > 1) {
        struct member *copy = member_copy(m);
        m->references--;
        w->member[number] = m = copy;
    }
    m->hash = 0;
    return m;
}

/* --- what may happen --- */
static void tick_until(struct raft *r, uint32_t elapsed)
{
    for (uint32_t i = 0; i < elapsed && r->role != RAFT_LEADER && r->election_elapsed < elapsed; i++)
        raft_tick(r);
}

static void time_out(struct raft *r)
{
    raft_set_election_timeout(r, EXPLORE_ELECTION_TICK);
    uint32_t ticks =
        r->election_elapsed < EXPLORE_ELECTION_TICK ? EXPLORE_ELECTION_TICK - r->election_elapsed : 1;
    for (uint32_t i = 0; i < ticks; i++)
        raft_tick(r);
}

static void propose(struct world *w, struct raft *r)
{
    uint8_t letter = (uint8_t)('a' + w->proposals_made++);
    struct raft_entry e = {.data = blob_copy((struct slice){&letter, 1})};
    if (raft_propose(r, &e, 1))
        w->proposals_made--;
    blob_unref(e.data);
}

static void read_index(struct world *w, struct raft *r)
{
    uint8_t number = w->reads_begun++;
    struct raft_context context = {.size = 1, .data = {(uint8_t)('A' + number)}};
    w->past.read_floor[number] = w->past.last;
    (void)!raft_read_index(r, context);
}

static void compact(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    struct disk *d = &m->disk;
    uint64_t first = raft_compact(m->raft, m->applied.index);
    if (first != m->applied.index + 1) /* not all of it is stable: forget nothing */
        return;
    uint32_t gone = (uint32_t)(m->applied.index - d->before.index);
    for (uint32_t i = 0; i < gone; i++)
        blob_unref(d->entry[i].data);
    memmove(d->entry, d->entry + gone, (d->count - gone) * sizeof d->entry[0]);
    memset(d->entry + d->count - gone, 0, gone * sizeof d->entry[0]);
    d->count -= gone;
    d->before = m->applied;
    d->conf = m->conf;
    d->content = m->content;
}

static void act_on_message(struct world *w, const struct action *a, struct packet *p)
{
    struct raft *r = w->member[a->member]->raft;
    p->references++;
    if (a->kind != ACTION_DUPLICATE) {
        network_remove(w, p);
        packet_unref(p);
    }
    if (a->kind != ACTION_DROP) {
        struct before before = rules_before(w, a->member);
        (void)raft_step(r, &p->message);
        rules_stepped(w, a->member, &before, &p->message);
    } else {
        raft_report_unreachable(r, p->message.to);
        if (p->message.type == RAFT_MSG_SNAP)
            raft_report_snapshot(r, p->message.to, false);
    }
    packet_unref(p);
}

bool world_act(struct world *w, const struct action *a)
{
    struct packet *p = a->packet ? world_find(w, a->packet) : NULL;
    if (a->packet && !p)
        return false;
    uint32_t number = a->kind == ACTION_DROP ? (uint32_t)p->message.from - 1 : a->member;
    struct member *m = w->member[number];
    if ((a->kind == ACTION_DISK && m->append.count == 0) ||
        (a->kind == ACTION_APPLY && m->apply.count == 0) ||
        (a->kind == ACTION_READ && w->reads_begun == EXPLORE_READS))
        return false;
    m = world_member(w, number);
    if (w->budget[a->kind])
        w->budget[a->kind]--;
    switch (a->kind) {
    case ACTION_DISK:
        host_disk(w, number);
        break;
    case ACTION_APPLY:
        host_apply(w, number);
        break;
    case ACTION_DELIVER:
    case ACTION_DUPLICATE:
    case ACTION_DROP:
        act_on_message(w, &(struct action){.kind = a->kind, .member = (uint8_t)number}, p);
        break;
    case ACTION_PROPOSE:
        propose(w, m->raft);
        break;
    case ACTION_TIMEOUT:
        time_out(m->raft);
        rules_timed_out(w, number);
        break;
    case ACTION_EXPIRE:
        tick_until(m->raft, EXPLORE_ELECTION_TICK);
        break;
    case ACTION_BEAT:
        raft_tick(m->raft);
        break;
    case ACTION_CRASH:
        host_crash(w, number);
        break;
    case ACTION_CHANGE:
        (void)!raft_propose_conf_change(m->raft, &w->scope->change[a->other], false);
        break;
    case ACTION_TRANSFER:
        raft_transfer_leader(m->raft, (uint64_t)a->other + 1);
        break;
    case ACTION_READ:
        read_index(w, m->raft);
        break;
    case ACTION_COMPACT:
        compact(w, number);
        break;
    case ACTION_KINDS:
        return false;
    }
    if (!w->broken)
        host_turn(w, number);
    if (!w->broken)
        network_forget(w);
    return true;
}

struct list {
    struct action *action;
    uint32_t count;
};

static void list_add(struct list *l, struct action a)
{
    if (l->count < EXPLORE_ACTIONS)
        l->action[l->count++] = a;
}

/* Untouched members are alike: only the first of them starts an action. */
static bool is_untouched(const struct world *w, uint32_t number)
{
    for (uint32_t i = 0; i < w->packet_count; i++)
        if (w->packet[i]->message.to == number + 1)
            return false;
    const struct raft *r = w->member[number]->raft;
    return r->term == 0 && raft_log_last(&r->log) == EXPLORE_BOOT && !w->scope->change_count;
}

static bool is_repeated(const struct world *w, uint32_t number)
{
    if (number == 0 || !is_untouched(w, number))
        return false;
    for (uint32_t i = 0; i < number; i++)
        if (is_untouched(w, i))
            return true;
    return false;
}

/* Hosts transfer leadership before they remove a leader, because configurations take effect when applied. A
 * leader that removes itself may lose its office before the others know of the removal. Then they may have no
 * majority that can elect (etcd #10563). */
static bool removes(const struct raft_conf_change *change, uint64_t id)
{
    for (uint32_t i = 0; i < change->count; i++)
        if (change->changes[i].node_id == id && change->changes[i].type == RAFT_REMOVE_NODE)
            return true;
    return false;
}

static void list_leader(const struct world *w, struct list *l, uint8_t i)
{
    if (w->budget[ACTION_PROPOSE])
        list_add(l, (struct action){.kind = ACTION_PROPOSE, .member = i});
    if (w->budget[ACTION_BEAT])
        list_add(l, (struct action){.kind = ACTION_BEAT, .member = i});
    for (uint8_t c = 0; c < w->scope->change_count && w->budget[ACTION_CHANGE]; c++)
        if (!removes(&w->scope->change[c], i + 1u))
            list_add(l, (struct action){.kind = ACTION_CHANGE, .member = i, .other = c});
    for (uint8_t to = 0; to < w->scope->members && w->budget[ACTION_TRANSFER]; to++)
        if (to != i)
            list_add(l, (struct action){.kind = ACTION_TRANSFER, .member = i, .other = to});
}

static void list_member(const struct world *w, struct list *l, uint8_t i)
{
    const struct member *m = w->member[i];
    struct raft *r = m->raft;
    if (m->append.count)
        list_add(l, (struct action){.kind = ACTION_DISK, .member = i});
    if (m->apply.count)
        list_add(l, (struct action){.kind = ACTION_APPLY, .member = i});
    if (r->role == RAFT_LEADER)
        list_leader(w, l, i);
    else if (w->budget[ACTION_TIMEOUT] && raft_promotable(r) && !is_repeated(w, i))
        list_add(l, (struct action){.kind = ACTION_TIMEOUT, .member = i});
    if (w->budget[ACTION_EXPIRE] && r->role == RAFT_FOLLOWER && r->leader != RAFT_NONE &&
        r->election_elapsed < EXPLORE_ELECTION_TICK)
        list_add(l, (struct action){.kind = ACTION_EXPIRE, .member = i});
    if (w->budget[ACTION_CRASH])
        list_add(l, (struct action){.kind = ACTION_CRASH, .member = i});
    if (w->budget[ACTION_READ] && r->leader != RAFT_NONE)
        list_add(l, (struct action){.kind = ACTION_READ, .member = i});
    if (w->budget[ACTION_COMPACT] && m->applied.index > m->disk.before.index)
        list_add(l, (struct action){.kind = ACTION_COMPACT, .member = i});
}

uint32_t world_actions(const struct world *w, struct action ret_actions[EXPLORE_ACTIONS])
{
    struct list l = {.action = ret_actions};
    for (uint32_t i = 0; i < w->packet_count; i++) {
        const struct raft_message *m = &w->packet[i]->message;
        struct action a = {
            .kind = ACTION_DELIVER, .member = (uint8_t)(m->to - 1), .packet = w->packet[i]->hash};
        list_add(&l, a);
        a.kind = ACTION_DUPLICATE;
        if (w->budget[ACTION_DUPLICATE])
            list_add(&l, a);
        a.kind = ACTION_DROP;
        if (w->budget[ACTION_DROP] && (m->type == RAFT_MSG_APP || m->type == RAFT_MSG_SNAP))
            list_add(&l, a);
    }
    for (uint8_t i = 0; i < w->scope->members; i++)
        list_member(w, &l, i);
    return l.count;
}

/* --- init, copies, hash --- */
static struct raft_conf_state first_conf(const struct scope *s)
{
    struct raft_conf_state conf = {0};
    for (uint32_t i = 0; i < s->members; i++) {
        if (s->voters >> i & 1)
            (void)raft_ids_add(&conf.voters, i + 1);
        else if (s->learners >> i & 1)
            (void)raft_ids_add(&conf.learners, i + 1);
    }
    return conf;
}

struct world *world_new(const struct scope *scope)
{
    struct world *w = mem_new(sizeof *w);
    w->scope = scope;
    memcpy(w->budget, scope->budget, sizeof w->budget);
    struct raft_conf_state conf = first_conf(scope);
    for (uint32_t i = 0; i < scope->members; i++) {
        struct member *m = w->member[i] = mem_new(sizeof *m);
        m->references = 1;
        bool joined = (scope->voters | scope->learners) >> i & 1;
        if (joined) { /* as if a snapshot had been installed everywhere */
            m->disk.before = (struct raft_position){EXPLORE_BOOT, 1};
            m->disk.conf = conf;
            m->disk.content = 1;
        }
        host_start(w, i);
    }
    for (uint64_t i = 1; i <= EXPLORE_BOOT; i++)
        w->past.committed[i].content = 1;
    w->past.last = EXPLORE_BOOT;
    for (uint32_t i = 0; i < scope->members; i++)
        host_turn(w, i);
    if (scope->leader) {
        (void)world_act(w, &(struct action){.kind = ACTION_TIMEOUT, .member = (uint8_t)(scope->leader - 1)});
        world_settle(w);
        if (scope->joint.count) {
            (void)!raft_propose_conf_change(w->member[scope->leader - 1]->raft, &scope->joint, false);
            host_turn(w, scope->leader - 1);
            world_settle(w);
        }
        memcpy(w->budget, scope->budget, sizeof w->budget);
    }
    return w;
}

struct world *world_copy(const struct world *w)
{
    struct world *c = mem_copy(w, sizeof *w);
    for (uint32_t i = 0; i < w->scope->members; i++)
        c->member[i]->references++;
    for (uint32_t i = 0; i < w->packet_count; i++)
        c->packet[i]->references++;
    return c;
}

void world_free(struct world *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->scope->members; i++)
        member_unref(w->member[i]);
    for (uint32_t i = 0; i < w->packet_count; i++)
        packet_unref(w->packet[i]);
    mem_free(w);
}

uint64_t world_hash(struct world *w)
{
    uint64_t h = explore_mix_bytes(3, w->budget, sizeof w->budget);
    for (uint32_t i = 0; i < w->scope->members; i++) {
        if (!w->member[i]->hash)
            w->member[i]->hash = member_hash(w->member[i]);
        h = explore_mix(h, w->member[i]->hash);
    }
    uint64_t network = 0; /* a set: in no order */
    for (uint32_t i = 0; i < w->packet_count; i++)
        network += explore_mix(11, w->packet[i]->hash);
    h = explore_mix_bytes(explore_mix(h, network), w->past.committed,
                          (w->past.last + 1) * sizeof w->past.committed[0]);
    size_t rest = offsetof(struct past, last);
    return explore_mix_bytes(h, (const uint8_t *)&w->past + rest, sizeof w->past - rest);
}
