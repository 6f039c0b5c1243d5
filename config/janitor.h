/* SPDX-License-Identifier: Apache-2.0
 * Retention: deletes old releases and items. Every member keeps the state, only the leader deletes, by small
 * transactions that compare the head of the decision. It deletes
 *   - releases that are not among the newest of their item, not young, not live, and in no gray rule
 *   - the oldest releases, however young, of an item that has too many or too many bytes
 *   - items that were deleted long ago, with all their releases and their rollout
 * It does not delete drafts: they are somebody's work. It does not keep a release because it is a draft's
 * base.
 *
 * It never scans the whole store: the heads show what may be due, and it remembers when. Loop thread only. */
#ifndef CONFIG_JANITOR_H
#define CONFIG_JANITOR_H

#include "config/heads.h"

struct config_janitor;

struct write_limits;

struct config_janitor_options {
    struct kv *kv;
    struct heads *heads;
    size_t kept;                 /* the newest releases of an item that stay */
    uint64_t kept_s;             /* seconds for which younger ones stay, within the next two bounds */
    uint64_t releases_max;       /* of one item; 0 = no bound */
    uint64_t history_bytes_max;  /* of one item; 0 = no bound */
    struct write_limits *limits; /* is notified of what was deleted; NULL = none */
};
struct config_janitor *config_janitor_new(const struct config_janitor_options *options);
/* Call it before the heads are freed and the kv is closed; it drops requests under way. */
void config_janitor_free(struct config_janitor *j);
/* Call it for each change of the view; an item that is gone (no head, no key) is removed from its heap. */
void config_janitor_changed(struct config_janitor *j, struct heads_item *i);
/* Call it in each turn of the loop, after the feed's turn. It wakes the loop by its own timer. */
void config_janitor_turn(struct config_janitor *j);

#endif
