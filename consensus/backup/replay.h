/* SPDX-License-Identifier: Apache-2.0
 * Replay: the entries of a backup's log, applied to a store's file that was made from its snapshot
 * (etcd_db_restore.replay).
 *
 * Only entries that the member applied without an error have bytes, so no right and no alarm is checked again.
 * After each entry the store's revision must be the one that the member recorded. */
#ifndef CONSENSUS_BACKUP_REPLAY_H
#define CONSENSUS_BACKUP_REPLAY_H

#include "consensus/backup/format.h"
#include "consensus/etcd_db/etcd_db.h"

struct replay;

struct replay_options {
    struct io *io;
    const char *store_path;
    uint32_t election_ms;        /* backup_header */
    uint64_t index, term;        /* of the store's file, as the archive has them */
    void (*run_loop)(void *arg); /* one turn of io's loop */
    void *run_loop_arg;
    int (*backend_open)(struct io *io, const char *path, uint64_t map_size, char *error, size_t error_size,
                        struct backend **ret_backend); /* NULL = LMDB */
    char *error;
    size_t error_size;
};

/* Errors come with a sentence. After one of them only replay_close may be called. */
MUST_CHECK int replay_open(const struct replay_options *options, struct replay **ret_replay);
/* An entry, the next one, or a hash: it is computed and compared. ERR_CORRUPT: another result than the
 * member's. */
MUST_CHECK int replay_record(struct replay *r, const struct backup_record *record);
/* HashKV of the present state. */
MUST_CHECK int replay_hash_kv(struct replay *r, struct etcd_db_hash *ret_hash);
uint64_t replay_hashes(const struct replay *r); /* that were compared, and equal */
/* Commits everything. bump_revision as in etcd_db_restore. */
MUST_CHECK int replay_finish(struct replay *r, uint64_t bump_revision, struct etcd_db_replayed *ret);
void replay_close(struct replay *r); /* NULL is allowed */

#endif
