/* SPDX-License-Identifier: Apache-2.0
 * Hash maps with open addressing: `map` from 64-bit ids to pointers, `strmap` from byte strings (copied) to
 * pointers. Both are valid when zeroed. Adding may move entries: the caller must not add during an
 * iteration. It may remove the current entry, whose key slice becomes invalid. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/buf.h"

struct map {
    struct map_slot *slots;
    size_t count, capacity, used; /* used includes tombstones */
};

void *map_get(const struct map *m, uint64_t key);        /* NULL if absent */
void *map_put(struct map *m, uint64_t key, void *value); /* value not NULL; returns the one replaced */
void *map_remove(struct map *m, uint64_t key);           /* returns the removed value or NULL */
void map_done(struct map *m);
/* for (size_t at = 0; map_next(&m, &at, &key, &value);) in no particular order */
bool map_next(const struct map *m, size_t *at, uint64_t *ret_key, void **ret_value);

/* A large strmap is rebuilt in steps, one with each strmap_put, so that no call takes long. */
struct strmap {
    struct strmap_slot *slots;
    size_t count, capacity, used;
    struct strmap_slot *old; /* entries from old_at on have not moved to slots yet; NULL: no rebuild */
    size_t old_capacity, old_at, old_step;
};

void *strmap_get(const struct strmap *m, struct slice key);
void *strmap_put(struct strmap *m, struct slice key, void *value);
void *strmap_remove(struct strmap *m, struct slice key);
void strmap_done(struct strmap *m);
bool strmap_next(const struct strmap *m, size_t *at, struct slice *ret_key, void **ret_value);

#endif
