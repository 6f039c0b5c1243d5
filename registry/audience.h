/* SPDX-License-Identifier: Apache-2.0
 * Audiences: the instances and services that a reader sees while users are enabled.
 *
 * For an instance that is projected from another layout, a reader needs READ on its source key besides READ
 * on the service. All readers with the same rights over the source keys are one audience: a frame that was
 * encoded for one of them serves all. Pure, immutable, reference-counted.
 *
 * NULL is the audience that sees everything: users are not enabled, or no projected instance is hidden from
 * the reader. All functions take it. */
#ifndef REGISTRY_AUDIENCE_H
#define REGISTRY_AUDIENCE_H

#include "consensus/kv.h"
#include "registry/catalog.h"

enum { AUDIENCE_DIGEST_SIZE = 16 };

struct audience {
    size_t references;
    struct auth_ranges ranges;            /* readable source keys and instances */
    uint8_t digest[AUDIENCE_DIGEST_SIZE]; /* of the ranges: equal digests, equal audiences */
};

/* prefixes: of source keys. Returns NULL if all of them are readable. */
struct audience *audience_new(const struct auth_ranges *readable, const char *const *prefixes, size_t count);
/* Also with the ranges of the registry's instances, for audience_sees_service; never NULL. */
struct audience *audience_new_with_services(const struct auth_ranges *readable, const char *const *prefixes,
                                            size_t count);
struct audience *audience_ref(struct audience *a);
void audience_unref(struct audience *a);
size_t audience_bytes(const struct audience *a); /* allocated; 0 for NULL */
bool audience_is_same(const struct audience *a, const struct audience *b);

/* The instance has a document and is native, or its source key may be read. */
bool audience_sees(const struct audience *a, const struct catalog_instance *i);
/* True: it saw the instance change->ids[at] before the change, or sees it after. */
bool audience_sees_change(const struct audience *a, const struct catalog_change *change, size_t at);
/* True: audience_sees_change of any of the ids, or the settings. */
bool audience_sees_any(const struct audience *a, const struct catalog_change *change);

struct audience_counts {
    size_t instances;
    size_t by_state[INSTANCE_STATES]; /* effective states */
    int64_t revision;                 /* of a change that it sees; for NULL, the service's own */
    bool exists;                      /* settings, or an instance that it sees */
};
void audience_count(const struct audience *a, const struct catalog_service *s,
                    struct audience_counts *ret_counts);

/* Of audience_new_with_services, or NULL: READ on all native instances of the service, and the service exists
 * for this audience; READ on any instance at all. */
bool audience_sees_service(const struct audience *a, const struct catalog_service *s);
/* Of the same kind of audience: READ on all native instances of a service, or on one instance (id not empty). They
 * need not exist. A projected instance has no key in the registry: the right to the service stands for it. */
bool audience_may_read(const struct audience *a, struct slice ns, struct slice group, struct slice service,
                       struct slice id);
bool audience_sees_registry(const struct audience *a);

#endif
