/* SPDX-License-Identifier: Apache-2.0
 * Records of administrative changes that come through etcd's API or from members themselves. Private to
 * audit.c and its tests; audit.h is the interface.
 *
 * Every member learns each change from the log, when it applies it (kv_on_admin), so a change that is in the
 * log is never without its author:
 *   - the member that proposed it writes the line;
 *   - with is_recording every member keeps it until its record is in the store, and the leader writes the
 *     records, in the order of the log, with its own clock. One key, AUDIT_AT, has the index of the last one,
 *     and is compared and set in the same transaction. So each change has one record, whoever leads.
 *
 * At most CHANGES_KEPT_MAX changes wait for their records; METRIC_AUDIT_OMITTED counts what is dropped. */
#ifndef CONSENSUS_AUDIT_ETCD_H
#define CONSENSUS_AUDIT_ETCD_H

#include "consensus/audit.h"

#define AUDIT_AT "/cairn/audit.at"

struct audit_etcd;

struct audit_etcd *audit_etcd_new(struct audit *a, struct kv *kv, bool is_recording);
void audit_etcd_free(struct audit_etcd *e); /* before the kv is closed */
void audit_etcd_turn(struct audit_etcd *e);

#endif
