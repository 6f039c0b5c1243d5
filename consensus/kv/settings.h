/* SPDX-License-Identifier: Apache-2.0
 * Settings of one member: what kv_open was given and does not change until kv_close. Every part may read
 * them; none writes them. */
#ifndef CONSENSUS_KV_SETTINGS_H
#define CONSENSUS_KV_SETTINGS_H

#include "consensus/kv.h"

struct kv_settings {
    char *data_dir, *member_dir, *name; /* owned */
    char **client_urls;                 /* owned, as each of them */
    size_t client_url_count;
    uint64_t request_bytes_max, txn_ops_max, election_ms;
    int64_t quota_bytes;         /* 0 = none */
    uint64_t limit_ms;           /* how long a request waits at most */
    uint64_t log_disk_bytes_max; /* 0 = no limit */
    uint64_t check_interval_ms;  /* between two comparisons of the members' states; 0 = never */
    uint64_t slow_apply_ns;      /* a warning comes for what takes longer */
    int64_t slice_units;         /* for tests: each slice is so long; 0 = by the clock */
    unsigned learners_max;       /* for the changes that this member proposes */
    bool strict_reconfig, promotes_learners, requires_peer_proof;
};

#endif
