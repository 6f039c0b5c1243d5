/* SPDX-License-Identifier: Apache-2.0
 * Merge sort in steps. See merge_sort.h. */
#include "base/merge_sort.h"

#include <string.h>

#include "base/mem.h"

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

static const uint8_t *item(const struct merge_sort *m, size_t i)
{
    return m->items + i * m->size;
}

static bool takes_right(const struct merge_sort *m)
{
    if (m->left == m->middle)
        return true;
    return m->right < m->end && m->compare(item(m, m->right), item(m, m->left), m->arg) < 0;
}

bool merge_sort_step(struct merge_sort *m, int64_t *units)
{
    size_t n = m->count;
    if (!m->width) {
        m->width = 1;
        if (n > 1)
            m->spare = mem_alloc(n * m->size);
    }
    for (; *units > 0 && m->width < n; --*units) {
        if (m->out == m->end) { /* the next two runs */
            m->left = m->out;
            m->middle = m->right = at_most(m->left + m->width, n);
            m->end = at_most(m->middle + m->width, n);
        }
        size_t from = takes_right(m) ? m->right++ : m->left++;
        memcpy(m->spare + m->out++ * m->size, item(m, from), m->size);
        if (m->out == n) {
            uint8_t *sorted = m->spare;
            m->spare = m->items;
            m->items = sorted;
            m->width *= 2;
            m->out = m->end = 0;
        }
    }
    return m->width >= n;
}

void merge_sort_done(struct merge_sort *m)
{
    mem_free(m->items);
    mem_free(m->spare);
    *m = (struct merge_sort){0};
}
