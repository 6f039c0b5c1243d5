/* SPDX-License-Identifier: Apache-2.0
 * What catalog.c, catalog_batch.c and catalog_look.c share; nobody else includes it. */
#ifndef REGISTRY_CATALOG_STATE_H
#define REGISTRY_CATALOG_STATE_H

#include "registry/catalog.h"

struct catalog_changed {
    struct catalog_service *service;
    struct slice id, origin; /* in the batch's arena; origin: the source key that it had, empty = none */
    size_t number;           /* in the order of the changes */
};

struct catalog {
    struct catalog_events events;
    int64_t revision, absent_revision, whole_since;
    struct catalog_service **services; /* by namespace, group, name */
    size_t service_count, service_capacity;
    struct strmap by_name, namespaces;
    size_t used_namespaces; /* hold a service or an override */
    struct catalog_namespace all;
    struct strmap unreadable; /* keys */
    struct map sessions;
    size_t session_count; /* those that exist */
    struct link absent;
    uint64_t generation; /* of the last time everything was read */
    uint64_t edition;    /* batches so far */
    bool is_open, is_anew;
    bool is_ending; /* no more changes come; catalog_end_some goes on */

    /* Of the batch under way. */
    struct link dirty;   /* services */
    struct link settled; /* of them: as they are now, and to be told */
    size_t told;         /* changes of the first of those */
    bool is_scattered;   /* the changes of one service do not lie together, or not in order */
    struct link gone;    /* sessions that were deleted */
    struct link back;    /* sessions that came to instances which named them already */
    struct catalog_changed *changed;
    size_t changed_count, changed_capacity;
    struct arena batch, scratch;
};

void catalog_drop_if_unused(struct catalog *c, struct catalog_service *s);
void catalog_drop_session_if_unused(struct catalog *c, struct catalog_session *s);
void catalog_free_session_doc(struct catalog_session *s);
void catalog_free_instance(struct catalog_instance *i);
/* What was not seen while everything was read anew goes. */
void catalog_sweep(struct catalog *c);
/* Where in the list this id stands or would stand. */
size_t catalog_instance_place(const struct catalog_service *s, struct slice id);

int catalog_compare(const struct catalog_service *s, struct slice ns, struct slice group, struct slice name);
/* Where this name stands or would stand. */
size_t catalog_place(const struct catalog *c, struct slice ns, struct slice group, struct slice name);

#endif
