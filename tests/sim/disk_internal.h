/* SPDX-License-Identifier: Apache-2.0
 * Private declarations that disk.c and crash.c share. */
#ifndef TESTS_SIM_DISK_INTERNAL_H
#define TESTS_SIM_DISK_INTERNAL_H

#include "tests/sim/disk.h"

struct sim_op {
    enum sim_op_kind kind;
    size_t inode;
    uint64_t at; /* write: offset; truncate: size; mark: the mark */
    struct buf data;
    char *path, *to;
    bool has_failed; /* a sync that returned an error */
};

struct sim_ops {
    struct sim_op *rows;
    size_t count, capacity;
};

struct sim_name {
    char *path;
    size_t inode;
};

struct sim_names {
    struct sim_name *rows; /* sorted by path */
    size_t count;
};

struct sim_disk {
    struct buf *live, *durable; /* contents by inode */
    size_t inode_count;
    struct sim_names names, durable_names;
    struct sim_names locks;
    struct sim_ops pending; /* not synced, oldest first */
    struct sim_disk *base;  /* as it was when the journal began; NULL = no journal */
    struct sim_ops journal;
    unsigned fail_kinds, ignored;
    uint64_t fail_in;
    int fail_err;
    bool fail_stays;
    uint64_t op_count, space;
};

/* The fate of one unsynced operation in a crash; from, to and grows are a write's. */
struct sim_fate {
    bool is_lost;
    bool grows;        /* the file gets its new size whatever is written */
    uint64_t from, to; /* these bytes of the data are written */
};

static const struct sim_fate sim_fate_kept = {.grows = true, .to = UINT64_MAX};

struct sim_fate sim_fate_draw(const struct sim_op *op, uint64_t *seed);
void sim_ops_add(struct sim_ops *list, const struct sim_op *op); /* copies */
void sim_ops_done(struct sim_ops *list);
void sim_disk_apply(struct sim_disk *d, const struct sim_op *op);
/* order NULL = as they came */
struct sim_disk *sim_disk_after_crash(const struct sim_disk *d, const struct sim_fate *fates,
                                      const size_t *order);

#endif
