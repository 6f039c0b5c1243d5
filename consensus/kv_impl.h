/* SPDX-License-Identifier: Apache-2.0
 * What the files kv*.c share; nobody else includes it.
 *
 * A request is in exactly one list: `proposed` (its entry is in the log), `reading` (waits for a ReadIndex
 * round), `ready` (its index is known, runs when applied), `parked` (would run if its client read), `failed`
 * (answered at the next turn), `calling` and `called` (only the leader can answer it, and that is another
 * member), `moving` (waits for another leader). */
#ifndef CONSENSUS_KV_IMPL_H
#define CONSENSUS_KV_IMPL_H

#include "consensus/auth/auth.h"
#include "consensus/auth/token.h"
#include "consensus/entry.h"
#include "consensus/feature.h"
#include "consensus/kv.h"
#include "consensus/node/alarms.h"
#include "consensus/node/compactor.h"
#include "consensus/node/corrupt.h"
#include "consensus/node/members.h"
#include "consensus/node/node.h"
#include "consensus/node/snapshot_install.h"
#include "consensus/store/lease.h"
#include "consensus/store/store.h"
#include "consensus/store/watch.h"

enum kv_kind {
    KV_RANGE,
    KV_PUT,
    KV_DELETE_RANGE,
    KV_TXN,
    KV_TXN_READ,
    KV_COMPACT,
    KV_LEASE_GRANT,
    KV_LEASE_REVOKE,
    KV_KEEP_ALIVE,
    KV_TIME_TO_LIVE,
    KV_LEASE_LEASES,
    KV_ALARM,
    KV_HASH,
    KV_HASH_KV,
    KV_DEFRAGMENT,
    KV_MEMBER_LIST,
    KV_BARRIER,
    KV_MEMBER_ADD,
    KV_MEMBER_REMOVE,
    KV_MEMBER_UPDATE,
    KV_MEMBER_PROMOTE,
    KV_MEMBER_REPLACE,
    KV_MOVE_LEADER,
    KV_MEMBER_CLAIM,
    KV_AUTH,
    KV_DOWNGRADE,
};

enum kv_request_state {
    KV_IDLE,
    KV_PROPOSED, /* in kv->proposed, and in the ring under its id */
    KV_READING,  /* in kv->reading (next round) or kv->round (the one under way) */
    KV_READY,    /* in kv->ready */
    KV_PARKED,   /* in kv->parked: its client reads no answers now */
    KV_FAILED,   /* in kv->failed with its error in index */
    KV_WAITING,  /* for a sweep or a commit, in kv->waiting; for a defrag, in one of kv->defrag's lists */
    KV_CALLING,  /* in kv->calling: to be asked of the leader */
    KV_CALLED,   /* in kv->called, and in the calls' ring under its id; index = when */
    KV_MOVING,   /* in kv->moving */
    KV_APPLYING, /* in kv->applying.waiting: its entry is open */
};

/* A round of WHO to the members that this one knows, for members that it does not know. */
struct kv_vouch_query {
    struct kv *kv;
    uint64_t ask; /* 0 = not under way */
};
struct kv_vouch {
    struct kv_vouch_query queries[RAFT_MEMBERS_MAX];
    uint64_t run, round, next_ms;
};

/* What each member has said of itself (kv_level.c). */
struct kv_member_level {
    uint64_t id;
    unsigned level;
};
struct kv_level_round {
    struct kv *kv;
    struct kv_member_rpc ask;
    bool is_asking;
    size_t count;
    struct kv_member_level list[RAFT_MEMBERS_MAX];
};

/* An entry that takes longer than a turn may: it stays open while others have their turn. */
struct kv_applying {
    struct store_work *work; /* NULL = none */
    struct entry entry;      /* its bytes are the node's until kv_apply has returned true */
    const ProtobufCMessage *message;
    struct arena arena;  /* holds the message */
    struct link waiting; /* the request, while it waits here */
    struct buf own;      /* the answer, if the request has no place for it */
};

/* Requests by number: numbers are dealt in sequence, so a ring of slots is a map.
 *
 * A number is a proposal's id, and an entry is answered by the member whose own id it bears: so ids of two
 * members cannot be taken for each other. Those of two runs of one member cannot either: a run's first number
 * is the wall clock's milliseconds times 2^20 plus 20 random bits, and nobody proposes a million entries a
 * millisecond: a run's numbers end where they began, give or take a millisecond. Two runs would have to begin
 * in the same millisecond of a clock that was set back, and draw the same bits. */
struct kv_ring {
    struct kv_request **slots;
    size_t capacity;      /* a power of two */
    uint64_t first, next; /* numbers in the ring: first <= n < next */
};

struct kv {
    struct io *io;
    uint64_t member_id, cluster_id;
    struct io_file *lock; /* the folder is ours while it is open */
    char *data_dir, *member_dir, *name;
    char **client_urls;
    size_t client_url_count;
    uint64_t request_bytes_max, txn_ops_max, election_ms;
    int64_t quota_bytes;         /* 0 = none */
    uint64_t turn_ms;            /* the clock at the last turn: good enough for what waits seconds */
    uint64_t limit_ms;           /* how long a request may wait for its end */
    uint64_t log_disk_bytes_max; /* 0 = no limit */

    struct store *store;
    struct lease_table *leases;
    struct watch_hub *hub;
    struct members members;
    struct alarms alarms;
    struct auth auth;
    uint64_t auth_epoch;
    struct auth_tokens tokens;
    struct compactor compactor;
    struct node *node;
    struct node_state state;

    uint64_t lease_number; /* of the last lease id that was chosen here; 0 = none yet */
    struct kv_ring ring;
    struct link proposed, reading, round, ready, parked, failed, waiting;
    uint64_t read_id; /* of the round under way; 0 = none. Never used twice */
    uint64_t round_started_ms;
    bool is_space_alarm_proposed;
    uint64_t attributes_proposed_ms; /* 0 = not yet under this leader */
    uint64_t elected_ms;             /* when this member last became leader; 0 = never */

    struct snapshot_send *sending;
    struct snapshot_receive *receiving;
    struct snapshot_install *installing;     /* NULL = none */
    struct raft_conf_state installing_conf;  /* what the new store must hold */
    struct snapshot_install_options install; /* how the store's file is opened */

    struct kv_lost {            /* kv_lost.c */
        uint64_t given, before; /* requests with lower numbers were given to raft, before a loss */
        uint64_t due_ms, number, index;
        int state, err;
    } lost;

    struct link asks, asked; /* kv_member_rpc.c: ours, and those of others that wait for their handler */
    size_t ask_count, asked_count;
    uint64_t last_ask;
    struct io_timer ask_timer;
    struct {
        void (*fn)(void *arg, struct kv_member_request *q, struct slice question);
        void *arg;
    } topics[KV_TOPICS_MAX];

    struct peers *peers; /* NULL = alone */
    struct link calling, called, moving;
    struct kv_ring calls;
    struct kv_replies *replies; /* one buffer for each member that asked in this turn */
    size_t reply_count;
    struct buf out;             /* a message being made */
    struct kv_leaving *leaving; /* removed members that are not cut off yet */
    size_t leaving_count;
    uint64_t removed_ms; /* when this member learned that it is none any more; 0 = it is one */
    bool strict_reconfig, promotes_learners, requires_peer_proof;
    uint64_t advance_until_ms;      /* ticks may be advanced till then, once; 0 = not (any more) */
    uint64_t promoted_ms;           /* when a learner was last proposed as a voter */
    bool is_forcing;                /* force_new_cluster: until the log says that only this member is left */
    uint64_t handing_over_until_ms; /* 0 = not under way */
    void (*on_handed_over)(void *arg);
    void *on_handed_over_arg;
    uint64_t claimed_id, claimed_run; /* kv_boot.c: the last claim, by whom */
    bool claim_is_waiting;
    struct link proving;   /* bootstrap queries whose dial-back is under way */
    struct kv_vouch vouch; /* kv_vouch.c */
    void (*on_query)(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                     struct slice text);
    void *on_query_arg;
    struct feature_state feature; /* kv_level.c: as of the last applied entry */
    unsigned feature_max;         /* what this build has */
    uint64_t level_due_ms;        /* when the leader asks the members again */
    struct kv_level_round level_round;
    char level_text[400];   /* why this member cannot go on, or a joining one may not */
    struct corrupt corrupt; /* kv_check.c */
    uint64_t check_interval_ms, checked_ms;
    uint64_t diverged_since_ms; /* when this member learned that its state is wrong; 0 = it is not */
    unsigned long_count;        /* long reads under way */
    struct kv_applying applying;
    int64_t slice_units; /* for tests: each slice is so long; 0 = by the clock */
    struct arena arena;  /* of the entry or read under way */

    struct io_timer tick;  /* requests' limits, leases, compactor */
    struct io_timer again; /* zero-delay: the turn has more to do */
    bool is_turn_scheduled, is_ready, is_closing;
    int failed_err;
    struct {
        struct link running, waiting;
        size_t running_count, waiting_count, max;
    } exports;

    struct { /* kv_defrag.c */
        struct link waiting, served;
        uint64_t begin_ns;
    } defrag;

    void (*on_ready)(void *arg);
    void *on_ready_arg;
    void (*on_leader)(void *arg, bool has_leader);
    void *on_leader_arg;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* What an operation of the log left: an error, or a response whose header is filled when the entry is whole.
 */
struct kv_outcome {
    int err;
    ProtobufCMessage *response;
    Etcdserverpb__ResponseHeader *header;
};

static inline uint64_t kv_now_ms(const struct kv *kv)
{
    return kv->io->ops->mono_ns(kv->io) / 1000000;
}

/* For what begins a lease's time: rounded up, or the lease would end a part of a millisecond early. */
static inline uint64_t kv_lease_start_ms(const struct kv *kv)
{
    return kv_now_ms(kv) + 1;
}

/* kv.c */
void kv_finish(struct kv *kv, struct kv_request *r, int err, const ProtobufCMessage *response);
void kv_fail(struct kv *kv, struct kv_request *r, int err); /* at the next turn */
/* As this member's own word. */
int kv_propose(struct kv *kv, enum entry_op op, const ProtobufCMessage *m);
int kv_propose_as_leader(struct kv *kv, enum entry_op op, const ProtobufCMessage *m);
/* NULL when nobody waits here (any more). */
struct kv_request *kv_take_proposed(struct kv *kv, uint64_t member, uint64_t id);
uint64_t kv_ring_add(struct kv_ring *ring, struct kv_request *r);
struct kv_request *kv_ring_find(const struct kv_ring *ring, uint64_t number);
void kv_ring_clear(struct kv_ring *ring, uint64_t number);
void kv_wait_for_entry(struct kv *kv, struct kv_request *r); /* r->id is in the ring, its entry is queued */
void kv_add_waiting(struct kv *kv, struct kv_request *r);

void kv_start_write(struct kv *kv, struct kv_request *r, enum kv_kind kind, enum entry_op op,
                    const ProtobufCMessage *m, int err);
void kv_schedule_turn(struct kv *kv); /* one more turn without waiting for an event */

/* kv_lead.c: leadership and the clock */
void kv_on_state(void *arg, const struct node_state *state);
void kv_note_time(struct kv *kv); /* at the begin of a turn and of a tick */
void kv_on_tick(struct io_timer *timer);
void kv_check_ready(struct kv *kv);
void kv_advance_ticks(struct kv *kv);                                /* another member can be reached */
int kv_timeout_err(const struct kv *kv, const struct kv_request *r); /* which kind of timeout it is */

/* kv_member.c */
int kv_apply_membership(struct kv *kv, const struct raft_entry *entry); /* inside store_begin and store_end */
void kv_answer_membership(struct kv *kv, const struct raft_entry *entry, int err);
void kv_promote_learners(struct kv *kv);
void kv_settle_alone(struct kv *kv); /* is_forcing: proposes that only this member is left */

void kv_change_asker(const struct raft_entry *entry, uint64_t *ret_member, uint64_t *ret_number);

/* kv_lost.c */
void kv_note_given(struct kv *kv);                           /* at the end of a turn */
void kv_note_loss(struct kv *kv, int err, uint64_t wait_ms); /* of the leader, or of the lane to it */
void kv_check_lost(struct kv *kv);                           /* at ticks */
void kv_take_log_end(struct kv *kv, uint64_t number, uint64_t index);
void kv_end_refused(struct kv *kv, uint64_t number, int err);
void kv_on_refused(void *arg, const struct raft_entry *entry, int err); /* node_options.refused */
bool kv_is_internal(void *arg, const struct raft_entry *entry);         /* node_options.is_internal */

/* kv_transfer.c */
bool kv_lead_elsewhere(
    struct kv *kv);                  /* a leader gives the lead to the best of the others, if there is one */
bool kv_on_hand_over(void *arg);     /* node_options.hand_over */
void kv_check_moving(struct kv *kv); /* after a change of leaders, and at ticks */

/* kv_peer.c */
extern const struct peer_events kv_peer_events;
void kv_start_call(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m);
bool kv_is_served(const struct kv_request *r);        /* a call of another member: never passed on */
void kv_call_again(struct kv *kv);                    /* what was asked of a leader that is none any more */
void kv_retry_calls(struct kv *kv);                   /* at ticks */
void kv_call_log_end(struct kv *kv, uint64_t number); /* how far the leader's log reaches */
void kv_send_refusal(struct kv *kv, uint64_t member, uint64_t number, int err);
void kv_peer_turn(struct kv *kv); /* calls and answers go out, then everything is flushed */
void kv_peer_done(struct kv *kv);
void kv_disconnect_later(struct kv *kv, uint64_t id); /* no longer a member */
void kv_disconnect_removed(struct kv *kv);            /* at ticks */
void kv_peers_announce(struct kv *kv);                /* at start: who is there, who was removed */
bool kv_peer_is_active(const struct kv *kv, uint64_t id, uint64_t since_ms);

/* kv_member_rpc.c */
void kv_member_rpc_open(struct kv *kv);
void kv_member_rpc_close(struct kv *kv);
void kv_member_rpc_turn(struct kv *kv); /* at the begin of a turn: what is asked of itself, what has ended */
void kv_member_rpc_on_message(struct kv *kv, uint64_t from, bool is_answer, struct slice bytes);
void kv_member_rpc_unreachable(struct kv *kv, uint64_t id); /* its bulk lane is lost */

/* kv_level.c */
MUST_CHECK int kv_level_load(struct kv *kv); /* of a new store; ERR_LEVEL: level_text says why */
void kv_level_open(struct kv *kv);
void kv_level_close(struct kv *kv);
void kv_level_tick(struct kv *kv);
bool kv_level_is_void(const struct kv *kv, const struct entry *e); /* on every member */
/* True: it must not be applied, this member ends. m is NULL when it does not decode. */
bool kv_level_stops(struct kv *kv, uint64_t index, const struct entry *e, const ProtobufCMessage *m);
void kv_level_apply_version(struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m);
struct kv_outcome kv_level_apply_downgrade(struct kv *kv, const Etcdserverpb__DowngradeInfoSetRequest *m);
const char *kv_level_refusal(struct kv *kv, unsigned level); /* of a member that joins; NULL: it may */

/* kv_check.c */
void kv_check_tick(struct kv *kv);
void kv_apply_state_check(struct kv *kv, uint64_t index, const Etcdserverpb__StateCheckRequest *m);
bool kv_is_stopped(const struct kv *kv); /* by CORRUPT alarms: nothing is changed any more */

/* kv_boot.c */
void kv_answer_query(struct kv *kv, struct peer_served_query *question, const struct peer_query_sender *asker,
                     struct slice text);
void kv_boot_close(struct kv *kv); /* answers queries whose dial-back is under way */

/* kv_vouch.c */
void kv_vouch_start(struct kv *kv); /* at most one round at a time, 2 s apart */
void kv_vouch_close(struct kv *kv);

/* kv_auth.c */
struct kv_outcome kv_apply_auth(struct kv *kv, const struct entry *e, const ProtobufCMessage *m);
int kv_check_entry(struct kv *kv, const struct entry *e, const ProtobufCMessage *m); /* auth is enabled */
int kv_check_read(struct kv *kv, const struct kv_request *r);                        /* the same */
/* False: the rights that the entry is checked by take longer than this turn has. Come again with it. */
bool kv_prepare_author(struct kv *kv, const struct raft_entry *entry);
bool kv_auth_turn(struct kv *kv); /* merges rights that reads and streams ask for; true: there is more */
int kv_auth_load(struct kv *kv);  /* of a new store */

void kv_peers_set(struct kv *kv); /* the list of members is a new one */

/* kv_open.c */
bool kv_restore_lease(void *arg, struct slice key, struct slice value);
void kv_listen_to_store(struct kv *kv);

/* kv_snapshot.c */
/* Before the store is opened: finishes what a crash interrupted. */
int kv_snapshot_recover(struct kv *kv, const struct kv_options *o, uint64_t map_size, const char *wal_dir,
                        char *error, size_t error_size);
void kv_snapshot_open(struct kv *kv, const struct kv_options *o);
void kv_snapshot_close(struct kv *kv);
void kv_send_snapshot(void *arg, const struct raft_message *m);   /* node_options.send_snapshot */
void kv_install(void *arg, const struct raft_snapshot *snapshot); /* node_options.install */
/* The log up to which index may go: less than what is durable while a transfer needs it. */
uint64_t kv_log_needed(const struct kv *kv, uint64_t durable_index);
void kv_on_snapshot_message(struct kv *kv, uint64_t from, struct slice bytes); /* after CODEC_SNAPSHOT */

/* kv_export.c */
void kv_exports_init(struct kv *kv, size_t max);
void kv_exports_tick(struct kv *kv);  /* at ticks */
void kv_exports_close(struct kv *kv); /* all end; who has one may still close it */

/* kv_defrag.c */
void kv_defrag_init(struct kv *kv);
void kv_defrag_add(struct kv *kv, struct kv_request *r); /* r is in no list */
void kv_defrag_start(struct kv *kv);                     /* for those that wait, if one may begin now */

/* kv_apply.c: node_options.apply */
bool kv_apply(void *arg, const struct raft_entry *entry);
void kv_will_apply(void *arg, const struct raft_entry *entries, size_t count);

void kv_save_lease(struct kv *kv, int64_t id, int64_t ttl_s, int64_t remaining_s);

/* kv_apply_long.c: entries that are applied over many turns; kv->applying.work says that one is open */
bool kv_is_long_entry(struct kv *kv, const struct entry *e, const ProtobufCMessage *m, bool is_awaited);
void kv_begin_long_entry(struct kv *kv, const struct entry *e, struct kv_request *r); /* r may be NULL */
bool kv_apply_slice(struct kv *kv, const struct raft_entry *entry); /* true: it is whole, and answered */
void kv_forget_answer(struct kv *kv); /* nobody waits for the entry that is open any more */
void kv_apply_close(struct kv *kv);

/* kv_long.c: reads that go over many turns */
void kv_start_long(struct kv *kv, struct kv_request *r); /* by r->kind: a range, a hash ... */
void kv_run_long(struct kv *kv, struct kv_request *r);   /* one slice */
void kv_drop_long(struct kv *kv, struct kv_request *r);  /* it ends, however; nothing if it is none */
void kv_leave_line(struct kv *kv, struct kv_request *r); /* before each slice */
void kv_restart_long(struct kv *kv);                     /* another store: those under way begin anew */

/* kv_lease_read.c: a slice of one; *read is NULL at the begin. ERR_LEASE_NOT_FOUND: begin anew. */
struct kv_lease_read;
bool kv_is_long_lease_read(const struct kv *kv, const struct kv_request *r);
MUST_CHECK int kv_lease_read_slice(struct kv *kv, struct kv_request *r, struct kv_lease_read **read,
                                   int64_t units, bool *ret_is_finished);
void kv_lease_read_free(struct kv_lease_read *l);

/* kv_read.c */
void kv_start_read(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m,
                   bool is_local);
void kv_read_done(void *arg, uint64_t read_id, uint64_t index);
void kv_run_reads(struct kv *kv);                               /* starts a round, runs what is ready */
void kv_call_leader_again(struct kv *kv, struct kv_request *r); /* r is in no list */
void kv_fail_round(struct kv *kv, int err); /* the leader that was asked is none any more */

#endif
