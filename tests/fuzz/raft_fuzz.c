/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: one raft member with events that the input chooses. The events are messages of every kind
 * with fields near the member's own, ticks, proposals, late answers of the storage, compaction and
 * snapshots. Nothing may abort, and the invariants of a log hold after each event:
 * - committed entries never change,
 * - terms and votes never go back,
 * - entries are applied in order. */
#include <stdlib.h>

#include "consensus/raft/raft.h"

#define EVENTS_MAX  400
#define ENTRIES_MAX 4
#define WORK_MAX    64
#define SEEN_MAX    4096
#define SELF        1

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

struct input {
    const uint8_t *data;
    size_t size;
};

struct member {
    struct raft *raft;
    bool async;
    struct raft_message work[WORK_MAX]; /* storage that has not answered */
    size_t work_count;
    uint64_t term, vote, committed, applied;
    uint64_t seen[SEEN_MAX]; /* term of each committed entry */
};

static uint8_t byte(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

/* An index near base, or far away. */
static uint64_t near(struct input *in, uint64_t base)
{
    uint8_t b = byte(in);
    if (b == 255)
        return UINT64_MAX - byte(in);
    if (b >= 250)
        return (uint64_t)byte(in) << (8 * (b - 250));
    if (b >= 240)
        return base + 16 + byte(in);
    uint64_t value = base + b % 16;
    return value > 8 ? value - 8 : 0;
}

static struct raft_conf_state conf_state(struct input *in)
{
    struct raft_conf_state s = {0};
    uint8_t bits = byte(in);
    struct raft_ids *sets[] = {&s.voters, &s.learners, &s.voters_outgoing, &s.learners_next};
    if (bits < 16) { /* mostly invalid */
        for (size_t i = 0; i < 4; i++) {
            sets[i]->count = byte(in) % 4;
            for (uint32_t j = 0; j < sets[i]->count; j++)
                sets[i]->id[j] = byte(in) % 6;
        }
        return s;
    }
    for (uint64_t id = 1; id <= 5; id++)
        if (bits >> id & 1)
            (void)raft_ids_add(&s.voters, id);
    (void)raft_ids_add(bits & 1 ? &s.learners : &s.voters, 6);
    return s;
}

static struct raft_conf_change conf_change(struct input *in)
{
    struct raft_conf_change c = {.transition = (enum raft_transition)(byte(in) % 3), .count = byte(in) % 4};
    for (uint32_t i = 0; i < c.count; i++)
        c.changes[i] =
            (struct raft_conf_change_single){(enum raft_conf_change_type)(byte(in) % 4), byte(in) % 7};
    return c;
}

static size_t entries(struct input *in, uint64_t index, uint64_t term, struct raft_entry *ret_entries)
{
    size_t count = byte(in) % (ENTRIES_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        uint8_t b = byte(in);
        struct raft_entry *e = &ret_entries[i];
        *e = (struct raft_entry){.index = index + 1 + i + (b == 1), .term = term};
        if (b == 2) {
            e->type = RAFT_ENTRY_CONF_CHANGE_V2;
            struct raft_conf_change c = conf_change(in);
            e->data = raft_conf_change_encode(&c, false);
        } else if (b == 3) {
            e->type = RAFT_ENTRY_CONF_CHANGE;
            e->data = blob_copy(slice_of(in->data, in->size < 8 ? in->size : 8));
        } else if (b > 4) {
            e->data = blob_copy(slice_text("payload"));
        }
    }
    return count;
}

static void release(struct raft_entry *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        blob_unref(list[i].data);
}

/* --- events --- */
static void step(struct member *m, struct input *in)
{
    struct raft_entry list[ENTRIES_MAX];
    struct raft_message msg = {.type = (enum raft_message_type)(byte(in) % (RAFT_MSG_COUNT + 1)), .to = SELF};
    uint8_t flags = byte(in);
    struct raft_snapshot snapshot = {0};
    msg.from = flags & 1 ? 2 + flags % 4 : byte(in);
    msg.term = flags & 2 ? raft_term(m->raft) : near(in, raft_term(m->raft));
    msg.index = flags & 4 ? raft_last_index(m->raft) : near(in, raft_last_index(m->raft));
    if (raft_term_at(m->raft, msg.index, &msg.log_term) || !(flags & 8))
        msg.log_term = near(in, msg.term);
    msg.commit = near(in, msg.index);
    msg.reject = flags & 16;
    msg.reject_hint = msg.reject ? near(in, msg.index) : 0;
    msg.context.size = flags & 32 ? 8 : byte(in) % 20;
    msg.context.data[0] = byte(in) % 8;
    msg.entry_count = entries(in, msg.index, msg.term, list);
    msg.entries = list;
    if (msg.type == RAFT_MSG_SNAP) {
        snapshot = (struct raft_snapshot){near(in, raft_last_index(m->raft)), near(in, msg.term),
                                          conf_state(in), NULL};
        msg.snapshot = flags & 64 ? NULL : &snapshot;
    }
    (void)raft_step(m->raft, &msg);
    release(list, msg.entry_count);
}

static void propose(struct member *m, struct input *in)
{
    struct raft_entry list[ENTRIES_MAX];
    size_t count = entries(in, 0, 0, list);
    (void)raft_propose(m->raft, list, count);
    release(list, count);
}

static void propose_conf_change(struct member *m, struct input *in)
{
    struct raft_conf_change c = conf_change(in);
    (void)raft_propose_conf_change(m->raft, &c, byte(in) & 1);
}

static void apply(struct member *m, const struct raft_entry *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_conf_change c;
        struct raft_conf_state s;
        MUST(list[i].index == m->applied + 1);
        m->applied = list[i].index;
        if (list[i].type != RAFT_ENTRY_NORMAL &&
            raft_conf_change_decode(blob_slice(list[i].data), list[i].type == RAFT_ENTRY_CONF_CHANGE, &c) ==
                0)
            (void)raft_apply_conf_change(m->raft, &c, &s);
    }
}

static void finish_work(struct member *m, size_t at)
{
    struct raft_message done = m->work[at];
    m->work_count--;
    memmove(m->work + at, m->work + at + 1, (m->work_count - at) * sizeof *m->work);
    if (done.snapshot && done.snapshot->index > m->applied)
        m->applied = done.snapshot->index;
    if (done.to == RAFT_APPLY_THREAD && done.entries[done.entry_count - 1].index > m->applied)
        apply(m, done.entries, done.entry_count);
    for (size_t i = 0; i < done.response_count; i++)
        if (done.responses[i].to == SELF)
            (void)raft_step_local(m->raft, &done.responses[i]);
    raft_message_done(&done);
}

/* The oldest piece of one of the two threads: each thread keeps its order. */
static void work(struct member *m, uint64_t thread)
{
    for (size_t i = 0; i < m->work_count; i++) {
        if (m->work[i].to == thread) {
            finish_work(m, i);
            return;
        }
    }
}

static void ready(struct member *m)
{
    struct raft_ready rd;
    if (!raft_has_ready(m->raft) || m->work_count + 2 > WORK_MAX)
        return;
    raft_ready(m->raft, &rd);
    if (m->async) {
        for (size_t i = 0; i < rd.message_count; i++)
            if (rd.messages[i].to >= RAFT_APPLY_THREAD)
                m->work[m->work_count++] = raft_message_keep(&rd.messages[i]);
        return;
    }
    if (rd.snapshot)
        m->applied = rd.snapshot->index;
    apply(m, rd.committed, rd.committed_count);
    raft_advance(m->raft);
}

static void offer_snapshot(struct member *m, struct input *in)
{
    struct raft_snapshot s = {.conf_state = conf_state(in)};
    s.index = raft_applied_index(m->raft);
    if (raft_term_at(m->raft, s.index, &s.term) == 0)
        raft_set_snapshot(m->raft, &s);
}

static void copy(struct member *m)
{
    struct raft *c = raft_clone(m->raft);
    MUST(raft_hash(c) == raft_hash(m->raft));
    raft_free(c);
}

static void event(struct member *m, struct input *in)
{
    switch (byte(in) % 18) {
    case 0:
        raft_campaign(m->raft);
        break;
    case 1:
        raft_tick(m->raft);
        break;
    case 2:
    case 3:
        propose(m, in);
        break;
    case 4:
        propose_conf_change(m, in);
        break;
    case 5:
        (void)raft_read_index(m->raft, (struct raft_context){.size = 8, .data = {byte(in)}});
        break;
    case 6:
        raft_transfer_leader(m->raft, byte(in) % 7);
        break;
    case 7:
        raft_report_unreachable(m->raft, byte(in) % 7);
        break;
    case 8:
        raft_report_snapshot(m->raft, byte(in) % 7, byte(in) & 1);
        break;
    case 9:
        (void)raft_compact(m->raft, near(in, raft_applied_index(m->raft)));
        break;
    case 10:
        offer_snapshot(m, in);
        break;
    case 11:
        copy(m);
        break;
    case 12:
        ready(m);
        break;
    case 13:
        work(m, RAFT_APPEND_THREAD);
        break;
    case 14:
        work(m, RAFT_APPLY_THREAD);
        break;
    case 15:
        raft_forget_leader(m->raft);
        break;
    default:
        step(m, in);
        break;
    }
}

/* --- invariants --- */
static void check(struct member *m)
{
    struct raft_status s;
    raft_get_status(m->raft, &s);
    MUST(s.term >= m->term);
    MUST(s.term > m->term || m->vote == RAFT_NONE || s.vote == m->vote);
    MUST(s.commit >= m->committed);
    MUST(s.applied <= s.commit && s.commit <= raft_last_index(m->raft));
    MUST(raft_first_index(m->raft) <= raft_last_index(m->raft) + 1);
    for (uint64_t i = raft_first_index(m->raft); i <= s.commit && i < SEEN_MAX; i++) {
        uint64_t term = raft_entry_at(m->raft, i)->term;
        MUST(m->seen[i] == 0 || i > m->committed || m->seen[i] == term);
        m->seen[i] = term;
    }
    for (uint64_t i = raft_first_index(m->raft); i <= raft_last_index(m->raft); i++) {
        uint64_t before = 0, term = raft_entry_at(m->raft, i)->term;
        MUST(raft_term_at(m->raft, i - 1, &before) == 0 && before <= term && term <= s.term);
    }
    for (uint32_t i = 0; i < s.progress_count; i++)
        MUST(s.progress[i].match < s.progress[i].next);
    m->term = s.term;
    m->vote = s.vote;
    m->committed = s.commit;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    static struct member m;
    uint8_t options = byte(&in);
    m = (struct member){.async = options & 1};
    struct raft_config config = {
        .id = SELF,
        .election_tick = 3,
        .heartbeat_tick = 1,
        .seed = options,
        .max_size_per_message = options & 2 ? 20 : RAFT_NO_LIMIT,
        .max_committed_size_per_ready = options & 4 ? 1 : 0,
        .max_uncommitted_size = options & 8 ? 50 : 0,
        .max_inflight_messages = options & 16 ? 2 : 100,
        .check_quorum = options & 32,
        .pre_vote = options & 64,
        .step_down_on_removal = options & 128,
        .async_storage_writes = m.async,
    };
    struct raft_initial initial = {0};
    for (uint64_t id = 1; id <= 1u + byte(&in) % 4; id++)
        (void)raft_ids_add(&initial.conf_state.voters, id);
    MUST(raft_new(&config, &initial, &m.raft) == 0);
    for (int i = 0; i < EVENTS_MAX && in.size; i++) {
        event(&m, &in);
        check(&m);
    }
    while (m.work_count)
        finish_work(&m, 0);
    raft_free(m.raft);
    return 0;
}
