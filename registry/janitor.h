/* SPDX-License-Identifier: Apache-2.0
 * The janitor: the registry's changes that only the clock causes.
 *
 * Instances whose session ended become `lost` and are deleted later; a storm of them is held in traffic;
 * overrides end. The drawing of an instance's life is in janitor.c. Every member follows; the leader alone
 * proposes transactions, which compare the state that they were decided on. janitor_plan.h decides (pure);
 * this file connects it to the kv.
 *
 * Loop thread only. registry.c calls it: on events of the catalog, and once a turn. */
#ifndef REGISTRY_JANITOR_H
#define REGISTRY_JANITOR_H

#include "consensus/kv.h"
#include "registry/catalog.h"
#include "registry/janitor_plan.h"

struct janitor;

struct janitor *janitor_new(struct kv *kv, struct catalog *catalog);
/* The same with other rules, for tests. */
struct janitor *janitor_new_with(struct kv *kv, struct catalog *catalog, const struct plan_rules *rules);
/* Before the catalog is freed and the kv is closed. Cancels the proposals in flight. */
void janitor_free(struct janitor *j);

/* The catalog's events of the same names, each passed on whole. */
void janitor_session_gone(struct janitor *j, struct catalog_session *session);
void janitor_session_back(struct janitor *j, struct catalog_session *session);
void janitor_changed(struct janitor *j, const struct catalog_change *change);

/* The stored document of a namespace's storm guard (guard_history_read); text empty: it was deleted. */
void janitor_history(struct janitor *j, struct slice ns, struct slice text);

/* Adds the gauges of the guards to out: of the 32 namespaces whose review is longest ago. */
void janitor_metric_collect(struct janitor *j, struct buf *out);

/* In each turn of the loop, after the feed's: proposes the actions that are due. Sets its own timer. */
void janitor_turn(struct janitor *j);

#endif
