/* SPDX-License-Identifier: Apache-2.0
 * What a reader of one service gets: the filters of a query, protection, nearest zone first. Over the
 * catalog, pure. The same choice serves HTTP, streams, DNS and http_sd. */
#ifndef REGISTRY_SELECT_H
#define REGISTRY_SELECT_H

#include "registry/audience.h"

#define SELECT_TERMS_MAX 16

/* Empty slices ask for nothing. An instance must fit all of it; tags and labels (metadata pairs): each one.
 */
struct select_query {
    bool only_serving; /* healthy=true: state up or warn, enabled, weight > 0 */
    bool no_guarded;   /* guarded=false: not those that a storm guard holds in traffic */
    struct slice cluster, version, protocol;
    struct slice tags[SELECT_TERMS_MAX];
    size_t tag_count;
    struct document_pair labels[SELECT_TERMS_MAX];
    size_t label_count;
    const struct audience *audience; /* of the reader: what it does not see fits no query; NULL = sees all */
    struct slice zone, region; /* order, not filter: same zone, same region, the rest; within each by id */
};

struct select_result {
    /* Protection: only_serving was asked, some do not serve, and those that do are at most protect_threshold
     * (0 = off) of all that fit otherwise. Then all are here, each with its true state. What somebody took
     * out of traffic (disabled, weight 0, an override's state) is no failure: it neither counts nor comes
     * back. */
    bool is_protected;
    size_t serving; /* of those that fit */
    size_t count;
    const struct catalog_instance **list; /* in the arena */
};

/* An instance that fits, with what the choice needs of it, so that each is looked at once. */
struct select_candidate {
    const struct catalog_instance *instance;
    bool serves, is_taken_out;
    uint8_t distance; /* 0 same zone, 1 same region, 2 the rest */
};
/* False: it does not fit. */
bool select_match(const struct select_query *q, const struct catalog_instance *i,
                  struct select_candidate *ret_candidate);
/* The choice among all that fit, which come in the order of their ids. */
void select_choose(const struct select_query *q, double protect_threshold,
                   const struct select_candidate *list, size_t count, struct arena *a,
                   struct select_result *ret_result);

/* Does it fit, whatever its state? */
bool select_fits(const struct select_query *q, const struct catalog_instance *i);
/* s NULL: nothing is there. Instances without a document are never in the result. */
void select_run(const struct select_query *q, const struct catalog_service *s, struct arena *a,
                struct select_result *ret_result);

#endif
