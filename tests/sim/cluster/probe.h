/* SPDX-License-Identifier: Apache-2.0
 * A probe of a member's log after a power cut at this moment, when everything without a sync is lost. The
 * probe copies the disk, cuts the power of the copy, and opens the log there with the production code. */
#ifndef TESTS_SIM_CLUSTER_PROBE_H
#define TESTS_SIM_CLUSTER_PROBE_H

#include "tests/sim/cluster/cluster.h"

struct probe {
    uint64_t term, vote;
    uint64_t snapshot_index, last;
    uint64_t entry_term; /* of the requested entry */
};

/* False: the log does not open. */
bool probe_log(const struct machine *m, uint64_t index, struct probe *ret_probe);

#endif
