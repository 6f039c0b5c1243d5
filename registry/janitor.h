/* SPDX-License-Identifier: Apache-2.0
 * Lets time act on the registry: instances whose session ended become `lost`, then go; a storm of them is
 * held; overrides end. Every member follows, the leader alone acts, by proposing transactions that compare
 * what was decided upon. What is decided, when, is janitor_plan.h (pure); this is its shell on the kv.
 *
 * Loop thread only. Its calls stand in registry.c: events of the catalog, and a turn. */
#ifndef REGISTRY_JANITOR_H
#define REGISTRY_JANITOR_H

#include "consensus/kv.h"
#include "registry/catalog.h"
#include "registry/janitor_plan.h"

struct janitor;

struct janitor *janitor_new(struct kv *kv, struct catalog *catalog);
/* The same with other times than everybody's, for tests. */
struct janitor *janitor_new_with(struct kv *kv, struct catalog *catalog, const struct plan_rules *rules);
/* Before the catalog is freed and the kv is closed; what is in flight is forgotten. */
void janitor_free(struct janitor *j);

/* The catalog's events of the same names, each passed on whole. */
void janitor_session_gone(struct janitor *j, struct catalog_session *session);
void janitor_session_back(struct janitor *j, struct catalog_session *session);
void janitor_changed(struct janitor *j, const struct catalog_change *change);

/* What the store holds about a namespace's storm guard (guard_history_read); empty: nothing any more. */
void janitor_history(struct janitor *j, struct slice ns, struct slice text);

/* Gauges of the guards, at each print: of the 32 namespaces that were looked at longest ago. */
void janitor_metric_collect(struct janitor *j, struct buf *out);

/* In each turn of the loop, after the feed's: proposes what is due. Wakes the loop by a timer of its own. */
void janitor_turn(struct janitor *j);

#endif
