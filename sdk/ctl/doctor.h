/* SPDX-License-Identifier: Apache-2.0
 * What is wrong with a cluster, by what was gathered about it. Pure. */
#ifndef SDK_CTL_DOCTOR_H
#define SDK_CTL_DOCTOR_H

#include "base/json.h"

/* facts: {"endpoints":[{"endpoint","error"}],
 * "members":[{"id","name","peer_url","endpoint","reachable","error","role": leader|follower|learner, "leader"
 * (an id), "cluster_id","version","db_size","db_size_in_use","db_size_quota","index", "errors"}],
 * "alarms":[{"member","alarm"}], "lost":[{"service","instances"}], "auth":bool}; what is not known is not
 * there. Returns {"healthy":bool,"findings":[{"level": bad|warn|fine|info, "what", "do"}]}, the worst first.
 */
json_t *ctl_diagnose(const json_t *facts);

#endif
