/* SPDX-License-Identifier: Apache-2.0
 * A member and the simplest correct host around its raft core: a disk, a store, and the work that follows
 * each event at once. */
#include "tests/explore/host.h"

static void work_add(struct world *w, struct work *work, const struct raft_message *m)
{
    if (work->count == EXPLORE_WORK)
        world_break(w, "Bounded", "more than %d batches wait for one disk", EXPLORE_WORK);
    else
        work->item[work->count++] = packet_new(m);
}

static struct packet *work_take(struct work *work)
{
    struct packet *p = work->item[0];
    memmove(work->item, work->item + 1, --work->count * sizeof work->item[0]);
    return p;
}

static void work_clear(struct work *work)
{
    while (work->count)
        packet_unref(work_take(work));
}

/* --- disks --- */
static void disk_cut(struct disk *d, uint32_t from)
{
    for (uint32_t i = from; i < d->count; i++) {
        blob_unref(d->entry[i].data);
        d->entry[i] = (struct raft_entry){0};
    }
    d->count = from < d->count ? from : d->count;
}

static void disk_install(struct disk *d, const struct raft_snapshot *s)
{
    disk_cut(d, 0);
    d->before = (struct raft_position){s->index, s->term};
    d->conf = s->conf_state;
    memcpy(&d->content, s->data->data, sizeof d->content);
}

static void disk_append(struct world *w, struct disk *d, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i].index <= d->before.index)
            continue;
        uint64_t at = entries[i].index - d->before.index - 1;
        if (at > d->count || at >= EXPLORE_INDEX) {
            world_break(w, "LogIsContiguous", "entry %llu written after %llu",
                        (unsigned long long)entries[i].index,
                        (unsigned long long)(d->before.index + d->count));
            return;
        }
        disk_cut(d, (uint32_t)at);
        d->entry[at] = entries[i];
        blob_ref(entries[i].data);
        d->count = (uint32_t)at + 1;
    }
}

/* --- members --- */
static struct raft_config raft_config_of(const struct scope *s, uint32_t number, uint64_t applied)
{
    return (struct raft_config){
        .id = number + 1,
        .election_tick = EXPLORE_ELECTION_TICK,
        .heartbeat_tick = 1,
        .seed = 1,
        .applied = applied,
        .max_size_per_message = s->single ? 0 : RAFT_NO_LIMIT,
        .max_committed_size_per_ready = RAFT_NO_LIMIT,
        .max_inflight_messages = 256,
        .check_quorum = s->check_quorum,
        .pre_vote = s->pre_vote,
        .async_storage_writes = true,
        .durable_campaign = !s->early_votes,
    };
}

static void offer(struct member *m)
{
    struct raft_snapshot s = {.index = m->applied.index, .term = m->applied.term, .conf_state = m->conf};
    s.data = blob_copy((struct slice){(const uint8_t *)&m->content, sizeof m->content});
    raft_set_snapshot(m->raft, &s);
    blob_unref(s.data);
}

/* Makes the member from the data on its disk. */
void host_start(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    const struct disk *d = &m->disk;
    struct raft_config config = raft_config_of(w->scope, number, d->before.index);
    struct raft_initial initial = {
        .hard_state = d->hard,
        .conf_state = d->conf,
        .snapshot_index = d->before.index,
        .snapshot_term = d->before.term,
        .entries = d->entry,
        .entry_count = d->count,
    };
    /* The commit index is written lazily; a stored snapshot was committed. */
    if (initial.hard_state.commit < d->before.index && initial.hard_state.term)
        initial.hard_state.commit = d->before.index;
    m->raft = NULL;
    m->applied = d->before;
    m->conf = d->conf;
    m->content = d->content;
    int err = raft_new(&config, &initial, &m->raft);
    if (err)
        world_break(w, "RestartsFromItsDisk", "member %u: %s", number + 1, err_text(err));
    else if (m->applied.index)
        offer(m);
}

struct member *member_copy(const struct member *m)
{
    struct member *c = mem_copy(m, sizeof *m);
    c->references = 1;
    c->raft = raft_clone(m->raft);
    for (uint32_t i = 0; i < c->disk.count; i++)
        blob_ref(c->disk.entry[i].data);
    for (uint32_t i = 0; i < c->append.count; i++)
        c->append.item[i]->references++;
    for (uint32_t i = 0; i < c->apply.count; i++)
        c->apply.item[i]->references++;
    return c;
}

void member_unref(struct member *m)
{
    if (!m || --m->references)
        return;
    raft_free(m->raft);
    disk_cut(&m->disk, 0);
    work_clear(&m->append);
    work_clear(&m->apply);
    mem_free(m);
}

uint64_t member_hash(const struct member *m)
{
    const struct disk *d = &m->disk;
    const uint64_t numbers[] = {d->hard.term,   d->hard.vote, d->hard.commit, d->before.index,
                                d->before.term, d->content,   m->content,     m->applied.index};
    uint64_t h = explore_mix_bytes(raft_hash(m->raft), numbers, sizeof numbers);
    for (uint32_t i = 0; i < d->count; i++)
        h = explore_mix(h, explore_entry_hash(&d->entry[i]));
    h = explore_mix(h, d->count);
    for (uint32_t i = 0; i < m->append.count; i++)
        h = explore_mix(h, m->append.item[i]->hash);
    h = explore_mix(h, m->append.count);
    for (uint32_t i = 0; i < m->apply.count; i++)
        h = explore_mix(h, m->apply.item[i]->hash);
    return explore_conf_hash(h, &m->conf);
}

/* --- the host --- */
static void apply_entry(struct world *w, uint32_t number, const struct raft_entry *e)
{
    struct member *m = w->member[number];
    struct raft_conf_change change;
    if (e->type != RAFT_ENTRY_NORMAL &&
        raft_conf_change_decode(blob_slice(e->data), e->type == RAFT_ENTRY_CONF_CHANGE, &change) == 0 &&
        raft_apply_conf_change(m->raft, &change, &m->conf))
        (void)0; /* impossible in this configuration: no effect, on every member */
    m->applied = (struct raft_position){e->index, e->term};
    m->content = explore_mix(m->content, explore_entry_hash(e));
    rules_applied(w, number);
}

static void send(struct world *w, uint32_t number, const struct raft_message *m)
{
    rules_sent(w, number, m);
    if (m->to == number + 1)
        (void)raft_step_local(w->member[number]->raft, m);
    else
        world_send(w, m);
}

void host_disk(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    struct packet *p = work_take(&m->append);
    const struct raft_message *job = &p->message;
    if (job->snapshot)
        disk_install(&m->disk, job->snapshot);
    disk_append(w, &m->disk, job->entries, job->entry_count);
    if (job->term || job->vote || job->commit)
        m->disk.hard = (struct raft_hard_state){job->term, job->vote, job->commit};
    if (job->snapshot) { /* the store takes it over in the same step */
        m->applied = m->disk.before;
        m->conf = m->disk.conf;
        m->content = m->disk.content;
        offer(m);
        rules_applied(w, number);
    }
    for (size_t i = 0; i < job->response_count; i++) {
        if (job->responses[i].from >= RAFT_APPLY_THREAD)
            (void)raft_step_local(m->raft, &job->responses[i]);
        else
            send(w, number, &job->responses[i]);
    }
    packet_unref(p);
}

void host_apply(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    struct packet *p = work_take(&m->apply);
    /* A snapshot may already include this batch: the state that the member will install holds all of it. */
    for (size_t i = 0; i < p->message.entry_count && !m->raft->log.snapshot; i++)
        if (p->message.entries[i].index > m->applied.index)
            apply_entry(w, number, &p->message.entries[i]);
    offer(m);
    for (size_t i = 0; i < p->message.response_count; i++)
        (void)raft_step_local(m->raft, &p->message.responses[i]);
    packet_unref(p);
}

static void handle_ready(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    struct raft_ready rd;
    raft_ready(m->raft, &rd);
    for (size_t i = 0; i < rd.read_state_count; i++)
        rules_read(w, &rd.read_states[i]);
    for (size_t i = 0; i < rd.message_count; i++) {
        const struct raft_message *out = &rd.messages[i];
        if (out->to == RAFT_APPEND_THREAD)
            work_add(w, &m->append, out);
        else if (out->to == RAFT_APPLY_THREAD)
            work_add(w, &m->apply, out);
        else
            send(w, number, out);
    }
}

/* A batch that carries only a commit index promises nothing, so the time of its write does not matter. */
static bool is_idle_write(const struct packet *p)
{
    const struct raft_message *m = &p->message;
    return m->entry_count == 0 && m->response_count == 0 && !m->snapshot;
}

/* Does all work that follows an event at once. */
void host_turn(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    bool moved = true;
    while (moved && !w->broken) {
        moved = true;
        if (raft_has_ready(m->raft))
            handle_ready(w, number);
        else if (m->append.count && (!(w->scope->lag >> number & 1) || is_idle_write(m->append.item[0])))
            host_disk(w, number);
        else if (m->apply.count && !w->scope->lazy)
            host_apply(w, number);
        else
            moved = false;
    }
    if (m->raft->election_timeout != EXPLORE_ELECTION_TICK + 1)
        raft_set_election_timeout(m->raft, EXPLORE_ELECTION_TICK + 1);
    rules_check(w, number);
}

/* --- power cut --- */
void host_crash(struct world *w, uint32_t number)
{
    struct member *m = w->member[number];
    work_clear(&m->append);
    work_clear(&m->apply);
    raft_free(m->raft);
    host_start(w, number);
}
