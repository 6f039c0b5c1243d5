/* SPDX-License-Identifier: Apache-2.0
 * Events of services: connects the journal (event_journal.h) to the catalog, the keys and the kv. The leader
 * stores the events; every member reads them. Private to the registry; loop thread only. */
#ifndef REGISTRY_REGISTRY_EVENT_H
#define REGISTRY_REGISTRY_EVENT_H

#include "registry/event_journal.h"

struct events;
struct registry;

struct events *events_new(struct registry *r);
void events_free(struct events *e); /* NULL: nothing happens, as in the others */

/* The catalog's event of the same name. */
void events_replaced(struct events *e, const struct catalog_replaced *change);
/* The feed's. True: it is a key of events. */
void events_begin(struct events *e, bool is_whole);
bool events_put(struct events *e, struct slice key, struct slice value, int64_t mod_revision);
bool events_remove(struct events *e, struct slice key, int64_t revision);
void events_end(struct events *e);

void events_turn(struct events *e);
void events_metric_collect(const struct events *e);

#endif
