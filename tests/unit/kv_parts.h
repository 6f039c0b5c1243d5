/* SPDX-License-Identifier: Apache-2.0
 * Stubs for the unit test of one part of struct kv: small functions in place of the other parts, the node and
 * the store. They record their calls and return what the test has set in `parts`.
 *
 * Include it in one .c file: it defines the stubs' symbols, so that the real ones of the archive are not
 * linked. The test defines KV_PARTS_REAL_<FILE> before the include for each file that is linked as it is (the
 * part under test), and defines the functions that it alone needs itself. */
#ifndef TESTS_UNIT_KV_PARTS_H
#define TESTS_UNIT_KV_PARTS_H

#include <string.h>

#include "base/mem.h"
#include "consensus/kv/kv_impl.h"
#include "unit.h"

enum {
    PARTS_SELF = 2,
    PARTS_CLUSTER = 77,
    PARTS_CALLERS = 8,
    PARTS_PROPOSALS_MAX = 16,
    PARTS_TRACE_MAX = 24
};

/* One request and what became of it. */
struct caller {
    struct kv_request request;
    unsigned answers;
    int err;
    ProtobufCMessage *response; /* a copy; NULL = none */
};

struct parts_proposal {
    enum entry_op op;
    bool is_as_leader;
    ProtobufCMessage *message; /* a copy */
};

/* The values that the stubs return, and the calls that they have recorded. parts_start sets all of it to zero. */
static struct parts {
    struct kv kv;
    struct io io;
    struct io_ops io_ops;
    struct peers peers;
    struct peer_ops peer_ops;
    struct member members[8];
    struct caller callers[PARTS_CALLERS];
    const char *trace[PARTS_TRACE_MAX]; /* calls whose order a test looks at */
    size_t trace_count;

    uint64_t now_ms, wall_ns, random;
    uint64_t ns_per_look; /* mono_ns moves by it each time */
    uint64_t looked_ns;
    unsigned turns; /* kv_schedule_turn */
    bool is_closing, is_diverged, is_from_member;
    int failed_err;              /* kv_set_failed */
    uint64_t inactive_member;    /* kv_peer_is_active: all others are; ~0: none is */
    uint64_t active_since_asked; /* its last argument */
    uint64_t removed_ms;

    uint64_t last_number;  /* of kv_assign_proposal_id */
    size_t numbers_in_use; /* assigned and not given back */
    int propose_err;       /* of kv_propose and kv_propose_as_leader */
    struct parts_proposal proposals[PARTS_PROPOSALS_MAX];
    size_t proposal_count;
    unsigned reads, writes, calls; /* kv_start_* */
    bool is_read_local;
    struct kv_request *write; /* of the last kv_start_write */
    enum entry_op write_op;
    int write_err;
    unsigned transfers; /* kv_transfer_lead */
    int loss_err;       /* kv_note_leader_loss */
    uint64_t loss_wait_ms;

    uint64_t applied_index, applied_term;
    int64_t revision;
    struct raft_conf_state conf;
    struct raft_status status;
    bool leads_now, has_queued, has_change_waiting;
} parts;

static inline void parts_trace(const char *call)
{
    assert_true(parts.trace_count < PARTS_TRACE_MAX);
    parts.trace[parts.trace_count++] = call;
}

/* The calls since the last parts_clear_trace, in order. */
static inline void parts_assert_trace(const char *const *calls, size_t count)
{
    for (size_t i = 0; i < parts.trace_count && i < count; i++)
        assert_string_equal(parts.trace[i], calls[i]);
    assert_int_equal(parts.trace_count, count);
    parts.trace_count = 0;
}

#define ASSERT_TRACE(...)                                                                                    \
    parts_assert_trace((const char *const[]){__VA_ARGS__}, COUNT_OF(((const char *const[]){__VA_ARGS__})))

static inline ProtobufCMessage *parts_copy(const ProtobufCMessage *m)
{
    if (!m)
        return NULL;
    size_t size = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = mem_new(size + 1);
    protobuf_c_message_pack(m, bytes);
    ProtobufCMessage *copy = protobuf_c_message_unpack(m->descriptor, NULL, size, bytes);
    mem_free(bytes);
    assert_non_null(copy);
    return copy;
}

/* --- callers ------------------------------------------------------------------------------------------ */

static inline void parts_on_answer(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct caller *c = container_of(r, struct caller, request);
    assert_int_equal(r->state, KV_IDLE);
    assert_false(link_is_in_list(&r->link));
    assert_int_equal(c->answers, 0);
    c->answers++;
    c->err = err;
    c->response = parts_copy(response);
}

static inline struct kv_request *parts_request(unsigned n)
{
    return &parts.callers[n].request;
}

static inline void assert_waits(unsigned n, enum kv_request_state state)
{
    assert_int_equal(parts.callers[n].answers, 0);
    assert_int_equal(parts.callers[n].request.state, state);
}

/* kv_fail: it is answered with err in the next turn. */
static inline void assert_fails(unsigned n, int err)
{
    assert_waits(n, KV_FAILED);
    assert_int_equal(-(int)parts.callers[n].request.index, err);
}

static inline void assert_answered(unsigned n, int err)
{
    assert_int_equal(parts.callers[n].answers, 1);
    assert_int_equal(parts.callers[n].err, err);
}

/* The proposal with this number is of this kind. Returns its message. */
static inline const void *parts_proposed(size_t n, enum entry_op op)
{
    assert_true(n < parts.proposal_count);
    assert_int_equal(parts.proposals[n].op, op);
    return parts.proposals[n].message;
}

static inline void parts_forget_proposals(void)
{
    for (size_t i = 0; i < parts.proposal_count; i++)
        protobuf_c_message_free_unpacked(parts.proposals[i].message, NULL);
    parts.proposal_count = 0;
}

/* --- io ------------------------------------------------------------------------------------------------- */

static inline uint64_t parts_mono_ns(struct io *io)
{
    (void)io;
    parts.looked_ns += parts.ns_per_look;
    return parts.now_ms * 1000000 + parts.looked_ns;
}

static inline uint64_t parts_wall_ns(struct io *io)
{
    (void)io;
    return parts.wall_ns;
}

static inline uint64_t parts_random(struct io *io)
{
    (void)io;
    return ++parts.random;
}

/* --- the other parts ---------------------------------------------------------------------------------- */

#ifndef KV_PARTS_REAL_TURN
uint64_t kv_now_ms(const struct kv *kv)
{
    (void)kv;
    return parts.now_ms;
}

uint64_t kv_turn_ms(const struct kv *kv)
{
    (void)kv;
    return parts.now_ms;
}

uint64_t kv_lease_start_ms(const struct kv *kv)
{
    (void)kv;
    return parts.now_ms + 1;
}

void kv_schedule_turn(struct kv *kv)
{
    (void)kv;
    parts.turns++;
}
#endif

#ifndef KV_PARTS_REAL_OPEN
bool kv_is_closing(const struct kv *kv)
{
    (void)kv;
    return parts.is_closing;
}

void kv_set_failed(struct kv *kv, int err)
{
    (void)kv;
    parts_trace("failed");
    parts.failed_err = err;
}

int kv_failure(const struct kv *kv)
{
    (void)kv;
    return parts.failed_err;
}
#endif

#ifndef KV_PARTS_REAL_STATUS
void kv_header(const struct kv *kv, int64_t revision, Etcdserverpb__ResponseHeader *ret_header)
{
    etcdserverpb__response_header__init(ret_header);
    ret_header->cluster_id = kv->cluster_id;
    ret_header->member_id = kv->member_id;
    ret_header->revision = revision;
    ret_header->raft_term = kv->state.term;
}
#endif

#ifndef KV_PARTS_REAL_LEADER_CALLS
void kv_forget_call(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    (void)r;
    fail_msg("no call was sent");
}

bool kv_is_from_member(const struct kv_request *r)
{
    (void)r;
    return parts.is_from_member;
}

void kv_start_call(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m)
{
    (void)kv;
    parts.calls++;
    r->kind = kind;
    r->message = m;
    r->started_ms = parts.now_ms;
    r->state = KV_CALL_QUEUED;
}
#endif

#ifndef KV_PARTS_REAL_SCAN
void kv_scan_drop(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    r->slices = NULL;
}
#endif

#ifndef KV_PARTS_REAL_REQUESTS
void kv_cancel(struct kv *kv, struct kv_request *r)
{
    if (r->state == KV_CALL_SENT)
        kv_forget_call(kv, r);
    kv_scan_drop(kv, r);
    list_remove(&r->link);
    r->state = KV_IDLE;
}

void kv_finish(struct kv *kv, struct kv_request *r, int err, const ProtobufCMessage *response)
{
    kv_cancel(kv, r);
    r->done(r, err, response);
}

void kv_fail(struct kv *kv, struct kv_request *r, int err)
{
    r->state = KV_FAILED;
    r->index = (uint64_t)-err;
    list_add_last(&kv->requests.failed, &r->link);
}

void kv_stop_list(struct kv *kv, struct link *list)
{
    while (!list_is_empty(list))
        kv_finish(kv, container_of(list->next, struct kv_request, link), ERR_STOPPED, NULL);
}

void kv_expire_list(struct kv *kv, struct link *list)
{
    LIST_FOR_EACH_SAFE (l, list) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        if (parts.now_ms - r->started_ms >= kv->settings.limit_ms) {
            kv_cancel(kv, r);
            kv_fail(kv, r, ERR_TIMEOUT);
        }
    }
}

void kv_assign_proposal_id(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    r->id = ++parts.last_number;
    parts.numbers_in_use++;
}

void kv_release_proposal_id(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    (void)r;
    parts.numbers_in_use--;
}

void kv_wait_for_entry(struct kv *kv, struct kv_request *r)
{
    r->state = KV_PROPOSED;
    list_add_last(&kv->requests.proposed, &r->link);
}

struct kv_request *kv_take_proposed(struct kv *kv, uint64_t member, uint64_t id)
{
    LIST_FOR_EACH (l, &kv->requests.proposed) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        if (member != kv->member_id || r->id != id)
            continue;
        list_remove(l);
        r->state = KV_IDLE;
        parts.numbers_in_use--;
        return r;
    }
    return NULL;
}
#endif

#ifndef KV_PARTS_REAL_WRITES
static inline int parts_propose(enum entry_op op, const ProtobufCMessage *m, bool is_as_leader)
{
    parts_trace("propose");
    if (parts.propose_err)
        return parts.propose_err;
    assert_true(parts.proposal_count < PARTS_PROPOSALS_MAX);
    parts.proposals[parts.proposal_count++] = (struct parts_proposal){op, is_as_leader, parts_copy(m)};
    return OK;
}

int kv_propose(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    (void)kv;
    return parts_propose(op, m, false);
}

int kv_propose_as_leader(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    (void)kv;
    return parts_propose(op, m, true);
}

/* The last one's message is noted as a proposal is. */
void kv_start_write(struct kv *kv, struct kv_request *r, enum kv_kind kind, enum entry_op op,
                    const ProtobufCMessage *m, int err)
{
    parts.writes++;
    parts.write = r;
    parts.write_op = op;
    parts.write_err = err;
    r->kind = kind;
    r->message = m;
    r->started_ms = parts.now_ms;
    if (!err)
        err = parts_propose(op, m, false);
    if (err)
        kv_fail(kv, r, err);
    else
        r->state = KV_PROPOSED;
}

void kv_reset_space_alarm(struct kv *kv)
{
    (void)kv;
    parts_trace("reset space alarm");
}
#endif

#ifndef KV_PARTS_REAL_READ_INDEX
void kv_start_read(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m,
                   bool is_local)
{
    (void)kv;
    parts.reads++;
    parts.is_read_local = is_local;
    r->kind = kind;
    r->message = m;
    r->started_ms = parts.now_ms;
    r->state = is_local ? KV_READY : KV_READING;
}

void kv_run_reads(struct kv *kv)
{
    (void)kv;
    parts_trace("run reads");
}
#endif

#ifndef KV_PARTS_REAL_STATE_CHECK
bool kv_is_diverged(const struct kv *kv)
{
    (void)kv;
    return parts.is_diverged;
}
#endif

#ifndef KV_PARTS_REAL_HAND_OVER
bool kv_transfer_lead(struct kv *kv)
{
    (void)kv;
    parts_trace("transfer lead");
    parts.transfers++;
    return true;
}
#endif

#ifndef KV_PARTS_REAL_DROPPED_PROPOSALS
void kv_note_leader_loss(struct kv *kv, int err, uint64_t wait_ms)
{
    (void)kv;
    parts_trace("leader loss");
    parts.loss_err = err;
    parts.loss_wait_ms = wait_ms;
}
#endif

#ifndef KV_PARTS_REAL_PEER_EVENTS
bool kv_peer_is_active(const struct kv *kv, uint64_t id, uint64_t since_ms)
{
    parts.active_since_asked = since_ms;
    return id == kv->member_id || (id != parts.inactive_member && parts.inactive_member != UINT64_MAX);
}
#endif

#ifndef KV_PARTS_REAL_MEMBERSHIP
uint64_t kv_removed_ms(const struct kv *kv)
{
    (void)kv;
    return parts.removed_ms;
}
#endif

/* --- members and alarms: the lists of struct kv -------------------------------------------------------- */

#ifndef KV_PARTS_REAL_MEMBERS
struct member *member_find(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->list[i].id == id)
            return &m->list[i];
    return NULL;
}

bool member_is_removed(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->removed_count; i++)
        if (m->removed[i] == id)
            return true;
    return false;
}
#endif

#ifndef KV_PARTS_REAL_ARCHIVE
void kv_archive_entry(struct kv *kv, const struct raft_entry *entry, bool is_kept)
{
    (void)kv;
    (void)entry;
    (void)is_kept;
}
#endif

#ifndef KV_PARTS_REAL_ALARMS
bool alarms_has_member(const struct alarms *a, uint64_t member_id, Etcdserverpb__AlarmType type)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].memberid == member_id && a->list[i].alarm == type)
            return true;
    return false;
}

bool alarms_has(const struct alarms *a, Etcdserverpb__AlarmType type)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].alarm == type)
            return true;
    return false;
}
#endif

/* --- the node and the store --------------------------------------------------------------------------- */

const struct raft_conf_state *node_conf_state(const struct node *n)
{
    (void)n;
    return &parts.conf;
}

void node_get_status(const struct node *n, struct raft_status *ret_status)
{
    (void)n;
    *ret_status = parts.status;
}

bool node_is_leader(const struct node *n)
{
    (void)n;
    return parts.leads_now;
}

bool node_has_queued(const struct node *n)
{
    (void)n;
    return parts.has_queued;
}

bool node_has_change_waiting(const struct node *n)
{
    (void)n;
    return parts.has_change_waiting;
}

uint64_t store_applied_index(const struct store *s)
{
    (void)s;
    return parts.applied_index;
}

uint64_t store_applied_term(const struct store *s)
{
    (void)s;
    return parts.applied_term;
}

int64_t store_revision(const struct store *s)
{
    (void)s;
    return parts.revision;
}

/* --- begin ---------------------------------------------------------------------------------------------- */

static inline void parts_clear(void)
{
    for (size_t i = 0; i < PARTS_CALLERS; i++)
        if (parts.callers[i].response)
            protobuf_c_message_free_unpacked(parts.callers[i].response, NULL);
    parts_forget_proposals();
    arena_done(&parts.kv.arena);
}

/* Voters and members 1 to count; PARTS_SELF is this one. */
static inline void parts_set_voters(uint32_t count)
{
    assert_true(count <= COUNT_OF(parts.members));
    parts.conf.voters.count = count;
    for (uint32_t i = 0; i < count; i++) {
        parts.conf.voters.id[i] = i + 1;
        parts.members[i] = (struct member){.id = i + 1, .name = (char *)(uintptr_t) "m"};
    }
    parts.kv.members.list = parts.members;
    parts.kv.members.count = count;
}

static inline void parts_set_leader(uint64_t id)
{
    parts.kv.state.leader = id;
    parts.kv.state.is_leader = parts.leads_now = id == PARTS_SELF;
}

/* A member of a cluster of three without a leader; its parts are still to be initialized. */
static inline struct kv *parts_start(void)
{
    parts_clear();
    memset(&parts, 0, sizeof parts);
    struct kv *kv = &parts.kv;
    parts.io_ops =
        (struct io_ops){.mono_ns = parts_mono_ns, .wall_ns = parts_wall_ns, .random = parts_random};
    parts.io.ops = &parts.io_ops;
    parts.peers.ops = &parts.peer_ops;
    parts.now_ms = 100000;
    parts.wall_ns = UINT64_C(1700000000000000000);
    kv->io = &parts.io;
    kv->peers = &parts.peers;
    kv->member_id = PARTS_SELF;
    kv->cluster_id = PARTS_CLUSTER;
    kv->settings.limit_ms = 7000;
    kv->settings.election_ms = 1000;
    list_init(&kv->requests.failed);
    list_init(&kv->requests.proposed);
    parts_set_voters(3);
    for (size_t i = 0; i < PARTS_CALLERS; i++)
        parts.callers[i].request.done = parts_on_answer;
    return kv;
}

#endif
