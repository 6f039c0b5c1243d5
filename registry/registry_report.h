/* SPDX-License-Identifier: Apache-2.0
 * Reports for TTL checks that clients send to this member. registry.c calls it once a turn; registry_report
 * (registry.h) begins a report. Loop thread only. */
#ifndef REGISTRY_REGISTRY_REPORT_H
#define REGISTRY_REGISTRY_REPORT_H

struct registry;
struct reports;

struct reports *reports_new(struct registry *r);
/* After pending_ops_done. */
void reports_free(struct reports *p);
void reports_turn(struct reports *p);

#endif
