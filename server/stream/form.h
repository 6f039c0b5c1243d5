/* SPDX-License-Identifier: Apache-2.0
 * Who gets what, of items with gray rules: a form is the list of releases, one of each such item, that
 * somebody gets. Forms have numbers (topic.h's variants), so that a frame is made once for all who get the
 * same. A number is never used again for another list, and is void when the rules of an item have changed.
 * Knows neither rules nor clients: the seq of each item is asked for. Pure. */
#ifndef SERVER_STREAM_FORM_H
#define SERVER_STREAM_FORM_H

#include "base/buf.h"
#include "base/map.h"

struct stream_forms {    /* zeroed before; its own */
    struct strmap items; /* id -> those with rules */
    struct form_item **list;
    size_t capacity;
    struct strmap forms; /* the seqs of the list -> form */
    struct map by_number;
    uint32_t last;
    struct buf seqs; /* scratch */
};

void stream_forms_done(struct stream_forms *fs);
/* An item has changed; with it perhaps its rules: all numbers are void if it has some, or had. */
void stream_forms_note(struct stream_forms *fs, struct slice id, bool has_rules);
bool stream_forms_have(const struct stream_forms *fs, struct slice id); /* it has rules */
bool stream_forms_any(const struct stream_forms *fs);
/* The form of one to whom choose gives these seqs; 0: there are no items with rules. */
uint32_t stream_forms_number(struct stream_forms *fs, uint64_t (*choose)(void *arg, struct slice id),
                             void *arg);
/* What one of this form gets of an item; false: it has no rules, or the number is void. */
bool stream_forms_seq(const struct stream_forms *fs, uint32_t number, struct slice id, uint64_t *ret_seq);

#endif
