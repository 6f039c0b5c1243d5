/* SPDX-License-Identifier: Apache-2.0
 * The diagnosis of `cairnctl doctor`, from facts about a cluster. Pure. */
#ifndef SDK_CTL_DOCTOR_H
#define SDK_CTL_DOCTOR_H

#include "base/json.h"

/* Returns the findings for the facts; absent facts are unknown.
 *
 * facts:
 *     {"endpoints": [{"endpoint", "error"}],
 *      "members": [{"id", "name", "peer_url", "endpoint", "reachable", "error",
 *                   "role": leader|follower|learner, "leader" (an id), "cluster_id", "version",
 *                   "db_size", "db_size_in_use", "db_size_quota", "index", "errors"}],
 *      "alarms": [{"member", "alarm"}],
 *      "lost": [{"service", "instances"}],
 *      "auth": bool}
 *
 * result, the worst finding first:
 *     {"healthy": bool, "findings": [{"level": bad|warn|fine|info, "what", "do"}]} */
json_t *ctl_diagnose(const json_t *facts);

#endif
