/* SPDX-License-Identifier: Apache-2.0
 * Audiences: which instances and services a reader sees while users are enabled. The right to an instance
 * that is projected from another layout is the right to read its source key, on top of the right to the
 * service that was asked for. All readers with the same rights over the source keys are one audience, so that
 * what was encoded for one of them serves all. Pure, immutable, counted.
 *
 * NULL stands for the audience that sees everything: users are not enabled, or nothing is projected that the
 * reader may not read. All functions take it. */
#ifndef REGISTRY_AUDIENCE_H
#define REGISTRY_AUDIENCE_H

#include "consensus/kv.h"
#include "registry/catalog.h"

enum { AUDIENCE_DIGEST_SIZE = 16 };

struct audience {
    size_t references;
    struct auth_ranges ranges; /* what may be read of the source keys and of the registry's instances */
    uint8_t digest[AUDIENCE_DIGEST_SIZE]; /* of the ranges: equal digests, equal audiences */
};

/* prefixes: where source keys lie. NULL: all of them may be read. */
struct audience *audience_new(const struct auth_ranges *readable, const char *const *prefixes, size_t count);
/* With the keys of the registry's instances among them, for audience_sees_service; never NULL. */
struct audience *audience_new_with_services(const struct auth_ranges *readable, const char *const *prefixes,
                                            size_t count);
struct audience *audience_ref(struct audience *a);
void audience_unref(struct audience *a);
size_t audience_bytes(const struct audience *a); /* that it has allocated; 0 for NULL */
bool audience_is_same(const struct audience *a, const struct audience *b);

/* The instance has a document and is native, or its source key may be read. */
bool audience_sees(const struct audience *a, const struct catalog_instance *i);
/* Is the change of change->ids[at] one that it may know of: could it see the instance before or after? */
bool audience_sees_change(const struct audience *a, const struct catalog_change *change, size_t at);
/* Has anything changed that it may know of? */
bool audience_sees_any(const struct audience *a, const struct catalog_change *change);

struct audience_counts {
    size_t instances;
    size_t by_state[INSTANCE_STATES]; /* effective states */
    int64_t revision;                 /* a change that it can see; of NULL's the service's own */
    bool exists;                      /* settings, or an instance that it sees */
};
void audience_count(const struct audience *a, const struct catalog_service *s,
                    struct audience_counts *ret_counts);

/* Of audience_new_with_services, or NULL: READ on all native instances of the service, and the service exists
 * for this audience; READ on any instance at all. */
bool audience_sees_service(const struct audience *a, const struct catalog_service *s);
bool audience_sees_registry(const struct audience *a);

#endif
