/* SPDX-License-Identifier: Apache-2.0
 * What catalog.c and catalog_look.c share; nobody else includes it. */
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

    /* Of the batch under way. */
    struct link dirty; /* services */
    struct link gone;  /* sessions that were deleted */
    struct link back;  /* sessions that came to instances which named them already */
    struct catalog_changed *changed;
    size_t changed_count, changed_capacity;
    struct arena batch, scratch;
};

int catalog_compare(const struct catalog_service *s, struct slice ns, struct slice group, struct slice name);
/* Where this name stands or would stand. */
size_t catalog_place(const struct catalog *c, struct slice ns, struct slice group, struct slice name);

#endif
