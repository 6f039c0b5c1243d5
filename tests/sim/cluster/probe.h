/* SPDX-License-Identifier: Apache-2.0
 * What a member's log would be if its machine lost power now and with it everything that no sync has covered:
 * the disk is copied, the power is cut on the copy, the production code opens the log there. */
#ifndef TESTS_SIM_CLUSTER_PROBE_H
#define TESTS_SIM_CLUSTER_PROBE_H

#include "tests/sim/cluster/cluster.h"

struct probe {
    uint64_t term, vote;
    uint64_t snapshot_index, last;
    uint64_t entry_term; /* of the entry that was asked for */
};

/* False: the log does not open. */
bool probe_log(const struct machine *m, uint64_t index, struct probe *ret_probe);

#endif
