/* SPDX-License-Identifier: Apache-2.0
 * Hash table of index entries, for point lookups, which never rehashes as a whole.
 *
 * It is extendible hashing (Fagin 1979): a directory of segments. A full segment grows by an eighth of the
 * largest size, or is split alone, so that no insert takes more than a hundred microseconds, however many
 * keys there are. A segment is 70 to 87 % full: about 10 bytes a key. */
#ifndef CONSENSUS_STORE_KEYMAP_H
#define CONSENSUS_STORE_KEYMAP_H

#include "base/buf.h"

struct index_entry;

struct keymap {
    struct keymap_segment **directory; /* 2^depth; a segment appears under every index that shares its bits */
    unsigned depth;
};

void keymap_init(struct keymap *m, size_t expected);
void keymap_done(struct keymap *m); /* the caller owns the entries */
struct index_entry *keymap_get(const struct keymap *m, struct slice key);
/* Prefetches what keymap_get will read: step 0 the slot, step 1 the entry. */
void keymap_prefetch(const struct keymap *m, struct slice key, unsigned step);
/* Prefetches what an update of these entries will read, with all misses at the same time. Empty keys are
 * skipped. */
#define KEYMAP_PREFETCH_MAX 16
void keymap_prefetch_all(const struct keymap *m, const struct slice *keys, size_t count);
void keymap_add(struct keymap *m, struct index_entry *entry); /* its key must not be there */
void keymap_remove(struct keymap *m, struct index_entry *entry);
size_t keymap_slots(const struct keymap *m); /* used and free */

#endif
