/* SPDX-License-Identifier: Apache-2.0
 * Collects what nobody needs any more: releases that are neither among the newest of their item, nor young,
 * nor live, nor named by a gray rule; the oldest, however young, of an item that has too many or too large
 * ones; and items that were deleted long ago, with all they have. Drafts stay: they are somebody's work. A
 * draft's base is not kept for it.
 *
 * Every member follows, the leader alone acts, by small transactions that compare the head that was decided
 * upon. Nothing is scanned: what may be due is known from the heads, and when it is due is remembered. Loop
 * thread only. */
#ifndef CONFIG_JANITOR_H
#define CONFIG_JANITOR_H

#include "config/heads.h"

struct config_janitor;

struct write_limits;

struct config_janitor_options {
    struct kv *kv;
    struct heads *heads;
    size_t kept;                 /* the newest so many releases of an item stay, */
    uint64_t kept_s;             /* and those that are younger than this, */
    uint64_t releases_max;       /* as long as an item has no more than so many, */
    uint64_t history_bytes_max;  /* and so many bytes; 0 = no bound */
    struct write_limits *limits; /* is told of what was deleted; NULL = nobody is */
};
struct config_janitor *config_janitor_new(const struct config_janitor_options *options);
/* Before the heads are freed and the kv is closed; what is in flight is forgotten. */
void config_janitor_free(struct config_janitor *j);
/* For each change of the view; an item that goes (no head, no key) is forgotten. */
void config_janitor_changed(struct config_janitor *j, struct heads_item *i);
/* In each turn of the loop, after the feed's. Wakes the loop by a timer of its own. */
void config_janitor_turn(struct config_janitor *j);

#endif
