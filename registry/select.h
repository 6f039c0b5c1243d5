/* SPDX-License-Identifier: Apache-2.0
 * Selection of a service's instances for a reader: the filters of a query, protection, nearest zone first.
 *
 * HTTP, streams, DNS and http_sd use the same selection. It reads the catalog. Pure. */
#ifndef REGISTRY_SELECT_H
#define REGISTRY_SELECT_H

#include "registry/audience.h"

#define SELECT_TERMS_MAX 16

/* An instance must match all fields that are set, and every tag and label (a pair of its metadata, its own or
 * inherited). */
struct select_query {
    bool only_serving; /* healthy=true: state up or warn, enabled, weight > 0 */
    bool no_guarded;   /* guarded=false: without those that a storm guard holds in traffic */
    struct slice cluster, version, protocol;
    struct slice tags[SELECT_TERMS_MAX];
    size_t tag_count;
    struct document_pair labels[SELECT_TERMS_MAX];
    size_t label_count;
    const struct audience *audience; /* of the reader: hides instances; NULL = sees all */
    struct slice zone, region; /* order, not filter: same zone, same region, the rest; within each by id */
};

struct select_result {
    /* Protection (panic threshold): the query has only_serving, and of all that match otherwise at most the
     * share protect_threshold (0 = off) serves. Then the list has all of them, each with its true state.
     * Instances that were taken out of traffic on purpose (disabled, weight 0, an override's state) do not
     * count, and are not in the list. */
    bool is_protected;
    size_t serving; /* of those that match */
    size_t count;
    const struct catalog_instance **list; /* in the arena */
};

/* An instance that matches, with the facts for the choice, so that each instance is read once. */
struct select_candidate {
    const struct catalog_instance *instance;
    bool serves, is_taken_out;
    uint8_t distance; /* 0 same zone, 1 same region, 2 the rest */
};
/* False: it does not match. */
bool select_match(const struct select_query *q, const struct catalog_instance *i,
                  struct select_candidate *ret_candidate);
/* Chooses among all candidates, which are sorted by id. */
void select_choose(const struct select_query *q, double protect_threshold,
                   const struct select_candidate *list, size_t count, struct arena *a,
                   struct select_result *ret_result);

/* True: the map has this pair. */
bool select_has_pair(const struct document_map *map, const struct document_pair *pair);
/* True: it matches, ignoring its state. */
bool select_fits(const struct select_query *q, const struct catalog_instance *i);
/* s NULL: an empty service. Instances without a document are never in the result. */
void select_run(const struct select_query *q, const struct catalog_service *s, struct arena *a,
                struct select_result *ret_result);

#endif
