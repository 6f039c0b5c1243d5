/* SPDX-License-Identifier: Apache-2.0
 * A member's disk in a scenario: the data that survive when the member is restarted. */
#ifndef TESTS_SCENARIO_STORAGE_H
#define TESTS_SCENARIO_STORAGE_H

#include "consensus/raft/raft.h"

struct storage {
    struct raft_hard_state hard_state;
    struct raft_snapshot snapshot; /* the last one installed; the log may begin later */
    uint64_t before_index, before_term;
    struct raft_entry *entries;
    size_t count;
};

void storage_done(struct storage *s);
uint64_t storage_first(const struct storage *s);
uint64_t storage_last(const struct storage *s);
/* NULL, or the error in the words of etcd's memory storage. */
const char *storage_install(struct storage *s, const struct raft_snapshot *snapshot);
const char *storage_append(struct storage *s, const struct raft_entry *entries, size_t count);
const char *storage_compact(struct storage *s, uint64_t index);

/* Snapshots as values that own their data. */
void snapshot_set(struct raft_snapshot *to, const struct raft_snapshot *from);

#endif
