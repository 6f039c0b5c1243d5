/* SPDX-License-Identifier: Apache-2.0
 * Cache of audiences: what each user (or the role of callers without credentials) sees of projected
 * instances, for one auth revision. At most AUDIENCES entries, whose bytes count against the budget of all
 * caches; two users whose names collide take turns in one. */
#ifndef SERVER_AUTH_AUDIENCES_H
#define SERVER_AUTH_AUDIENCES_H

#include "base/cache_budget.h"
#include "registry/registry.h"

enum { AUDIENCES = 256 };

struct audiences;

struct audiences *audiences_new(struct cache_budget *budget); /* borrowed; NULL = none */
void audiences_free(void *as);                                /* struct audiences; NULL is fine */
/* Valid until the return to the loop; audience_ref keeps it. NULL: sees everything. Only while users are
 * enabled. with_services: for audience_sees_service. */
struct audience *audiences_get(struct audiences *as, const struct kv *kv, const struct registry *r,
                               const struct auth_who *who, bool with_services);

#endif
