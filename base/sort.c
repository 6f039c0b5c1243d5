/* SPDX-License-Identifier: Apache-2.0
 * See sort.h. */
#include "base/sort.h"

#include <assert.h>

#include "base/mem.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void begin_merge(struct sort *s, size_t from)
{
    s->from = s->left = s->out = from;
    s->right = least(from + s->width, s->count);
}

void sort_init(struct sort *s, size_t count, bool (*comes_after)(const void *arg, size_t a, size_t b),
               const void *arg)
{
    assert(count <= UINT32_MAX);
    *s = (struct sort){.count = count, .width = 1, .comes_after = comes_after, .arg = arg};
    s->order = mem_new((count + 1) * sizeof *s->order);
    s->scratch = mem_new((count + 1) * sizeof *s->scratch);
    for (size_t i = 0; i < count; i++)
        s->order[i] = (uint32_t)i;
    begin_merge(s, 0);
}

void sort_done(struct sort *s)
{
    mem_free(s->order);
    mem_free(s->scratch);
    *s = (struct sort){0};
}

/* All runs of this width are merged: the next ones are twice as wide. */
static void widen(struct sort *s)
{
    uint32_t *merged = s->scratch;
    s->scratch = s->order;
    s->order = merged;
    s->width *= 2;
    begin_merge(s, 0);
}

bool sort_step(struct sort *s, size_t comparisons)
{
    for (; comparisons && s->width < s->count; comparisons--) {
        size_t middle = least(s->from + s->width, s->count), end = least(middle + s->width, s->count);
        bool takes_left = s->left < middle &&
                          (s->right == end || !s->comes_after(s->arg, s->order[s->left], s->order[s->right]));
        s->scratch[s->out++] = takes_left ? s->order[s->left++] : s->order[s->right++];
        if (s->out == s->count)
            widen(s);
        else if (s->out == end)
            begin_merge(s, end);
    }
    return s->width >= s->count;
}
