/* SPDX-License-Identifier: Apache-2.0
 * A model of the log after each batch of a script, and a machine with a log on a simulated disk, for the
 * tests of the log. A recovery must give the model after some batch, and no earlier one than was
 * acknowledged as durable. */
#ifndef TESTS_UNIT_WAL_MODEL_H
#define TESTS_UNIT_WAL_MODEL_H

#include "consensus/wal/wal.h"
#include "tests/sim/sim_io.h"

enum { WAL_MODEL_ENTRIES = 128, WAL_RUN_STEPS = 64, WAL_LONG_SCRIPT_STEPS = 29 };

extern const char wal_machine_dir[];

struct wal_model_entry {
    uint64_t term, hash;
};

struct wal_model {
    struct wal_hard_state hard_state;
    uint64_t snapshot_index, snapshot_term;
    uint64_t first, last; /* entries known: first..last; first 0 = none */
    struct wal_model_entry entries[WAL_MODEL_ENTRIES];
};

/* The callbacks of a replay into a model. */
int wal_model_entry(void *arg, const struct wal_entry *e);
int wal_model_hard_state(void *arg, const struct wal_hard_state *s);
int wal_model_snapshot(void *arg, uint64_t index, uint64_t term);
/* `found` may lack entries up to its snapshot, nothing else. */
bool wal_model_matches(const struct wal_model *found, const struct wal_model *want);

struct wal_machine {
    struct sim_disk *disk;
    struct sim_clock clock;
    struct io *io;
    struct wal *wal;
    struct wal_result result;
    int done_count;
    char error[256];
    uint64_t segment_size;
};

void wal_machine_start(struct wal_machine *m, struct sim_disk *disk, uint64_t seed);
void wal_machine_stop(struct wal_machine *m);
int wal_machine_create(struct wal_machine *m);
int wal_machine_open(struct wal_machine *m, struct wal_model *found);
int wal_machine_submit(struct wal_machine *m, bool needs_sync); /* and waits for its end */
void wal_machine_add(struct wal *w, uint64_t index, uint64_t term, size_t size);

/* One batch. */
struct wal_step {
    uint64_t index, term; /* first entry; 0 = no entries */
    int count;
    size_t size;       /* of each entry's data */
    uint64_t commit;   /* a hard state of term + 1 and vote 7; 0 = none */
    uint64_t snapshot; /* 0 = none */
    uint64_t release;  /* a mark in the next batch, and wal_release; 0 = none */
    bool is_lazy;      /* needs no sync */
};

/* Small, large and oversized batches, overwritten tails, lazy batches at the ends of segments, releases that
 * recycle and that unlink. */
extern const struct wal_step wal_long_script[WAL_LONG_SCRIPT_STEPS];

struct wal_run {
    const struct wal_step *steps;
    size_t count;
    struct wal_model models[WAL_RUN_STEPS + 1]; /* models[n]: after n batches */
    size_t durable;                             /* batches that were acknowledged as durable */
    size_t submitted;
};

void wal_run_init(struct wal_run *r, const struct wal_step *steps, size_t count);
void wal_model_step(struct wal_model *m, const struct wal_step *s);
/* Executes the script; the journal's mark is 1 + the batches acknowledged as durable. Ends at errors. */
int wal_run_script(struct wal_run *r, struct wal_machine *m);
/* The number of batches that the recovered log stands for, at least `durable`; -1: it is none of them. */
int wal_run_find(const struct wal_run *r, const struct wal_model *found, size_t durable);
/* A new log, the whole script, a clean end. */
void wal_run_once(struct wal_run *r, struct sim_disk *disk);

#endif
