/* SPDX-License-Identifier: Apache-2.0
 * Alarm list: the members that raised NOSPACE or CORRUPT.
 *
 * NOSPACE stops requests that grow the store. CORRUPT stops every change. Only log entries set and clear
 * alarms. They are written to the ALARMS table in the same transaction. */
#ifndef CONSENSUS_NODE_ALARMS_H
#define CONSENSUS_NODE_ALARMS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/rpc.pb-c.h"

struct store;

struct alarms {
    Etcdserverpb__AlarmMember *list; /* ascending member id, then type */
    size_t count;
};

void alarms_done(struct alarms *a);
bool alarms_has(const struct alarms *a, Etcdserverpb__AlarmType type);
bool alarms_has_member(const struct alarms *a, uint64_t member_id, Etcdserverpb__AlarmType type);
/* Adds the alarm of a row of the ALARMS table; another row adds nothing. */
void alarms_read_row(struct alarms *a, struct slice key);
/* Into an empty list. ERR_IO, ERR_CORRUPT. */
MUST_CHECK int alarms_load(struct alarms *a, struct store *s);
/* Applies one request inside store_begin and store_end. The response holds the alarms that it concerned, as
 * in etcd. Its alarms live in the arena. */
void alarms_apply(struct alarms *a, struct store *s, const Etcdserverpb__AlarmRequest *m, struct arena *arena,
                  Etcdserverpb__AlarmResponse *ret_response);

#endif
