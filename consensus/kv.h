/* SPDX-License-Identifier: Apache-2.0
 * The interface of consensus/: a replicated, linearizable key-value store with etcd's own requests and
 * responses. Front ends, the registry and the config center use it and nothing behind it.
 *
 * Everything is asynchronous and on the loop thread. A request is a struct the caller embeds; done is called
 * exactly once, never from inside the call that started it, unless kv_cancel came first. The message must
 * live until then. The response is valid only during done: encode it there. Its header is complete.
 *
 * Outcomes: a write that was proposed and whose end is not known ends with ERR_TIMEOUT (or a variant) or
 * ERR_STOPPED; it may still be applied. Every other error means that nothing was changed. */
#ifndef CONSENSUS_KV_H
#define CONSENSUS_KV_H

#include "base/author.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "consensus/auth/ranges.h"
#include "consensus/auth/who.h"
#include "consensus/io.h"
#include "consensus/peer/peer.h"
#include "consensus/store/watch.h"
#include "proto/internal.pb-c.h"
#include "proto/rpc.pb-c.h"

struct kv;

struct kv_member_option {
    const char *name, *peer_url;
};

/* A member of a cluster that is there already, with nothing of its own yet (node/boot.h finds this out). Its
 * first state comes as a snapshot. */
struct kv_join {
    uint64_t cluster_id, member_id;
    const struct kv_join_member {
        uint64_t id;
        const char *const *peer_urls;
        size_t peer_url_count;
        bool is_learner;
    } * members;
    size_t member_count;
};

struct backend;

#define KV_PENDING_BYTES_MAX (64u << 20)

struct kv_options {
    struct io *io;
    struct peers *peers;        /* borrowed, identity not set yet; NULL = this member stays alone */
    const struct kv_join *join; /* NULL = go on with what the folder holds, or bootstrap initial_cluster */
    /* How the store's file is opened; NULL = LMDB. For the simulator: its memory backend. */
    int (*backend_open)(struct io *io, const char *path, uint64_t map_size, char *error, size_t error_size,
                        struct backend **ret_backend);
    uint64_t wal_segment_bytes; /* 0 = 8 MiB */
    const char *data_dir;       /* <data_dir>/member/{wal,store}; created 0700 */
    const char *wal_dir;        /* NULL = inside data_dir */
    const char *name;           /* this member */
    const char *initial_name;   /* its name in initial_cluster; NULL = name */
    const char *initial_cluster_token;
    const struct kv_member_option *initial_cluster; /* one per peer URL */
    size_t initial_cluster_count;
    const char *const *peer_urls; /* advertised */
    size_t peer_url_count;
    const char *const *client_urls; /* advertised */
    size_t client_url_count;
    bool requires_peer_proof; /* bootstrap queries need a token or a certificate (peer/peer_proof.h) */
    uint64_t heartbeat_ms, election_ms;   /* 100, 1,000 */
    uint64_t snapshot_catchup_entries;    /* log entries kept in the WAL behind the applied index: 5,000 */
    uint64_t snapshot_catchup_bytes;      /* of them in memory: 4 MiB; the others are read back */
    uint64_t snapshot_catchup_disk_bytes; /* of the WAL's files: 512 MiB; 0 = no limit */
    uint64_t watch_bytes_max;             /* of clients' watches; 0 = no limit */
    uint64_t pending_bytes_max;           /* proposals that are not applied; 0 = KV_PENDING_BYTES_MAX */
    struct cache_budget *cache_budget;    /* borrowed, for the store's record cache; NULL = none */
    uint64_t store_pending_bytes;         /* applied and not in a commit; 0 = 32 MiB */
    size_t max_snapshots;                 /* for clients, at once; 0 = no limit */
    uint64_t request_bytes_max;           /* 1.5 MiB */
    uint64_t txn_ops_max;                 /* 128 */
    int64_t quota_bytes;                  /* 0 = 2 GiB; negative = none */
    uint64_t commit_interval_ms, commit_ops;
    int64_t compaction_batch;
    uint64_t compaction_sleep_ms;
    const char *auto_compaction_mode;  /* "periodic" or "revision" */
    int64_t auto_compaction_retention; /* nanoseconds or revisions; 0 = off */
    uint64_t progress_interval_ms;     /* watch progress: 600,000 */
    uint64_t lease_checkpoint_ms;      /* 0 = LEASE_CHECKPOINT_INTERVAL_MS; tests have less time */
    uint64_t defrag_at_start_mb;       /* MiB of the store's file that are not in use; 0 = not at the start */
    bool force_new_cluster;
    bool pre_vote, strict_reconfig_check;
    uint64_t slow_apply_ns;        /* an applied entry or a range that takes longer is logged; 0 = 100 ms */
    int64_t max_learners;          /* that this member adds learners up to; 0 = 1, less than 0 = none */
    bool limits_learners_at_start; /* kv_open refuses a cluster with more than max_learners, as etcd */
    bool advances_ticks;           /* a start that reaches a majority does not wait an election timeout */
    bool promotes_learners;        /* a learner that joined by itself becomes a voter when it has caught up */
    uint64_t snapshot_bytes_per_s; /* to one follower; 0 = no limit */
    uint64_t auth_token_ttl_ms;    /* of a simple token that is not used: 300,000 */
    int64_t long_units, slice_units; /* for tests: what is long, and a slice of it; 0 = about a millisecond */
    uint64_t corrupt_check_interval_ms; /* members' states are compared so often: 60,000; 0 = never */
    unsigned feature_level; /* 0 = all that this build has; else as an older or, in tests, newer one */
};

/* Opens or creates the data folder, replays the WAL, starts to elect. On an error nothing was changed and
 * `error` holds one sentence: what, where, what to do. */
MUST_CHECK int kv_open(const struct kv_options *options, char *error, size_t error_size, struct kv **ret_kv);
/* Answers everything pending with ERR_STOPPED, commits, closes; done comes when the last worker job is back.
 */
void kv_close(struct kv *kv, void (*done)(void *arg), void *arg);

/* Once per loop turn, after the events of the turn and before the front ends flush: proposes what came in,
 * hands batches to the WAL, applies, answers, delivers to watchers. Everything the store does happens in
 * here. */
void kv_turn(struct kv *kv);

/* --- requests --------------------------------------------------------------------------------- */
struct kv_request {
    /* Set by the caller before the start. A deadline of its own is the caller's: kv_cancel. */
    void (*done)(struct kv_request *r, int err, const ProtobufCMessage *response);
    /* NULL, or called right before a read runs: false = not now, the client has not read its answers so far.
     * The read then waits for kv_resume; answers are made when there is room for them. */
    bool (*has_room)(const struct kv_request *r);
    /* NULL, or: a long answer comes in parts, the last one with done; all merged (or their encodings one
     * behind the other) are the answer. part NULL: it begins anew, forget what came. False: it is too much,
     * end with ERR_LIMIT. Without this the loop stands still while a long answer is made. */
    bool (*on_part)(struct kv_request *r, const ProtobufCMessage *part);
    /* With on_part, for answers that are not made of parts: where their bytes are gathered, behind which the
     * encoding of done's message belongs. Asked again after a part NULL. */
    struct buf *(*answer)(struct kv_request *r);
    /* Whose permissions are looked at; lives as the message does. NULL: this process's own, which may
     * everything. A front end always sets it, also while auth is not enabled: that may change on the way. */
    const struct auth_who *who;
    /* NULL: `who` must be allowed the keys that the request itself names. Else a write of the native API:
     * these ranges are checked in their place, when the entry is applied; they live as `who` does. */
    const struct auth_needs *needs;
    /* NULL, or the client of an administrative request, for kv_on_admin; lives as the message does. Its name
     * counts where `who` names no user. */
    const struct author *author;
    bool
        is_forwarded; /* out, of kv_member_promote: the leader proposes it and names no client: no kv_on_admin */
    unsigned extra_ops; /* of kv_txn: operations beyond --max-txn-ops, which the process itself has added */
    /* Private to consensus/kv/. */
    struct link link;
    uint64_t id, index, started_ms, begun_ns;
    const ProtobufCMessage *message;
    struct kv_scan *slices;
    int kind, state, op;
};

void kv_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__RangeRequest *m);
void kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m);
void kv_delete_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__DeleteRangeRequest *m);
void kv_txn(struct kv *kv, struct kv_request *r, const Etcdserverpb__TxnRequest *m);
void kv_compact(struct kv *kv, struct kv_request *r, const Etcdserverpb__CompactionRequest *m);
void kv_lease_grant(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseGrantRequest *m);
void kv_lease_revoke(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseRevokeRequest *m);
void kv_lease_keep_alive(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseKeepAliveRequest *m);
/* The same for a client that needs the right to write all keys of the lease: r->who. Errors beside the others:
 * ERR_USER_EMPTY, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED. */
void kv_lease_keep_alive_checked(struct kv *kv, struct kv_request *r,
                                 const Etcdserverpb__LeaseKeepAliveRequest *m);
void kv_lease_time_to_live(struct kv *kv, struct kv_request *r,
                           const Etcdserverpb__LeaseTimeToLiveRequest *m);
void kv_lease_leases(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseLeasesRequest *m);
void kv_alarm(struct kv *kv, struct kv_request *r, const Etcdserverpb__AlarmRequest *m);
void kv_hash(struct kv *kv, struct kv_request *r, const Etcdserverpb__HashRequest *m);
void kv_hash_kv(struct kv *kv, struct kv_request *r, const Etcdserverpb__HashKVRequest *m);
/* Packs this member's store file; ERR_NO_DISK_SPACE: kv_defrag_refusal has the numbers. */
void kv_defragment(struct kv *kv, struct kv_request *r, const Etcdserverpb__DefragmentRequest *m);
void kv_defrag_refusal(const struct kv *kv, char *ret_text, size_t size);
void kv_member_list(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberListRequest *m);
/* Membership, as etcd's Cluster service answers. Served by any member (proposals go to the leader); promote
 * asks the leader how far the learner is. ERR_MEMBER_*, ERR_PEER_URL_EXISTS, ERR_UNHEALTHY,
 * ERR_LEARNER_NOT_READY ... */
void kv_member_add(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m);
void kv_member_remove(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberRemoveRequest *m);
void kv_member_update(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberUpdateRequest *m);
void kv_member_promote(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberPromoteRequest *m);
/* A member that adds itself: a learner, which becomes a voter by itself when it has caught up. */
void kv_member_add_joining(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m);
/* In one step: the old member goes, and m (its peer URLs, which may be the old one's) comes as a learner.
 * Answers as kv_member_add. */
void kv_member_replace(struct kv *kv, struct kv_request *r, uint64_t old_id,
                       const Etcdserverpb__MemberAddRequest *m);
/* Only on the leader (ERR_NOT_LEADER); done when another leads. ERR_BAD_LEADER_TRANSFEREE,
 * ERR_TIMEOUT_LEADER_TRANSFER. */
void kv_move_leader(struct kv *kv, struct kv_request *r, const Etcdserverpb__MoveLeaderRequest *m);
/* Whether the cluster may go down to that version, on local state (kv_barrier first): ERR_DOWNGRADE_*. */
MUST_CHECK int kv_check_downgrade(const struct kv *kv, unsigned major, unsigned minor);
/* Starts or ends a downgrade job: ERR_DOWNGRADE_*, ERR_NO_INFLIGHT_DOWNGRADE. Response: none. */
void kv_downgrade(struct kv *kv, struct kv_request *r, const Etcdserverpb__DowngradeInfoSetRequest *m);
/* done(r, 0, NULL) when a linearizable read may run on this member (kv_range_now); one ReadIndex serves all
 * that wait. */
void kv_barrier(struct kv *kv, struct kv_request *r);

/* --- users and roles ------------------------------------------------------------------------------ */
/* Any request of the Auth service but Authenticate. Passwords come as hashes: `password` is not looked at. */
void kv_auth(struct kv *kv, struct kv_request *r, const ProtobufCMessage *m);
/* The password was right as of now. With a token (response: AuthenticateResponse) that every member knows
 * once it has applied this, or, is_simple false, without. */
void kv_authenticate(struct kv *kv, struct kv_request *r, const char *user, bool is_simple);
bool kv_auth_is_enabled(const struct kv *kv);
uint64_t kv_auth_revision(const struct kv *kv);
/* Moves on with everything that may change what an author is allowed, on this member: users, roles,
 * permissions, passwords, auth on and off, an installed snapshot. A right that was checked at this epoch
 * holds until it moves. Never 0. */
uint64_t kv_auth_epoch(const struct kv *kv);
/* The bcrypt hash of this user, valid until the return to the loop. ERR_AUTH_NOT_ENABLED, ERR_AUTH_FAILED,
 * ERR_NO_PASSWORD_USER. */
MUST_CHECK int kv_auth_password(const struct kv *kv, const char *user, struct slice *ret_hash);
/* Whose simple token it is; the user is valid until the return to the loop. ERR_INVALID_AUTH_TOKEN;
 * ERR_NOT_READY: this member may not have applied it yet, kv_auth_wait says when it has. */
MUST_CHECK int kv_auth_token(struct kv *kv, struct slice token, struct auth_who *ret_who);
void kv_auth_wait(struct kv *kv, struct kv_request *r, struct slice token);
/* On local state; all OK while auth is not enabled. ERR_USER_EMPTY, ERR_USER_NOT_FOUND,
 * ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED. */
MUST_CHECK int kv_auth_check_admin(const struct kv *kv, const struct auth_who *who);
/* The user exists and what it showed is not void; without a look at its permissions. */
MUST_CHECK int kv_auth_check_user(const struct kv *kv, const struct auth_who *who);
MUST_CHECK int kv_auth_check_range(const struct kv *kv, const struct auth_who *who, struct slice key,
                                   struct slice range_end, bool is_write);
/* The keys that it may read, valid until the return to the loop; NULL: all of them. Errors as of
 * kv_auth_check_range. */
MUST_CHECK int kv_auth_readable(const struct kv *kv, const struct auth_who *who,
                                const struct auth_ranges **ret_ranges);
/* Every key that hangs on the lease but `except`; ret_count: how many these are, or NULL. ERR_LEASE_NOT_FOUND
 * beside the others. */
MUST_CHECK int kv_auth_check_lease(const struct kv *kv, const struct auth_who *who, int64_t lease,
                                   bool is_write, struct slice except, size_t *ret_count);
/* A slice of the work of kv_auth_check_lease, subtracted from *units. True: that takes little time now. */
MUST_CHECK bool kv_auth_prepare_lease(const struct kv *kv, const struct auth_who *who, int64_t lease,
                                      bool is_write, struct slice except, int64_t *units);

/* There is room again; nothing happens to a request that did not wait for it. */
void kv_resume(struct kv *kv, struct kv_request *r);
/* Forget a request: done will not be called, the struct and the message may go. A proposed write goes on. */
void kv_cancel(struct kv *kv, struct kv_request *r);

/* --- at once, on local state -------------------------------------------------------------------- */
/* A serializable range. The response is valid until the return to the loop. */
MUST_CHECK int kv_range_now(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                            Etcdserverpb__RangeResponse **ret_response);
/* The same without `count` (0), for a caller that reads a long range page by page: the walk ends at the
 * limit. */
MUST_CHECK int kv_range_page(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                             Etcdserverpb__RangeResponse **ret_response);
void kv_status(struct kv *kv, struct arena *a, Etcdserverpb__StatusResponse *ret_response);
/* As of the last applied entry: "3.7.0"; the feature level (feature.def). */
const char *kv_cluster_version(const struct kv *kv, struct arena *a);
unsigned kv_feature_level(const struct kv *kv);
/* OK, or ERR_UNIMPLEMENTED with a sentence: `what` (a plural) must wait until the cluster has this level. */
MUST_CHECK int kv_check_feature_level(const struct kv *kv, unsigned level, const char *what, char *error,
                                      size_t error_size);
int64_t kv_revision(const struct kv *kv);
struct io *kv_io(const struct kv *kv);   /* time, timers and randomness for its callers */
uint64_t kv_leader(const struct kv *kv); /* 0 = none */
bool kv_is_learner(const struct kv *kv);
uint64_t kv_member_id(const struct kv *kv);
uint64_t kv_cluster_id(const struct kv *kv);
/* The bytes of kept records, and the quota that limits them (0 = none). */
struct kv_space {
    uint64_t live, quota;
};
struct kv_space kv_space(const struct kv *kv);
/* Active alarms on any member, for /health: bit 0 NOSPACE, bit 1 CORRUPT. */
unsigned kv_alarms(const struct kv *kv);
/* Non-zero after a final disk error: the process must log it and end. */
int kv_failed(const struct kv *kv);
const char *kv_failed_at(const struct kv *kv); /* then: what could not be done, for people */
/* Fills the ids and the term; the revision is the argument. */
void kv_header(const struct kv *kv, int64_t revision, Etcdserverpb__ResponseHeader *ret_header);

/* True once this member was removed from its cluster: the process says so and ends. */
bool kv_is_removed(const struct kv *kv);
/* To be called before anything else looks at the folder. The folder of a member whose state was found to be
 * wrong (kv/state_check.c) is set aside: member/ and the WAL's folder (NULL = inside) get other names. The
 * member then starts as one that lost its disk. Blocking. */
MUST_CHECK int kv_set_aside(struct io *io, const char *data_dir, const char *wal_dir, bool *ret_was_diverged);
/* Before kv_close, on a leader: hands the lead to the member that is furthest; done when another leads, or
 * when an election timeout has passed without. At once (within the call's turn) when there is nothing to hand
 * over. */
void kv_hand_over(struct kv *kv, void (*done)(void *arg), void *arg);

/* fn when this member first knows a leader and has applied what was committed: requests can be served. */
void kv_on_ready(struct kv *kv, void (*fn)(void *arg), void *arg);
/* fn whenever a leader is lost (true -> false) or found; streams opened with hasleader watch this. */
void kv_on_leader(struct kv *kv, void (*fn)(void *arg, bool has_leader), void *arg);

/* fn gets every query over the peers' port, also of processes that are no members. Without fn the queries are
 * answered as those of members that start (kv/bootstrap.c). */
void kv_on_query(struct kv *kv,
                 void (*fn)(void *arg, struct peer_served_query *question,
                            const struct peer_query_sender *asker, struct slice text),
                 void *arg);

/* --- administrative changes --------------------------------------------------------------------- */
/* A change of users, roles, authentication, members, alarms or the cluster's version, or a client's
 * compaction, that was applied without an error. Borrowed. */
struct kv_admin_change {
    uint64_t index;  /* of its log entry */
    uint64_t member; /* that proposed it; 0 = whoever led */
    bool is_own;     /* of a member itself: no client is behind it */
    struct author author;
    const ProtobufCMessage *message; /* the request, or a MembershipChange */
};

/* fn gets each on every member, when it is applied: after a start also those again that the store had not
 * committed. An installed snapshot leaves out what it replaces. fn must start no request. To be set
 * before the first kv_turn. */
void kv_on_admin(struct kv *kv, void (*fn)(void *arg, const struct kv_admin_change *change), void *arg);

/* --- continuous backup -------------------------------------------------------------------------- */
/* A log entry that this member has applied. */
struct kv_applied {
    uint64_t index, term;
    int64_t revision;  /* after it */
    struct slice data; /* borrowed; none: it changed nothing that a backup keeps (refused, tokens, members) */
};

/* fn gets each entry right after it was applied, in order; it must not call this interface. An installed
 * snapshot leaves out the entries that it replaces. To be set before the first kv_turn. */
void kv_on_entry(struct kv *kv, void (*fn)(void *arg, const struct kv_applied *entry), void *arg);
uint64_t kv_applied_index(const struct kv *kv, uint64_t *ret_term);
/* Before each commit of the store fn writes bytes that become durable with it, in place of those before. fn
 * NULL: it is called a last time, and later commits have the same bytes. To be set before the first
 * kv_turn. */
void kv_on_commit(struct kv *kv, void (*fn)(void *arg, struct buf *out), void *arg);
/* These bytes, as of the store's last commit; before the first kv_turn. Valid until the next call. */
MUST_CHECK int kv_note(struct kv *kv, struct slice *ret_note);
/* The entries after index stay in the log, while its files have at most 256 MiB and what
 * snapshot_catchup_disk_bytes allows. 0 = none needs to. */
void kv_keep_log(struct kv *kv, uint64_t index);
/* Reads applied entries from the log, from the index `from` on: up to 1 MiB, at least one; without their
 * revisions, and also with the bytes of entries that were refused. fn comes once, perhaps from inside this
 * call; the entries are borrowed. ERR_NOT_FOUND: the log was cut. ERR_IO, ERR_CORRUPT. False: there is none, or
 * the log is being read already; try again in a later turn. */
bool kv_read_log(struct kv *kv, uint64_t from,
                 void (*fn)(void *arg, int err, const struct kv_applied *list, size_t count), void *arg);
void kv_read_log_cancel(struct kv *kv); /* fn is not called any more */
/* A sentence that Status of this member has among its errors, until another one or NULL. Copied. */
void kv_set_notice(struct kv *kv, const char *text);

/* --- member to member --------------------------------------------------------------------------- */
enum { KV_TOPICS_MAX = 16, KV_MEMBER_RPC_BYTES_MAX = 1 << 20 /* of a question, of an answer */ };

/* Topics. Members of several versions must agree on the numbers: one is never used for another topic. */
enum kv_topic {
    KV_TOPIC_SUBSCRIBERS = 1, /* registry/survey.h */
    KV_TOPIC_LISTENERS = 2,   /* config/listen_wire.h */
    KV_TOPIC_LEVEL = 3,       /* kv/feature_level.c */
    KV_TOPIC_CHECKS = 4,      /* registry/check_share.h */
    KV_TOPIC_REPORTS = 5,     /* registry/check_report.h */
};

struct kv_member_request; /* a question that waits for its answer */

/* A question to other members' memories; nothing of it goes through the log. The caller embeds it, sets the
 * two callbacks, and may free it in done or after kv_member_rpc_cancel. */
struct kv_member_rpc {
    /* Once per member that answered; the answer is borrowed. */
    void (*on_answer)(struct kv_member_rpc *a, uint64_t member_id, struct slice answer);
    /* Once, at the end, never from inside the call that started it: all have answered, or cannot any more, or
     * time is over, or the store closes. asked is 0 when no member can be reached, and when 64 calls of this
     * member are under way already. */
    void (*done)(struct kv_member_rpc *a, size_t asked, size_t answered);
    /* Private to consensus/kv/. */
    struct link link;
    uint64_t number, due_ms, *waiting;
    size_t asked, answered, left;
};

/* Asks every other member that can be reached now, learners too, and not itself. The question is copied. */
void kv_member_rpc_to_all(struct kv *kv, struct kv_member_rpc *a, unsigned topic, struct slice question,
                          uint64_t timeout_ms);
/* Asks the leader alone. If this member leads, its own handler is called in a later turn. No leader: asked is
 * 0. A member that does not lead any more when the question comes refuses it. */
void kv_member_rpc_to_leader(struct kv *kv, struct kv_member_rpc *a, unsigned topic, struct slice question,
                             uint64_t timeout_ms);
void kv_member_rpc_cancel(struct kv *kv, struct kv_member_rpc *a); /* no callback comes any more */
/* fn answers the questions of a topic; NULL: they are refused. fn answers each question exactly once, at once
 * or later, but not after kv_close. The question is borrowed. At most 64 questions of one member wait, 256 of
 * all; more are refused. */
void kv_member_rpc_handle(struct kv *kv, unsigned topic,
                          void (*fn)(void *arg, struct kv_member_request *q, struct slice question),
                          void *arg);
void kv_member_request_answer(struct kv *kv, struct kv_member_request *q, struct slice answer);

/* --- streams ------------------------------------------------------------------------------------ */
/* Everything else of a watch stream is in consensus/store/watch.h: create, cancel, progress, next, close. */
struct watch_stream *kv_watch_open(struct kv *kv, void (*on_ready)(void *arg), void *arg);

/* --- snapshots for clients ----------------------------------------------------------------------- */
struct kv_export;

struct kv_export_progress {
    uint64_t size; /* of all blocks; known with the first one */
    int64_t revision;
    uint64_t index; /* of the last entry in it; 0 = it has not begun */
    bool is_done;   /* everything was handed out; digest is the SHA-256 of it */
    uint8_t digest[32];
};

/* This member's state as one file, in blocks, made while it is read: consensus/store/export.h. At most
 * max_snapshots run at once; others wait in line, for a minute. on_ready: kv_export_next has something new;
 * it may be called from anywhere and must not call this file. */
struct kv_export *kv_export_open(struct kv *kv, void (*on_ready)(void *arg), void *arg);
/* The next block, valid until the next call; size 0: none yet, or the end. The errors of store_export_next,
 * and ERR_TOO_MANY_REQUESTS: too many wait, or it has waited too long; ERR_SNAPSHOT_UNREAD: no block was
 * taken for 30 s. */
MUST_CHECK int kv_export_next(struct kv_export *e, struct slice *ret_block,
                              struct kv_export_progress *ret_progress);
void kv_export_close(struct kv_export *e); /* at any time */

#endif
