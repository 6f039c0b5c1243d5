/* SPDX-License-Identifier: Apache-2.0
 * Trace events as etcd-io/raft's log lines. */
#include "tests/scenario/render.h"

#include <inttypes.h>

#define X PRIx64
#define U PRIu64

enum raft_trace_level render_trace_level(enum raft_trace_kind kind)
{
    static const enum raft_trace_level levels[] = {
#define TRACE(name, level) RAFT_TRACE_##level,
#include "consensus/raft/trace.def"
#undef TRACE
    };
    return levels[kind];
}

static const char *type_name(enum raft_message_type type)
{
    static const char *names[] = {
#define MESSAGE(name, etcd, local, response) #etcd,
#include "consensus/raft/message.def"
#undef MESSAGE
    };
    return names[type];
}

static void with_progress(struct buf *b, const struct raft_trace *t)
{
    buf_add_text(b, " [");
    render_progress(b, t->progress);
    buf_add_byte(b, ']');
}

static void render_voters(struct buf *b, const struct raft_conf_state *conf)
{
    struct raft_ids all = conf->voters;
    for (uint32_t i = 0; i < conf->voters_outgoing.count; i++)
        (void)raft_ids_add(&all, conf->voters_outgoing.id[i]);
    for (uint32_t i = 0; i < all.count; i++)
        buf_addf(b, "%s%" X, i ? "," : "", all.id[i]);
}

static void render_change(struct buf *b, const struct raft_conf_change *change)
{
    static const char *transitions[] = {"ConfChangeTransitionAuto", "ConfChangeTransitionJointImplicit",
                                        "ConfChangeTransitionJointExplicit"};
    static const char *types[] = {"ConfChangeAddNode", "ConfChangeRemoveNode", "ConfChangeUpdateNode",
                                  "ConfChangeAddLearnerNode"};
    buf_addf(b, "transition:%s", transitions[change->transition]);
    for (uint32_t i = 0; i < change->count; i++)
        buf_addf(b, " changes:{type:%s node_id:%" U "}", types[change->changes[i].type],
                 change->changes[i].node_id);
    if (change->context.size)
        buf_addf(b, " context:\"%.*s\"", (int)change->context.size, (const char *)change->context.data);
}

/* "1 [logterm: 1, index: 11, vote: 1] <what> MsgVote <preposition> 2 [logterm: 1, index: 11] at term 1" */
static void render_vote(struct buf *b, const struct raft_trace *t, const char *what, const char *preposition)
{
    const struct raft_message *m = t->message;
    buf_addf(b,
             "%" X " [logterm: %" U ", index: %" U ", vote: %" X "] %s %s %s %" X " [logterm: %" U
             ", index: %" U "] at term %" U,
             t->id, t->last_term, t->last_index, t->vote, what, type_name(m->type), preposition, m->from,
             m->log_term, m->index, t->term);
}

static void render_roles(struct buf *b, const struct raft_trace *t)
{
    const struct raft_message *m = t->message;
    switch ((int)t->kind) {
    case RAFT_TRACE_NEW:
        buf_addf(b, "newRaft %" X " [peers: [", t->id);
        render_voters(b, t->conf);
        buf_addf(b, "], term: %" U ", commit: %" U ", applied: %" U ", lastindex: %" U ", lastterm: %" U "]",
                 t->term, t->committed, t->applied, t->last_index, t->last_term);
        break;
    case RAFT_TRACE_BECAME_FOLLOWER:
        buf_addf(b, "%" X " became follower at term %" U, t->id, t->term);
        break;
    case RAFT_TRACE_BECAME_PRE_CANDIDATE:
        buf_addf(b, "%" X " became pre-candidate at term %" U, t->id, t->term);
        break;
    case RAFT_TRACE_BECAME_CANDIDATE:
        buf_addf(b, "%" X " became candidate at term %" U, t->id, t->term);
        break;
    case RAFT_TRACE_BECAME_LEADER:
        buf_addf(b, "%" X " became leader at term %" U, t->id, t->term);
        break;
    case RAFT_TRACE_HIGHER_TERM:
        buf_addf(b, "%" X " [term: %" U "] received a %s message with higher term from %" X " [term: %" U "]",
                 t->id, t->term, type_name(m->type), m->from, m->term);
        break;
    case RAFT_TRACE_LOWER_TERM:
        buf_addf(b, "%" X " [term: %" U "] ignored a %s message with lower term from %" X " [term: %" U "]",
                 t->id, t->term, type_name(m->type), m->from, m->term);
        break;
    case RAFT_TRACE_STALE_STORAGE_APPEND:
        buf_addf(
            b, "%" X " [term: %" U "] ignored entry appends from a %s message with lower term [term: %" U "]",
            t->id, t->term, type_name(m->type), m->term);
        break;
    case RAFT_TRACE_NO_PROGRESS:
        buf_addf(b, "%" X " no progress available for %" X, t->id, t->peer);
        break;
    case RAFT_TRACE_QUORUM_INACTIVE:
        buf_addf(b, "%" X " stepped down to follower since quorum is not active", t->id);
        break;
    default:
        break;
    }
}

static void render_elections(struct buf *b, const struct raft_trace *t)
{
    const char *type = type_name(t->type);
    switch ((int)t->kind) {
    case RAFT_TRACE_HUP_ALREADY_LEADER:
        buf_addf(b, "%" X " ignoring MsgHup because already leader", t->id);
        break;
    case RAFT_TRACE_UNPROMOTABLE:
        buf_addf(b, "%" X " is unpromotable and can not campaign", t->id);
        break;
    case RAFT_TRACE_UNAPPLIED_CONF_CHANGE:
        buf_addf(b,
                 "%" X " cannot campaign at term %" U
                 " since there are still pending configuration changes to apply",
                 t->id, t->term);
        break;
    case RAFT_TRACE_ELECTION:
        buf_addf(b, "%" X " is starting a new election at term %" U, t->id, t->term);
        break;
    case RAFT_TRACE_SENT_VOTE_REQUEST:
        buf_addf(b, "%" X " [logterm: %" U ", index: %" U "] sent %s request to %" X " at term %" U, t->id,
                 t->last_term, t->last_index, type, t->peer, t->term);
        break;
    case RAFT_TRACE_VOTE_RECEIVED:
        buf_addf(b, "%" X " received %s from %" X " at term %" U, t->id, type, t->peer, t->term);
        break;
    case RAFT_TRACE_VOTE_REJECTION_RECEIVED:
        buf_addf(b, "%" X " received %s rejection from %" X " at term %" U, t->id, type, t->peer, t->term);
        break;
    case RAFT_TRACE_VOTE_TALLY:
        buf_addf(b, "%" X " has received %" U " %s votes and %" U " vote rejections", t->id, t->index, type,
                 t->other);
        break;
    case RAFT_TRACE_LEASE_NOT_EXPIRED:
        render_vote(b, t, "ignored", "from");
        buf_addf(b, ": lease is not expired (remaining ticks: %" U ")", t->other);
        break;
    case RAFT_TRACE_VOTE_CAST:
        render_vote(b, t, "cast", "for");
        break;
    case RAFT_TRACE_VOTE_REFUSED:
        render_vote(b, t, "rejected", "from");
        break;
    case RAFT_TRACE_TIMEOUT_NOW:
        buf_addf(b,
                 "%" X " [term %" U "] received MsgTimeoutNow from %" X
                 " and starts an election to get leadership.",
                 t->id, t->term, t->peer);
        break;
    case RAFT_TRACE_TIMEOUT_NOW_IGNORED:
        buf_addf(b, "%" X " [term %" U " state %s] ignored MsgTimeoutNow from %" X, t->id, t->term,
                 render_role(t->role), t->peer);
        break;
    default:
        break;
    }
}

static void render_transfers(struct buf *b, const struct raft_trace *t)
{
    switch ((int)t->kind) {
    case RAFT_TRACE_TRANSFER_TO_LEARNER:
        buf_addf(b, "%" X " is learner. Ignored transferring leadership", t->id);
        break;
    case RAFT_TRACE_TRANSFER_REPEATED:
        buf_addf(b,
                 "%" X " [term %" U "] transfer leadership to %" X
                 " is in progress, ignores request to same node %" X,
                 t->id, t->term, t->peer, t->peer);
        break;
    case RAFT_TRACE_TRANSFER_ABORTED:
        buf_addf(b, "%" X " [term %" U "] abort previous transferring leadership to %" X, t->id, t->term,
                 t->peer);
        break;
    case RAFT_TRACE_TRANSFER_TO_SELF:
        buf_addf(b, "%" X " is already leader. Ignored transferring leadership to self", t->id);
        break;
    case RAFT_TRACE_TRANSFER_STARTED:
        buf_addf(b, "%" X " [term %" U "] starts to transfer leadership to %" X, t->id, t->term, t->peer);
        break;
    case RAFT_TRACE_TRANSFER_AT_ONCE:
        buf_addf(b, "%" X " sends MsgTimeoutNow to %" X " immediately as %" X " already has up-to-date log",
                 t->id, t->peer, t->peer);
        break;
    case RAFT_TRACE_TRANSFER_CAUGHT_UP:
        buf_addf(b, "%" X " sent MsgTimeoutNow to %" X " after received MsgAppResp", t->id, t->peer);
        break;
    case RAFT_TRACE_TRANSFER_NO_LEADER:
        buf_addf(b, "%" X " no leader at term %" U "; dropping leader transfer msg", t->id, t->term);
        break;
    case RAFT_TRACE_FORGET_REFUSED:
        buf_add_text(b, "ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
        break;
    case RAFT_TRACE_FORGET_LEADER:
        buf_addf(b, "%" X " forgetting leader %" X " at term %" U, t->id, t->peer, t->term);
        break;
    default:
        break;
    }
}

static void render_proposals(struct buf *b, const struct raft_trace *t)
{
    switch ((int)t->kind) {
    case RAFT_TRACE_PROPOSAL_NO_LEADER:
        buf_addf(b, "%" X " no leader at term %" U "; dropping proposal", t->id, t->term);
        break;
    case RAFT_TRACE_PROPOSAL_NOT_FORWARDED:
        buf_addf(b, "%" X " not forwarding to leader %" X " at term %" U "; dropping proposal", t->id,
                 t->peer, t->term);
        break;
    case RAFT_TRACE_PROPOSAL_IN_TRANSFER:
        buf_addf(b, "%" X " [term %" U "] transfer leadership to %" X " is in progress; dropping proposal",
                 t->id, t->term, t->peer);
        break;
    case RAFT_TRACE_PROPOSAL_TOO_MUCH:
        buf_addf(b,
                 "%" X " appending new entries to log would exceed uncommitted entry size limit; "
                 "dropping proposal",
                 t->id);
        break;
    case RAFT_TRACE_READ_NO_LEADER:
        buf_addf(b, "%" X " no leader at term %" U "; dropping index reading msg", t->id, t->term);
        break;
    default:
        break;
    }
}

static void render_log(struct buf *b, const struct raft_trace *t)
{
    switch ((int)t->kind) {
    case RAFT_TRACE_COMMIT_OUT_OF_RANGE:
        buf_addf(b,
                 "tocommit(%" U ") is out of range [lastIndex(%" U
                 ")]. Was the raft log corrupted, truncated, or lost?",
                 t->index, t->last_index);
        break;
    case RAFT_TRACE_LOG_CONFLICT:
        buf_addf(b, "found conflict at index %" U " [existing term: %" U ", conflicting term: %" U "]",
                 t->index, t->log_term, t->other);
        break;
    case RAFT_TRACE_LOG_REPLACE:
        buf_addf(b, "replace the unstable entries from index %" U, t->index);
        break;
    case RAFT_TRACE_LOG_TRUNCATE:
        buf_addf(b, "truncate the unstable entries before index %" U, t->index);
        break;
    case RAFT_TRACE_STABLE_MISSING:
        buf_addf(b, "entry at index %" U " missing from unstable log; ignoring", t->index);
        break;
    case RAFT_TRACE_STABLE_IS_SNAPSHOT:
        buf_addf(b, "entry at index %" U " matched unstable snapshot; ignoring", t->index);
        break;
    case RAFT_TRACE_STABLE_MISMATCH:
        buf_addf(b,
                 "entry at (index,term)=(%" U ",%" U ") mismatched with entry at (%" U ",%" U
                 ") in unstable log; ignoring",
                 t->index, t->log_term, t->index, t->other);
        break;
    default:
        break;
    }
}

static void render_replication(struct buf *b, const struct raft_trace *t)
{
    const struct raft_message *m = t->message;
    switch ((int)t->kind) {
    case RAFT_TRACE_APPEND_REFUSED:
        buf_addf(b,
                 "%" X " [logterm: %" U ", index: %" U "] rejected MsgApp [logterm: %" U ", index: %" U
                 "] from %" X,
                 t->id, t->log_term, m->index, m->log_term, m->index, m->from);
        break;
    case RAFT_TRACE_APPEND_REJECTED:
        buf_addf(b,
                 "%" X " received MsgAppResp(rejected, hint: (index %" U ", term %" U ")) from %" X
                 " for index %" U,
                 t->id, m->reject_hint, m->log_term, m->from, m->index);
        break;
    case RAFT_TRACE_PROGRESS_DECREASED:
        buf_addf(b, "%" X " decreased progress of %" X " to", t->id, t->peer);
        with_progress(b, t);
        break;
    case RAFT_TRACE_UNREACHABLE:
        buf_addf(b, "%" X " failed to send message to %" X " because it is unreachable", t->id, t->peer);
        with_progress(b, t);
        break;
    default:
        render_log(b, t);
        break;
    }
}

/* The leader's side. */
static void render_snapshots_sent(struct buf *b, const struct raft_trace *t)
{
    switch ((int)t->kind) {
    case RAFT_TRACE_SNAPSHOT_PEER_INACTIVE:
        buf_addf(b, "ignore sending snapshot to %" X " since it is not recently active", t->peer);
        break;
    case RAFT_TRACE_SNAPSHOT_UNAVAILABLE:
        buf_addf(b, "%" X " failed to send snapshot to %" X " because snapshot is temporarily unavailable",
                 t->id, t->peer);
        break;
    case RAFT_TRACE_SNAPSHOT_SENT:
        buf_addf(b,
                 "%" X " [firstindex: %" U ", commit: %" U "] sent snapshot[index: %" U ", term: %" U
                 "] to %" X,
                 t->id, t->first_index, t->committed, t->index, t->log_term, t->peer);
        with_progress(b, t);
        break;
    case RAFT_TRACE_SNAPSHOT_PAUSED_PEER:
        buf_addf(b, "%" X " paused sending replication messages to %" X, t->id, t->peer);
        with_progress(b, t);
        break;
    case RAFT_TRACE_SNAPSHOT_DELIVERED:
        buf_addf(b, "%" X " snapshot succeeded, resumed sending replication messages to %" X, t->id, t->peer);
        with_progress(b, t);
        break;
    case RAFT_TRACE_SNAPSHOT_FAILED:
        buf_addf(b, "%" X " snapshot failed, resumed sending replication messages to %" X, t->id, t->peer);
        with_progress(b, t);
        break;
    case RAFT_TRACE_SNAPSHOT_RECOVERED:
        buf_addf(b, "%" X " recovered from needing snapshot, resumed sending replication messages to %" X,
                 t->id, t->peer);
        with_progress(b, t);
        break;
    default:
        break;
    }
}

/* Go's text form of the protobuf message, which puts one or two spaces between fields, as it likes. */
static void render_proto(struct buf *b, const struct raft_conf_state *conf)
{
    const struct {
        const char *name;
        const struct raft_ids *ids;
    } fields[] = {
        {"voters", &conf->voters},
        {"learners", &conf->learners},
        {"voters_outgoing", &conf->voters_outgoing},
        {"learners_next", &conf->learners_next},
    };
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++)
        for (uint32_t i = 0; i < fields[f].ids->count; i++)
            buf_addf(b, "%s:%" U " ", fields[f].name, fields[f].ids->id[i]);
    buf_addf(b, "auto_leave:%s", conf->auto_leave ? "true" : "false");
}

/* The follower's side. */
static void render_snapshots_taken(struct buf *b, const struct raft_trace *t)
{
    uint64_t unstable = t->last_index + 1 - t->unstable;
    switch ((int)t->kind) {
    case RAFT_TRACE_SNAPSHOT_NOT_MEMBER:
        buf_addf(b, "%" X " attempted to restore snapshot but it is not in the ConfState ", t->id);
        render_proto(b, t->conf);
        buf_add_text(b, "; should never happen");
        break;
    case RAFT_TRACE_SNAPSHOT_LOG_RESTORE:
        buf_addf(b,
                 "log [committed=%" U ", applied=%" U ", applying=%" U ", unstable.offset=%" U
                 ", unstable.offsetInProgress=%" U ", len(unstable.Entries)=%" U
                 "] starts to restore snapshot [index: %" U ", term: %" U "]",
                 t->committed, t->applied, t->applying, t->unstable, t->in_progress, unstable, t->index,
                 t->log_term);
        break;
    case RAFT_TRACE_SNAPSHOT_FAST_FORWARD:
    case RAFT_TRACE_SNAPSHOT_RESTORED:
        buf_addf(b,
                 "%" X " [commit: %" U ", lastindex: %" U ", lastterm: %" U "] %s snapshot [index: %" U
                 ", term: %" U "]",
                 t->id, t->committed, t->last_index, t->last_term,
                 t->kind == RAFT_TRACE_SNAPSHOT_RESTORED ? "restored" : "fast-forwarded commit to", t->index,
                 t->log_term);
        break;
    case RAFT_TRACE_SNAPSHOT_TAKEN:
    case RAFT_TRACE_SNAPSHOT_IGNORED:
        buf_addf(b, "%" X " [commit: %" U "] %s snapshot [index: %" U ", term: %" U "]", t->id, t->committed,
                 t->kind == RAFT_TRACE_SNAPSHOT_TAKEN ? "restored" : "ignored", t->index, t->log_term);
        break;
    default:
        break;
    }
}

static void render_refusal(struct buf *b, const struct raft_trace *t)
{
    switch (t->reason) {
    case RAFT_REFUSED_PENDING:
        buf_addf(b, "possible unapplied conf change at index %" U " (applied to %" U ")", t->index,
                 t->applied);
        break;
    case RAFT_REFUSED_MUST_LEAVE_JOINT:
        buf_add_text(b, "must transition out of joint config first");
        break;
    case RAFT_REFUSED_NOT_JOINT:
        buf_add_text(b, "not in joint state; refusing empty conf change");
        break;
    }
}

static void render_configuration(struct buf *b, const struct raft_trace *t)
{
    switch ((int)t->kind) {
    case RAFT_TRACE_CONF_SWITCHED:
        buf_addf(b, "%" X " switched to configuration ", t->id);
        render_conf_state(b, t->conf);
        break;
    case RAFT_TRACE_CONF_CHANGE_REFUSED:
        buf_addf(b, "%" X " ignoring conf change ", t->id);
        render_change(b, t->change);
        buf_add_text(b, " at config ");
        render_conf_state(b, t->conf);
        buf_add_text(b, ": ");
        render_refusal(b, t);
        break;
    case RAFT_TRACE_AUTO_LEAVE:
        buf_add_text(b, "initiating automatic transition out of joint configuration ");
        render_conf_state(b, t->conf);
        break;
    case RAFT_TRACE_AUTO_LEAVE_NOT_NOW:
        buf_add_text(b, "not initiating automatic transition out of joint configuration ");
        render_conf_state(b, t->conf);
        buf_add_text(b, ": raft proposal dropped");
        break;
    default:
        break;
    }
}

/* By the groups of trace.def, in which kinds are numbered. */
void render_trace(struct buf *b, const struct raft_trace *t)
{
    if (t->kind < RAFT_TRACE_HUP_ALREADY_LEADER)
        render_roles(b, t);
    else if (t->kind < RAFT_TRACE_TRANSFER_TO_LEARNER)
        render_elections(b, t);
    else if (t->kind < RAFT_TRACE_PROPOSAL_NO_LEADER)
        render_transfers(b, t);
    else if (t->kind < RAFT_TRACE_APPEND_REFUSED)
        render_proposals(b, t);
    else if (t->kind < RAFT_TRACE_SNAPSHOT_PEER_INACTIVE)
        render_replication(b, t);
    else if (t->kind < RAFT_TRACE_SNAPSHOT_NOT_MEMBER)
        render_snapshots_sent(b, t);
    else if (t->kind < RAFT_TRACE_CONF_SWITCHED)
        render_snapshots_taken(b, t);
    else
        render_configuration(b, t);
}
