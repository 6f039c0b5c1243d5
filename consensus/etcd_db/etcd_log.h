/* SPDX-License-Identifier: Apache-2.0
 * etcd's write-ahead log (member/wal of etcd 3.4 to 3.7), read for an import: the committed entries that its
 * database file does not have yet. etcd commits its database every 100 ms or 10,000 operations, so a member
 * that was killed has some.
 *
 * The reader trusts no byte, and accepts what etcd accepts: a record that a power failure cut off at the end
 * of the last file, and entries that a later leader replaced. Memory: 32 bytes for each entry behind the
 * database. Pure, except for the functions of the sources. One thread at a time. */
#ifndef CONSENSUS_ETCD_DB_ETCD_LOG_H
#define CONSENSUS_ETCD_DB_ETCD_LOG_H

#include "consensus/bbolt/bbolt.h"
#include "consensus/etcd_db/etcd_db.h"

/* One file of the log. The name is for errors. */
struct etcd_log_file {
    const char *name;
    struct bbolt_source source;
};

struct etcd_log;

/* Reads all files, the oldest first, and checks the chain of checksums. It keeps the places of the entries
 * with an index above `after`. The files, their names and sources, must live until etcd_log_free. ERR_CORRUPT
 * with one sentence (file, offset, what); other errors are the source's. on_progress may be NULL; it gets the
 * bytes read so far. */
MUST_CHECK int etcd_log_read(const struct etcd_log_file *files, size_t count, uint64_t after,
                             void (*on_progress)(void *arg, uint64_t bytes), void *arg, char *error,
                             size_t error_size, struct etcd_log **ret_log);
void etcd_log_free(struct etcd_log *log); /* NULL is allowed */

/* The index of the last snapshot that the log names; a database file that ends before it is too old. */
uint64_t etcd_log_snapshot(const struct etcd_log *log);
/* The offset in the last file where a torn record was cut off; 0 = none was. */
uint64_t etcd_log_torn_at(const struct etcd_log *log);

/* The entries that an import takes, and the number of the others. */
struct etcd_log_plan {
    uint64_t after; /* the index that the database has */
    size_t first;   /* entry: a number for etcd_log_entry */
    size_t count;   /* committed entries after it */
    size_t dropped; /* entries after those: not committed as far as the log tells */
    uint64_t term;  /* of the log */
    bool is_alone;  /* of the only member: each entry of its log is committed */
};

/* Decides which entries are taken: those up to the committed index. A log of the only member of a cluster is
 * taken to its end, because what it wrote is committed. ERR_CORRUPT with a sentence: entries are missing. */
MUST_CHECK int etcd_log_plan(struct etcd_log *log, const struct etcd_db_marks *marks,
                             struct etcd_log_plan *ret_plan, char *error, size_t error_size);

/* How a new member treats an entry of the old log. */
enum etcd_entry_kind {
    ETCD_ENTRY_APPLIED,  /* it is applied there */
    ETCD_ENTRY_PASSWORD, /* of etcd 3.4, with a password as text: applied after etcd_entry_hash_password */
    ETCD_ENTRY_EMPTY,    /* a new leader's; it changes nothing */
    ETCD_ENTRY_CONF,     /* a change of the old cluster's members */
    ETCD_ENTRY_CLUSTER,  /* the old cluster's: its version, names of its members, logins */
    ETCD_ENTRY_KINDS,
};

/* Reads an entry. *ret_data lives until the next call; it is empty unless the kind is APPLIED or PASSWORD. ERR_CORRUPT
 * or ERR_LEVEL with a sentence: it cannot be read, or this version does not know it. */
MUST_CHECK int etcd_log_entry(struct etcd_log *log, size_t i, enum etcd_entry_kind *ret_kind,
                              struct slice *ret_data, char *error, size_t error_size);

/* The kind of an entry's data. ERR_CORRUPT or ERR_LEVEL with a reason (a part of a sentence). */
MUST_CHECK int etcd_entry_check(unsigned type, struct slice data, enum etcd_entry_kind *ret_kind,
                                const char **ret_reason);

enum { ETCD_ENTRY_SALT_SIZE = 16 };

/* Replaces the password of an entry (ETCD_ENTRY_PASSWORD) by its bcrypt hash, as later versions of etcd do
 * before they log it. The salt is a function of the request's id, so that all members that are made from one
 * folder agree. `hash` returns NULL if it cannot: ERR_INTERNAL. ERR_CORRUPT: it is no such entry.
 * After an error *ret_data is empty. */
MUST_CHECK int etcd_entry_hash_password(struct slice data,
                                        const char *(*hash)(void *arg, const char *password,
                                                            const uint8_t salt[ETCD_ENTRY_SALT_SIZE]),
                                        void *arg, struct buf *ret_data);

#endif
