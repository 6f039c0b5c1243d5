/* SPDX-License-Identifier: Apache-2.0
 * Cache of audiences: which projected instances each user (or the role of callers without credentials)
 * sees, for one auth revision. At most AUDIENCES entries; their bytes count in the budget of all caches.
 * Two users whose names hash to the same entry replace each other. */
#ifndef SERVER_AUTH_AUDIENCES_H
#define SERVER_AUTH_AUDIENCES_H

#include "base/cache_budget.h"
#include "registry/registry.h"

enum { AUDIENCES = 256 };

enum audience_scope {
    AUDIENCE_PROJECTED, /* projected instances alone: the reader has READ on the services */
    AUDIENCE_SERVICES,  /* audience_sees_service and audience_may_read work too */
    AUDIENCE_CONFIGS,   /* the heads of configurations: audience_new */
};

struct audiences;

struct audiences *audiences_new(struct cache_budget *budget); /* borrowed; NULL = none */
void audiences_free(void *as);                                /* struct audiences; NULL is fine */
/* The audience of a user. Valid until the return to the loop; audience_ref keeps it. NULL: the user sees
 * everything. Call it only while users are enabled. */
struct audience *audiences_get(struct audiences *as, const struct kv *kv, const struct registry *r,
                               const struct auth_who *who, enum audience_scope scope);

#endif
