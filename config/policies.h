/* SPDX-License-Identifier: Apache-2.0
 * The view of the review policies: the document of each namespace that has one, as text. The feed keeps it up
 * to date. */
#ifndef CONFIG_POLICIES_H
#define CONFIG_POLICIES_H

#include "base/map.h"

struct policy_entry {
    int64_t revision; /* mod revision of the key */
    uint64_t generation;
    size_t size;
    uint8_t text[];
};

struct policies {          /* zeroed at first */
    struct strmap entries; /* namespace -> struct policy_entry */
    uint64_t generation;   /* of the whole state that is being read */
    bool is_whole;
};

void policies_begin(struct policies *p, bool is_whole);
void policies_put(struct policies *p, struct slice ns, struct slice text, int64_t revision);
void policies_remove(struct policies *p, struct slice ns);
void policies_end(struct policies *p);
void policies_done(struct policies *p);
struct policy_entry *policies_find(const struct policies *p, struct slice ns); /* NULL = there is none */

#endif
