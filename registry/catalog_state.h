/* SPDX-License-Identifier: Apache-2.0
 * Private state of the catalog, shared by catalog.c, catalog_batch.c and catalog_look.c. */
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
    uint64_t generation; /* of the last read of the whole state */
    uint64_t edition;    /* batches so far */
    bool is_open, is_anew;
    bool is_ending; /* catalog_end_some has begun: no more changes */

    /* Of the batch under way. */
    struct link dirty;   /* services */
    struct link settled; /* services whose list and revision are final; their watches are notified next */
    size_t notified;     /* changes of the first of `settled` that were reported */
    bool is_scattered;   /* a service's changes are not adjacent, or not sorted */
    struct link gone;    /* sessions that were deleted */
    struct link back;    /* sessions that began when instances named them already */
    struct catalog_changed *changed;
    size_t changed_count, changed_capacity;
    struct arena batch, scratch;
};

void catalog_drop_if_unused(struct catalog *c, struct catalog_service *s);
void catalog_drop_session_if_unused(struct catalog *c, struct catalog_session *s);
void catalog_free_session_doc(struct catalog_session *s);
void catalog_free_instance(struct catalog_instance *i);
/* Deletes the keys that were not put while the whole state was read. */
void catalog_sweep(struct catalog *c);
/* The index of this id in the service's list, or where it would be. */
size_t catalog_instance_place(const struct catalog_service *s, struct slice id);

int catalog_compare(const struct catalog_service *s, struct slice ns, struct slice group, struct slice name);
/* The index of this name in the list of services, or where it would be. */
size_t catalog_place(const struct catalog *c, struct slice ns, struct slice group, struct slice name);

#endif
