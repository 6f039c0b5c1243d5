/* SPDX-License-Identifier: Apache-2.0
 * Forms: which client gets which release of items with gray rules.
 *
 * A form is a list of releases, one for each item with rules, that a client gets. Forms have numbers
 * (topic.h's variants), so that a frame is made once for all clients that get the same. A number never
 * stands for another list later, and becomes void when the rules of an item change. This module knows
 * neither rules nor clients: the caller chooses the seq of each item. Pure. */
#ifndef SERVER_STREAM_FORM_H
#define SERVER_STREAM_FORM_H

#include "base/buf.h"
#include "base/map.h"

struct stream_forms {    /* zeroed by the caller; the fields are private */
    struct strmap items; /* id -> those with rules */
    struct form_item **list;
    size_t capacity;
    struct strmap forms; /* the seqs of the list -> form */
    struct map by_number;
    uint32_t last;
    struct buf seqs; /* scratch */
};

void stream_forms_done(struct stream_forms *fs);
/* An item has changed. All numbers become void if it has rules now or had some before. */
void stream_forms_note(struct stream_forms *fs, struct slice id, bool has_rules);
bool stream_forms_have(const struct stream_forms *fs, struct slice id); /* the item has rules */
bool stream_forms_any(const struct stream_forms *fs);
/* The form of a client that gets from each item the seq that choose returns; 0: no item has rules. */
uint32_t stream_forms_number(struct stream_forms *fs, uint64_t (*choose)(void *arg, struct slice id),
                             void *arg);
/* The seq of an item in a form; false: the item has no rules, or the number is void. */
bool stream_forms_seq(const struct stream_forms *fs, uint32_t number, struct slice id, uint64_t *ret_seq);

#endif
