/* SPDX-License-Identifier: Apache-2.0
 * Sort of a million entries by key in a fraction of a second, for the start. It sorts by eight bytes of the
 * key as one integer, with a radix sort for many entries and an insertion sort for few. Entries whose bytes
 * are equal are sorted by the next eight bytes. Sorted input, which is common, costs one comparison a key. */
#include <stdlib.h>

#include "base/mem.h"
#include "consensus/store/index.h"
#include "consensus/store/tree.h"

#define FEW       24
#define DEPTH_MAX 64

struct item {
    uint64_t tag;
    struct index_entry *entry;
};

static int entry_compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return slice_compare(index_entry_key(x->entry), index_entry_key(y->entry));
}

static void sort_few(struct item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct item item = items[i];
        size_t k = i;
        for (; k > 0 && entry_compare(&items[k - 1], &item) > 0; k--)
            items[k] = items[k - 1];
        items[k] = item;
    }
}

/* Sorts by tag, least significant byte first; a byte that is equal in all tags costs nothing. */
static void sort_tags(struct item *items, struct item *spare, size_t count)
{
    size_t counts[8][256] = {0};
    struct item *from = items, *to = spare;
    for (size_t i = 0; i < count; i++) {
        for (unsigned b = 0; b < 8; b++)
            counts[b][items[i].tag >> (8 * b) & 0xff]++;
    }
    for (unsigned b = 0; b < 8; b++) {
        if (counts[b][items[0].tag >> (8 * b) & 0xff] == count)
            continue;
        size_t at = 0;
        for (unsigned v = 0; v < 256; v++) {
            size_t n = counts[b][v];
            counts[b][v] = at;
            at += n;
        }
        for (size_t i = 0; i < count; i++)
            to[counts[b][from[i].tag >> (8 * b) & 0xff]++] = from[i];
        struct item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
}

static void sort_from(struct item *items, struct item *spare, size_t count, size_t skip, unsigned depth)
{
    if (count <= FEW) {
        sort_few(items, count);
        return;
    }
    bool has_short = depth == DEPTH_MAX;
    for (size_t i = 0; i < count; i++) {
        struct slice key = index_entry_key(items[i].entry);
        if (key.size < skip + 8) {
            has_short = true;
            break;
        }
        items[i].tag = get_be64(key.data + skip);
    }
    if (has_short) {
        qsort(items, count, sizeof *items, entry_compare);
        return;
    }
    sort_tags(items, spare, count);
    for (size_t i = 0, k; i < count; i = k) {
        for (k = i + 1; k < count && items[k].tag == items[i].tag; k++)
            ;
        if (k - i > 1)
            sort_from(items + i, spare, k - i, skip + 8, depth + 1);
    }
}

void tree_sort(struct index_entry **entries, size_t count)
{
    size_t i = 1;
    while (i < count && slice_compare(index_entry_key(entries[i - 1]), index_entry_key(entries[i])) < 0)
        i++;
    if (i >= count)
        return;
    struct item *items = mem_alloc(2 * count * sizeof *items);
    for (i = 0; i < count; i++)
        items[i] = (struct item){.entry = entries[i]};
    sort_from(items, items + count, count, 0, 0);
    for (i = 0; i < count; i++)
        entries[i] = items[i].entry;
    mem_free(items);
}
