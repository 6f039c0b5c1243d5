/* SPDX-License-Identifier: Apache-2.0
 * The audit trail: one record for each write of the native API, in the store and as a line of JSON.
 *
 * - A record lies in the same transaction as the change that it reports, so neither exists without the other.
 *   It names the author, the time and what was changed; never a content, a password or a token.
 * - A refused attempt is a record of its own, written afterwards, at most AUDIT_REFUSED_BURST of them at once
 *   and one a second for longer; the next one says how many were left out.
 * - Keys begin with AUDIT_PREFIX and sort the newest record first, by the clock of the member that carried
 *   the request out. So a page of the newest ones is a short range, and old ones lie together at the end.
 * - The leader deletes what is older than the retention time or beyond the retention bytes.
 * - When the store is nearly full a record is left out instead of its change: what frees room must work. The
 *   line is written all the same, and METRIC_AUDIT_OMITTED counts it.
 *
 * Administrative operations of etcd's API, and those of members themselves, are in audit_etcd.h: each has a
 * line, and a record only on request, because a record is a revision that etcd does not count. Writes of keys
 * have neither. Loop thread only. */
#ifndef CONSENSUS_AUDIT_H
#define CONSENSUS_AUDIT_H

#include "base/author.h"
#include "consensus/kv.h"
#include "proto/txn.h"

#define AUDIT_PREFIX        "/cairn/audit/"
#define AUDIT_KEY_SIZE      (sizeof AUDIT_PREFIX - 1 + 13 + 1 + 16 + 1 + 16)
#define AUDIT_REFUSED_BURST 20
/* Operations that a record adds to its transaction, above --max-txn-ops. */
#define AUDIT_OPS 1

struct audit;

struct audit_options {
    struct kv *kv;
    bool records_etcd;        /* operations of etcd's API too; else they have lines only */
    uint64_t retention_ms;    /* 0 = no limit */
    uint64_t retention_bytes; /* of keys and values; 0 = no limit */
    /* Gets each record's line, without a newline; NULL = none. It must not call this interface. */
    void (*on_line)(void *arg, struct slice line);
    void *arg;
};

struct audit_change {
    const char *kind;      /* "config", "service", "override", "user", "role", "auth", "member", … */
    const char *operation; /* "publish", "delete", … */
    struct slice ns, group, name;
    struct slice id;        /* of an instance; empty = none */
    struct slice emergency; /* the reason for a change without a review; empty = none */
    uint64_t seq;           /* of the release; 0 = none */
};

struct audit_record {
    struct author author;
    int64_t time_ms;    /* of reading; a writer's is the time of the call */
    struct slice error; /* the code of a refusal; empty: the change was made */
    uint64_t index;     /* of the log entry that made the change; 0 = none, or the record's own */
    int64_t omitted;    /* refusals before this one that have no record */
    struct audit_change *changes;
    size_t count;
};

struct audit *audit_new(const struct audit_options *options);
void audit_free(struct audit *a); /* before the kv is closed; NULL is fine */
void audit_turn(struct audit *a); /* in each turn, after kv_turn; NULL is fine */

/* Adds the record to a branch of the transaction; call it last, once for each time that the transaction is
 * built. The text lies in the transaction's arena. a NULL: there is no audit trail, the text is empty. */
struct slice audit_add(struct audit *a, struct txn *t, enum txn_side side, const struct audit_record *r);
/* The transaction with this text has succeeded on the record's side. */
void audit_written(struct audit *a, struct slice text);
/* Reports an attempt that was refused. */
void audit_refused(struct audit *a, const struct audit_record *r);

/* A line alone; the time is that of the call. */
void audit_line(struct audit *a, const struct audit_record *r);

/* --- operations of etcd's API ---------------------------------------------------------------------- */
/* Describes a request of etcd's API, or a MembershipChange; never with a password or a value. False: it
 * is no administrative operation. */
bool audit_describe(const ProtobufCMessage *m, struct arena *a, struct audit_change *ret);
/* Reports an operation that is no entry of the log: a snapshot, a defragmentation. */
void audit_done(struct audit *a, const struct audit_record *r);
/* The same as audit_refused, for etcd's API. */
void audit_etcd_refused(struct audit *a, const struct audit_record *r);

/* Keys of a moment: records of this time and earlier ones are at this key or behind it. */
void audit_key_from(int64_t time_ms, struct buf *out);
/* Reads a record from the store. Its slices lie in the arena. ERR_MALFORMED, ERR_INVALID. */
MUST_CHECK int audit_read(struct slice text, struct arena *a, struct audit_record *ret);

/* Which changes a reader wants: those that have all of the given texts. */
enum audit_field { AUDIT_KIND, AUDIT_USER, AUDIT_NAME, AUDIT_NAMESPACE, AUDIT_FIELDS };
struct audit_filter {
    struct slice texts[AUDIT_FIELDS];
    bool has[AUDIT_FIELDS]; /* the others are not compared */
};
/* Appends an object for each change that the filter wants of the record that this key has: the fields of the
 * change and of its record, and besides
 *   record    the key after AUDIT_PREFIX: all changes of one transaction have the same
 *   revision  of the store
 * Returns their number; 0 also for a key that is no record (a client of etcd's API has written it). */
size_t audit_write_changes(const Mvccpb__KeyValue *pair, const struct audit_filter *f, struct json_writer *w);

#endif
