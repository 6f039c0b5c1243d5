/* SPDX-License-Identifier: Apache-2.0
 * A recorded history: operations with their times and outcomes, watches with their responses, and the replay,
 * which holds the server's commits (from its logs, or from a watch of everything). The simulator and clients
 * of real processes record into this, the checkers read it; as NDJSON it moves between programs.
 *
 * Times are nanoseconds of one monotonic clock. While recording they are made strictly increasing, so that
 * the events of one program keep their order. Equal times in a file overlap. */
#ifndef TESTS_CHECK_HISTORY_H
#define TESTS_CHECK_HISTORY_H

#include "base/err.h"
#include "base/mem.h"
#include "base/buf.h"

#define HISTORY_NEVER    INT64_MAX
#define HISTORY_NO_LEASE -1

enum history_kind {
    HISTORY_PUT,
    HISTORY_RANGE,
    HISTORY_DELETE,
    HISTORY_TXN,
    HISTORY_GRANT,
    HISTORY_KEEPALIVE,
    HISTORY_REVOKE,
    HISTORY_COMPACT,
    HISTORY_KINDS
};

enum history_outcome {
    HISTORY_UNKNOWN, /* it may have happened or may happen later: timeouts, lost connections */
    HISTORY_OK,
    HISTORY_FAILED, /* it certainly did not happen: refused before it was proposed, or by a rule of the store */
};

struct history_kv {
    struct slice key, value;
    int64_t create, mod, version, lease;
};

enum history_target { HISTORY_VALUE, HISTORY_MOD, HISTORY_CREATE, HISTORY_VERSION };

enum history_relation { HISTORY_EQUAL, HISTORY_NOT_EQUAL, HISTORY_GREATER, HISTORY_LESS };

struct history_compare {
    struct slice key;
    enum history_target target;
    enum history_relation relation;
    struct slice value; /* for HISTORY_VALUE */
    int64_t number;     /* for the others */
};

/* A put, range or delete: alone, or one of a transaction's. */
struct history_step {
    enum history_kind kind;
    struct slice key, range_end; /* range_end as in etcd: empty = one key, "\0" = to the end */
    struct slice value;          /* put */
    int64_t lease;               /* put */
    int64_t at_revision, limit;  /* range; 0 = none */
    bool is_count_only;          /* range */
    bool wants_prev;             /* put, delete: the pairs before */
};

struct history_steps {
    const struct history_step *items;
    size_t count;
};

struct history_request {
    enum history_kind kind;
    bool is_serializable; /* range, and transactions that only read */
    const struct history_compare *compares;
    size_t compare_count;
    struct history_steps then, otherwise; /* put, range and delete: one step in then */
    int64_t lease;                        /* keepalive, revoke, grant: unique in a history */
    int64_t ttl_s;                        /* grant */
    int64_t compact_revision;
};

struct history_result {
    const struct history_kv *kvs; /* range: found; put, delete: before, if asked for */
    size_t kv_count;
    int64_t count; /* range: in all; delete: deleted */
    bool has_more; /* range */
};

struct history_reply {
    int64_t revision; /* of the header; 0 = unknown */
    bool succeeded;   /* transaction: all compares held */
    const struct history_result *results;
    size_t result_count;
    int64_t ttl_s;      /* grant, keepalive; not above 0: there is no such lease */
    struct slice error; /* for people */
};

struct history_op {
    size_t number; /* place in the history */
    uint32_t client;
    enum history_outcome outcome;
    int64_t call_ns, return_ns; /* HISTORY_NEVER: did not return */
    struct history_request request;
    struct history_reply reply;
};

struct history_change {
    bool is_delete; /* then only key and mod count */
    struct history_kv kv;
};

/* One committed transaction. A replay of logs may have 0 for create and version: unknown. */
struct history_commit {
    int64_t revision;
    const struct history_change *changes; /* in their order within the revision */
    size_t count;
    /* The author, as far as the recorder knows it: the lease that expired, or HISTORY_NO_LEASE; 0 =
     * unknown. */
    int64_t ended_lease;
};

struct history_event {
    struct history_change change;
    bool has_prev;
    struct history_kv prev;
};

/* A response that is neither created nor canceled and has no events is a progress notification. */
struct history_response {
    int64_t time_ns;
    int64_t revision; /* of the header */
    bool is_created, is_canceled;
    bool is_fragment;         /* the rest of the last revision follows */
    int64_t compact_revision; /* canceled because of it; 0 = for another reason */
    const struct history_event *events;
    size_t event_count;
};

struct history_watch {
    size_t number;
    uint32_t client;
    int64_t call_ns;
    struct slice key, range_end;
    int64_t start_revision; /* 0 = from now on */
    bool excludes_puts, excludes_deletes, wants_prev, allows_fragments;
    int64_t complete_to; /* the run's own knowledge: all up to here had time to arrive. 0 = unknown */
    struct history_response *responses;
    size_t count, capacity;
};

/* Valid when zeroed. Requests and so on are copied deeply. */
struct history {
    struct arena arena;
    int64_t now_ns;
    struct history_op **ops;
    size_t op_count, op_capacity;
    struct history_watch **watches;
    size_t watch_count, watch_capacity;
    struct history_commit *commits; /* in any order */
    size_t commit_count, commit_capacity;
};

void history_done(struct history *h);
/* The operation is of unknown outcome until history_return. */
struct history_op *history_call(struct history *h, uint32_t client, int64_t now_ns,
                                const struct history_request *request);
/* reply may be NULL. Of an unknown outcome only the time is kept. */
void history_return(struct history *h, struct history_op *op, int64_t now_ns, enum history_outcome outcome,
                    const struct history_reply *reply);
/* Adds a watch with the request's fields of w. */
struct history_watch *history_watch_open(struct history *h, uint32_t client, int64_t now_ns,
                                         const struct history_watch *w);
void history_watch_add(struct history *h, struct history_watch *w, int64_t now_ns,
                       const struct history_response *response);
void history_commit_add(struct history *h, const struct history_commit *commit);
/* The replay from a watch of all keys from revision 1 or 2 that was delivered whole. */
void history_commits_from_watch(struct history *h, const struct history_watch *w);

/* One step in memory for the requests that have one. */
struct history_request history_one_step(const struct history_step *step);

bool history_in_range(struct slice key, struct slice from, struct slice range_end);
const char *history_kind_name(enum history_kind kind);
/* "#12 put a=1 by client 3", for findings. */
void history_describe(struct buf *b, const struct history_op *op);
void history_add_quoted(struct buf *b, struct slice bytes); /* "a\x00", long ones cut */

/* NDJSON: a line each for operations, watches with their responses, commits. Bytes that are no UTF-8 are
 * {"base64":"..."}; fields that are 0, false or empty are left out. Reading adds to h, times as they are. */
void history_write(const struct history *h, struct buf *out);
MUST_CHECK int history_read(struct history *h, struct slice text, size_t *ret_line, char *error,
                            size_t error_size);

#endif
