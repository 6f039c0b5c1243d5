/* SPDX-License-Identifier: Apache-2.0
 * Private header of backend_lmdb.c and backend_lmdb_pack.c; no other file includes it.
 *
 * A backend has one LMDB environment, except while a packed file replaces the old one (backend_lmdb_pack.c).
 * Then commits go to `store` and the loop's views read `loop_env`. An environment is closed when its last
 * user has released it. */
#ifndef CONSENSUS_STORE_BACKEND_LMDB_H
#define CONSENSUS_STORE_BACKEND_LMDB_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "consensus/store/backend.h"

struct lmdb_env {
    MDB_env *env;
    MDB_dbi tables[BACKEND_TABLES];
    unsigned page_size;
    int fd;
    void *map; /* found at opening; NULL = not found */
    size_t map_size;
    _Atomic uint64_t in_use; /* bytes; written by the worker */
    unsigned users;          /* under lmdb.lock */
};

struct backend_view {
    MDB_txn *txn; /* reset while the view is closed */
    struct lmdb *owner;
    struct lmdb_env *env;
};

struct lmdb {
    struct backend base;
    pthread_mutex_t lock;
    struct lmdb_env *store;    /* of the last commit; the worker sets it under lock */
    struct lmdb_env *loop_env; /* the loop's views read it; the loop's */
    struct backend_view view;  /* the loop thread needs one at a time */
    char *path;
    uint64_t map_size;
    bool is_unsynced;       /* commits are not synced */
    struct lmdb_pack *pack; /* NULL = none under way; the worker's */
};

int lmdb_err(int rc);
/* flags: LMDB flags in addition to those that every environment has. Returns an LMDB error code. */
MUST_CHECK int lmdb_env_open(const char *path, uint64_t map_size, unsigned flags, struct lmdb_env **ret);
/* Adds a user of the environment that commits go to; any thread. */
struct lmdb_env *lmdb_env_use(struct lmdb *l);
void lmdb_env_release(struct lmdb *l, struct lmdb_env *e);
void lmdb_env_trim(const struct lmdb_env *e);
void lmdb_count_pages(struct lmdb_env *e, MDB_txn *txn);
/* Syncs the folder of the file at path. Returns an errno. */
MUST_CHECK int lmdb_sync_folder(const char *path);
/* Executes the ops whose rows the pack has copied; without a pack, all ops. Returns an LMDB error code. */
MUST_CHECK int lmdb_run_ops(struct lmdb_env *e, MDB_txn *txn, const struct lmdb_pack *copied,
                            const struct backend_op *ops, size_t count, uint64_t *freed);

/* backend_lmdb_pack.c: the pack of struct backend_ops, with its errors. */
MUST_CHECK int lmdb_pack_begin(struct backend *b, uint64_t live, struct backend_pack *p);
MUST_CHECK int lmdb_pack_step(struct backend *b, size_t bytes, struct backend_pack *p);
MUST_CHECK int lmdb_pack_rename(struct backend *b, struct backend_pack *p);
void lmdb_pack_switch(struct backend *b);
void lmdb_pack_end(struct backend *b);
bool lmdb_pack_has_copied(const struct lmdb_pack *pack, const struct backend_op *op);
/* Applies the changes of a commit to the packed file; after each commit. */
void lmdb_pack_follow(struct lmdb *l, const struct backend_op *ops, size_t count);
/* Deletes the files that a killed process left beside the store. */
void lmdb_pack_clean(const char *path);

#endif
