/* SPDX-License-Identifier: Apache-2.0
 * etcd's database file (db, and snapshots, of etcd 3.4 to 3.7): our state as etcd's buckets, and back.
 *
 *   bucket           key                        value
 *   key              revision (etcd_row.h)      mvccpb.KeyValue
 *   meta             consistent_index, term     8 bytes BE each
 *                    confState                  raftpb.ConfState as JSON
 *                    scheduledCompactRev,
 *                    finishedCompactRev         a revision, as a key of "key" has it
 *                    storageVersion             3.7.0
 *   lease            id, 8 bytes BE             leasepb.Lease
 *   alarm            AlarmMember                -
 *   cluster          clusterVersion             3.7.0
 *                    downgrade                  JSON
 *   members          id in hexadecimal          JSON
 *   members_removed  id in hexadecimal          removed
 *   auth             authEnabled, authRevision  1 byte; 8 bytes BE
 *   authUsers        name                       authpb.User
 *   authRoles        name                       authpb.Role
 *
 * An export leaves out the state that etcd does not have: the feature level, the identity of a snapshot, the revision of
 * a password (tokens do not outlive a restore). */
#ifndef CONSENSUS_ETCD_DB_ETCD_DB_H
#define CONSENSUS_ETCD_DB_ETCD_DB_H

#include "consensus/bbolt/bbolt.h"
#include "consensus/io.h"
#include "consensus/store/export_format.h"

/* The format of Maintenance.Snapshot. finish: ERR_CORRUPT also for a row that cannot be read. */
extern const struct export_format export_etcd;

/* Gives the bytes of such a file for a store: what Maintenance.Snapshot of a server on it would send, in order.
 * Blocking; it holds one view of the backend. ERR_CORRUPT: a row cannot be read; errors of the backend and of
 * `write`. */
MUST_CHECK int etcd_db_convert(struct backend *b, int (*write)(void *arg, struct slice bytes), void *arg);

/* --- a file, opened for reading ----------------------------------------------------------------------
 *
 * Errors come with one sentence in `error` (which file, which page or row, what is wrong), at least 256
 * bytes. Blocking; one thread at a time. */
struct etcd_db;

enum { ETCD_DB_DIGEST_SIZE = 32 };

enum etcd_db_digest {
    ETCD_DB_CHECK,        /* a snapshot: the SHA-256 at its end must be right */
    ETCD_DB_CHECK_IF_ANY, /* a snapshot or a database file, which has no SHA-256 */
    ETCD_DB_SKIP,         /* the same, and the SHA-256 of a snapshot is not checked */
};

/* The source has all bytes, with the SHA-256 of a snapshot; its arg must live until etcd_db_close. name is for
 * errors. ERR_MALFORMED (not such a file), ERR_CORRUPT (damaged), or the source's error. */
MUST_CHECK int etcd_db_open(const struct bbolt_source *source, const char *name, enum etcd_db_digest digest,
                            char *error, size_t error_size, struct etcd_db **ret_db);
void etcd_db_close(struct etcd_db *db); /* NULL is allowed */

/* True if a file of this size ends with a SHA-256. */
bool etcd_db_has_digest(uint64_t size);
/* The SHA-256 at the end of such a file, and the one of its other bytes. An error is the source's. */
MUST_CHECK int etcd_db_digests(const struct bbolt_source *source, uint8_t ret_wanted[ETCD_DB_DIGEST_SIZE],
                               uint8_t ret_digest[ETCD_DB_DIGEST_SIZE]);

/* How far etcd had come when it wrote the file. */
struct etcd_db_marks {
    uint64_t index, term; /* of the last entry of the log that it has; 0 = the file has none */
    size_t members;       /* of etcd's cluster */
};

/* Errors as for etcd_db_open. */
MUST_CHECK int etcd_db_read_marks(struct etcd_db *db, struct etcd_db_marks *ret_marks, char *error,
                                  size_t error_size);

/* Calls fn for each row of a bucket, in order; a bucket that is not there has none. fn returns an error to
 * stop, with its own sentence in `error`. */
MUST_CHECK int etcd_db_walk(struct etcd_db *db, const char *bucket,
                            int (*fn)(void *arg, struct slice key, struct slice value), void *arg,
                            char *error, size_t error_size);

/* The values that `snapshot status` prints. */
struct etcd_db_status {
    uint32_t hash; /* CRC-32C over names, keys and values of all buckets, as etcdutl has it */
    int64_t revision;
    uint64_t keys;    /* live ones */
    uint64_t rows;    /* of all buckets: the keys that etcdctl 3.4 counts */
    uint64_t size;    /* bytes of the file, without a digest */
    char version[32]; /* of the storage; "" before etcd 3.6 */
};

/* Reads every row. Errors as for etcd_db_open. */
MUST_CHECK int etcd_db_read_status(struct etcd_db *db, struct etcd_db_status *ret_status, char *error,
                                   size_t error_size);

/* etcd's HashKV of the file, at a revision or, with 0, at the latest one. compact_revision is -1 when nothing
 * was compacted. Memory: all keys. ERR_COMPACTED and ERR_FUTURE_REV without a sentence; others as for
 * etcd_db_open. */
struct etcd_db_hash {
    uint32_t hash;
    int64_t revision, compact_revision;
};

MUST_CHECK int etcd_db_hash_kv(struct etcd_db *db, int64_t revision, struct etcd_db_hash *ret_hash,
                               char *error, size_t error_size);

/* Entries of etcd's log that the file does not have (etcd_log.h). They come after the restored state in the new
 * member's log, committed, so cairnd applies them at its first start like any others. */
struct etcd_db_tail {
    uint64_t after, term; /* at least what etcd_db_marks says */
    size_t count;
    /* The data of entry i, which lives until the next call; empty = it changes nothing. */
    int (*read)(void *arg, size_t i, struct slice *ret_data, char *error, size_t error_size);
    void *arg;
};

/* --- restore -----------------------------------------------------------------------------------------
 *
 * Writes the data of one member of a new cluster: the store's file and a log that begins with it. Members
 * that are restored from the same file with the same cluster agree without communication. Their first index
 * is above that of a member that begins empty, so such a member gets a snapshot. The log may be tended until io
 * is freed: then the folder may be renamed. */
enum { ETCD_DB_FIRST_INDEX = 2 };

struct etcd_db_replayed {
    uint64_t index, term;
    int64_t revision;
};

struct etcd_db_restore {
    const char *store_path; /* does not exist */
    const char *wal_dir;    /* does not exist, or is empty */
    const char *name;       /* this member; it is one of the cluster */
    const char *token;      /* --initial-cluster-token */
    const struct etcd_db_member {
        const char *name, *peer_url;
    } * cluster; /* one for each peer URL */
    size_t cluster_count;
    uint64_t wal_segment_bytes;      /* 0 = 8 MiB with a tail, 64 KiB without */
    const struct etcd_db_tail *tail; /* NULL = none */
    int64_t until_revision;          /* later changes are left out; leases, users stay the file's; 0 = all */
    uint64_t bump_revision;          /* added to the latest revision, which then is compacted; 0 = neither */
    void (*on_progress)(void *arg, uint64_t bytes); /* read so far; may be NULL */
    void *arg;
    /* NULL, or: changes the store's file before the log begins with it, and sets the applied mark that it
     * then has; the same arg. An error comes with its sentence. The file's entry `index` is the store's entry
     * index + ETCD_DB_FIRST_INDEX, its term one more. */
    int (*replay)(void *arg, const char *store_path, struct etcd_db_replayed *ret, char *error,
                  size_t error_size);
    void (*run_loop)(void *arg); /* one turn of io's loop; called until the log is written */
    void *run_loop_arg;
    /* NULL = LMDB */
    int (*backend_open)(struct io *io, const char *path, uint64_t map_size, char *error, size_t error_size,
                        struct backend **ret_backend);
};

struct etcd_db_restored {
    int64_t revision;
    uint64_t keys, leases, users, roles; /* keys: changes that were copied */
    uint64_t index;                      /* the last entry in the store's file */
    uint64_t member_id, cluster_id;
};

/* ERR_INVALID: the cluster's members. ERR_COMPACTED, ERR_FUTURE_REV: until_revision. ERR_MALFORMED, ERR_CORRUPT:
 * the file. ERR_IO, ERR_NO_DISK_SPACE. Each with its sentence. After an error the caller deletes what was begun. */
MUST_CHECK int etcd_db_restore(struct io *io, struct etcd_db *db, const struct etcd_db_restore *options,
                               struct etcd_db_restored *ret_restored, char *error, size_t error_size);

#endif
