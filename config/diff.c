/* SPDX-License-Identifier: Apache-2.0
 * Line diffs; see diff.h. The algorithm:
 *
 *   1. Lines become numbers: equal lines get equal numbers.
 *   2. Equal beginnings and ends are cut off.
 *   3. Between them the greedy algorithm of E. W. Myers finds the shortest path ("An O(ND) Difference
 *      Algorithm and Its Variations", 1986). After d edits, furthest[k] is the furthest x on the diagonal
 *      k = x - y.
 *   4. A copy of that row is kept for each d. The path is read from the last row back to the first. Row d has
 *      d + 1 numbers, so DIFF_EDITS_MAX bounds the memory at 2 MiB. */
#include "config/diff.h"

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"

/* --- lines ----------------------------------------------------------------------------------- */

static uint32_t diff_split(struct slice text, struct slice **ret_lines)
{
    size_t count = 0, capacity = 16;
    struct slice *lines = mem_alloc(capacity * sizeof *lines);
    while (text.size) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) + 1 : text.size;
        if (count == capacity)
            lines = mem_resize(lines, (capacity *= 2) * sizeof *lines);
        lines[count++] = slice_of(text.data, size);
        text = slice_of(text.data + size, text.size - size);
    }
    *ret_lines = lines;
    return (uint32_t)count;
}

/* Gives equal lines equal numbers. */
static uint32_t *number_lines(struct strmap *numbers, const struct slice *lines, uint32_t count)
{
    uint32_t *list = mem_alloc((count + 1) * sizeof *list);
    for (uint32_t i = 0; i < count; i++) {
        uintptr_t number = (uintptr_t)strmap_get(numbers, lines[i]);
        if (!number) {
            number = numbers->count + 1;
            strmap_put(numbers, lines[i], (void *)number);
        }
        list[i] = (uint32_t)number;
    }
    return list;
}

/* --- the shortest path ------------------------------------------------------------------------------ */

/* The search between the equal ends: a has n lines left, b has m. */
struct search {
    const uint32_t *a, *b;
    int32_t n, m;
    int32_t *furthest; /* of diagonal k at [k + DIFF_EDITS_MAX + 1] */
    int32_t *rows;     /* row d: d + 1 numbers, diagonals -d, -d + 2, ... d, after those of smaller d */
    uint64_t steps;
};

static int32_t *row_of(const struct search *s, int32_t d)
{
    return s->rows + (int64_t)d * (d + 1) / 2;
}

/* One edit from the better of the two neighbours: down (an added line) or right (a removed line). */
static int32_t next_x(const int32_t *f, int32_t k, int32_t d)
{
    bool is_down = k == -d || (k != d && f[k - 1] < f[k + 1]);
    return is_down ? f[k + 1] : f[k - 1] + 1;
}

/* The number of edits, or -1 if a bound was reached. */
static int32_t search_way(struct search *s)
{
    int32_t *f = s->furthest + DIFF_EDITS_MAX + 1;
    f[1] = 0;
    for (int32_t d = 0; d <= DIFF_EDITS_MAX; d++) {
        int32_t *row = row_of(s, d);
        for (int32_t k = -d; k <= d; k += 2) {
            int32_t x = next_x(f, k, d), y = x - k, start = x;
            while (x < s->n && y >= 0 && y < s->m && s->a[x] == s->b[y]) {
                x++;
                y++;
            }
            s->steps += (uint64_t)(x - start) + 1;
            f[k] = row[(k + d) / 2] = x;
            if (x == s->n && y == s->m)
                return d;
        }
        if (s->steps > DIFF_STEPS_MAX)
            break;
    }
    return -1;
}

/* Marks removed and added lines, from the end back to the beginning. */
static void mark_way(const struct search *s, int32_t edits, bool *is_removed, bool *is_added)
{
    int32_t x = s->n, y = s->m;
    for (int32_t d = edits; d > 0; d--) {
        const int32_t *row = row_of(s, d - 1); /* diagonals -(d - 1) ... d - 1 */
        int32_t k = x - y;
        bool is_down = k == -d || (k != d && row[(k - 1 + d - 1) / 2] < row[(k + 1 + d - 1) / 2]);
        int32_t before = is_down ? k + 1 : k - 1;
        x = row[(before + d - 1) / 2];
        y = x - before;
        if (is_down)
            is_added[y] = true;
        else
            is_removed[x] = true;
    }
}

static void add_change(struct diff *d, struct diff_change c, uint32_t *capacity)
{
    if (d->change_count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 16;
        d->changes = mem_resize(d->changes, *capacity * sizeof *d->changes);
    }
    d->changes[d->change_count++] = c;
    d->removed += c.removed;
    d->added += c.added;
}

/* Joins adjacent marks to one change; at is the number of lines of the equal beginning. */
static void collect_changes(struct diff *d, const struct search *s, uint32_t at, const bool *is_removed,
                            const bool *is_added)
{
    uint32_t capacity = 0;
    for (int32_t x = 0, y = 0; x < s->n || y < s->m;) {
        int32_t from = x, to = y;
        while (x < s->n && is_removed[x])
            x++;
        while (y < s->m && is_added[y])
            y++;
        if (x > from || y > to)
            add_change(d,
                       (struct diff_change){at + (uint32_t)from, (uint32_t)(x - from), at + (uint32_t)to,
                                            (uint32_t)(y - to)},
                       &capacity);
        else {
            x++;
            y++;
        }
    }
}

static void diff_compare(struct diff *d, const uint32_t *a, const uint32_t *b)
{
    uint32_t head = 0, n = d->from_count, m = d->to_count;
    while (head < n && head < m && a[head] == b[head])
        head++;
    while (n > head && m > head && a[n - 1] == b[m - 1]) {
        n--;
        m--;
    }
    struct search s = {.a = a + head, .b = b + head, .n = (int32_t)(n - head), .m = (int32_t)(m - head)};
    if (!s.n && !s.m)
        return;
    s.furthest = mem_new((2 * DIFF_EDITS_MAX + 3) * sizeof *s.furthest);
    s.rows = mem_alloc(((size_t)DIFF_EDITS_MAX + 1) * (DIFF_EDITS_MAX + 2) / 2 * sizeof *s.rows);
    bool *is_removed = mem_new((size_t)s.n + 1), *is_added = mem_new((size_t)s.m + 1);
    int32_t edits = s.n && s.m ? search_way(&s) : -1;
    if (edits >= 0) {
        mark_way(&s, edits, is_removed, is_added);
    } else {
        memset(is_removed, 1, (size_t)s.n);
        memset(is_added, 1, (size_t)s.m);
        d->is_coarse = s.n && s.m;
    }
    collect_changes(d, &s, head, is_removed, is_added);
    mem_free(is_removed);
    mem_free(is_added);
    mem_free(s.furthest);
    mem_free(s.rows);
}

void diff_init(struct diff *d, struct slice from, struct slice to)
{
    struct strmap numbers = {0};
    *d = (struct diff){0};
    d->from_count = diff_split(from, &d->from);
    d->to_count = diff_split(to, &d->to);
    uint32_t *a = number_lines(&numbers, d->from, d->from_count);
    uint32_t *b = number_lines(&numbers, d->to, d->to_count);
    diff_compare(d, a, b);
    mem_free(a);
    mem_free(b);
    strmap_done(&numbers);
}

void diff_done(struct diff *d)
{
    mem_free(d->from);
    mem_free(d->to);
    mem_free(d->changes);
    *d = (struct diff){0};
}

/* --- hunks ----------------------------------------------------------------------------------- */

/* Changes [first, last) with their context lines. */
struct hunk {
    uint32_t first, last;
    uint32_t from, from_count, to, to_count;
};

/* The hunk that begins with change `first`: it has all changes whose contexts would touch. */
static struct hunk hunk_at(const struct diff *d, uint32_t first)
{
    const struct diff_change *c = &d->changes[first];
    uint32_t before = c->from < DIFF_CONTEXT ? c->from : DIFF_CONTEXT;
    struct hunk h = {.first = first, .last = first + 1, .from = c->from - before, .to = c->to - before};
    while (h.last < d->change_count && d->changes[h.last].from - (c->from + c->removed) <= 2 * DIFF_CONTEXT)
        c = &d->changes[h.last++];
    uint32_t end = c->from + c->removed, after = d->from_count - end;
    after = after < DIFF_CONTEXT ? after : DIFF_CONTEXT;
    h.from_count = end + after - h.from;
    h.to_count = c->to + c->added + after - h.to;
    return h;
}

/* Calls write for each line of the hunk with its mark, until it returns false. */
static bool each_line(const struct diff *d, const struct hunk *h,
                      bool (*write)(void *arg, char mark, struct slice line), void *arg)
{
    uint32_t at = h->from, end = h->from + h->from_count;
    for (uint32_t i = h->first; i <= h->last; i++) {
        const struct diff_change *c = i < h->last ? &d->changes[i] : NULL;
        for (; at < (c ? c->from : end); at++)
            if (!write(arg, ' ', d->from[at]))
                return false;
        for (uint32_t n = 0; c && n < c->removed; n++)
            if (!write(arg, '-', d->from[at++]))
                return false;
        for (uint32_t n = 0; c && n < c->added; n++)
            if (!write(arg, '+', d->to[c->to + n]))
                return false;
    }
    return true;
}

/* Lines count from 1 in the output, and an empty range names the line before it. */
static uint32_t shown_start(uint32_t at, uint32_t count)
{
    return count ? at + 1 : at;
}

static void add_range(struct buf *out, char mark, uint32_t at, uint32_t count)
{
    buf_addf(out, " %c%u", mark, shown_start(at, count));
    if (count != 1)
        buf_addf(out, ",%u", count);
}

struct text_out {
    struct buf *out;
    size_t size_max;
};

static bool write_line(void *arg, char mark, struct slice line)
{
    struct text_out *o = arg;
    bool has_end = line.data[line.size - 1] == '\n';
    if (o->out->size + line.size > o->size_max)
        return false;
    buf_add_byte(o->out, (uint8_t)mark);
    buf_add_slice(o->out, line);
    if (!has_end)
        buf_add_text(o->out, "\n\\ No newline at end of file\n");
    return true;
}

int diff_write(const struct diff *d, const char *from_label, const char *to_label, size_t size_max,
               struct buf *out)
{
    if (!d->change_count)
        return OK;
    size_t before = out->size;
    struct text_out o = {.out = out, .size_max = before + size_max};
    bool is_whole = true;
    buf_addf(out, "--- %s\n+++ %s\n", from_label, to_label);
    for (uint32_t i = 0; is_whole && i < d->change_count;) {
        struct hunk h = hunk_at(d, i);
        buf_add_text(out, "@@");
        add_range(out, '-', h.from, h.from_count);
        add_range(out, '+', h.to, h.to_count);
        buf_add_text(out, " @@\n");
        is_whole = each_line(d, &h, write_line, &o);
        i = h.last;
    }
    if (is_whole && out->size <= o.size_max)
        return OK;
    out->size = before;
    return ERR_LIMIT;
}

struct json_out {
    struct json_writer *w;
    struct buf line;
    size_t size_max;
};

static bool write_json_line(void *arg, char mark, struct slice line)
{
    struct json_out *o = arg;
    if (o->w->out->size + line.size > o->size_max)
        return false;
    size_t size = line.size - (line.data[line.size - 1] == '\n');
    buf_clear(&o->line);
    buf_add_byte(&o->line, (uint8_t)mark);
    buf_add(&o->line, line.data, size);
    jw_string(o->w, buf_slice(&o->line));
    if (size == line.size)
        jw_text(o->w, "\\ No newline at end of file");
    return true;
}

static void diff_add_number(struct json_writer *w, const char *key, uint32_t value)
{
    jw_key(w, key);
    jw_uint(w, value);
}

void diff_write_json(const struct diff *d, size_t size_max, struct json_writer *w)
{
    struct json_out o = {.w = w, .size_max = w->out->size + size_max};
    bool is_whole = true;
    jw_open(w, '{');
    diff_add_number(w, "removed", d->removed);
    diff_add_number(w, "added", d->added);
    jw_key(w, "coarse");
    jw_bool(w, d->is_coarse);
    jw_key(w, "hunks");
    jw_open(w, '[');
    for (uint32_t i = 0; is_whole && i < d->change_count;) {
        struct hunk h = hunk_at(d, i);
        jw_open(w, '{');
        diff_add_number(w, "from", shown_start(h.from, h.from_count));
        diff_add_number(w, "from_count", h.from_count);
        diff_add_number(w, "to", shown_start(h.to, h.to_count));
        diff_add_number(w, "to_count", h.to_count);
        jw_key(w, "lines");
        jw_open(w, '[');
        is_whole = each_line(d, &h, write_json_line, &o);
        jw_close(w, ']');
        jw_close(w, '}');
        i = h.last;
    }
    jw_close(w, ']');
    if (!is_whole) {
        jw_key(w, "truncated");
        jw_bool(w, true);
    }
    jw_close(w, '}');
    buf_done(&o.line);
}
