/* SPDX-License-Identifier: Apache-2.0
 * A range that is too long for one turn, read in parts. All parts merged are byte for byte the response of
 * store_range at the start: the revision is pinned there, and its keys stay readable until a compaction
 * passes it. Writes, commits and sweeps may happen between two steps; only revisions and the last key are
 * kept between them.
 *
 * In the plain order, keys are sent as the walk meets them. Any filter or other order works in three phases:
 * 1. Collect the revisions that pass (40 bytes a key, and the values when they are the sort target).
 * 2. Merge them into order, step by step.
 * 3. Read them again and send them. */
#include "base/buf_release.h"
#include "consensus/store/state.h"

enum phase { GATHER, SORT, SEND };

struct item {
    struct revision revision;
    union {
        int64_t number;
        struct slice value;
    } rank;
};

struct store_walk {
    struct store *s;
    const Etcdserverpb__RangeRequest *request;
    struct key_range range;
    int64_t current, at; /* revision of the header; of the keys */
    int64_t step_units, units;
    bool is_plain, from_index, has_begun;
    size_t limit; /* 0 = none */
    enum phase phase;
    struct buf position; /* where the walk continues; empty = at the range's key */
    int64_t total;       /* keys visited */
    size_t sent;

    struct item *items, *merged;
    size_t count, capacity;
    struct arena values;                         /* of ranks */
    size_t width, left, middle, right, end, out; /* the merge under way */
};

struct store_walk *store_walk_new(struct store *s, const Etcdserverpb__RangeRequest *request,
                                  int64_t step_units)
{
    struct store_walk *w = store_walk_new_at(s, request, store_view_revision(s));
    w->step_units = step_units;
    metric_add(METRIC_RANGES, 1);
    return w;
}

struct store_walk *store_walk_new_at(struct store *s, const Etcdserverpb__RangeRequest *request,
                                     int64_t current)
{
    struct store_walk *w = mem_new(sizeof *w);
    w->s = s;
    w->request = request;
    w->range = key_range_of(request->key, request->range_end);
    w->current = current;
    w->at = request->revision > 0 ? request->revision : w->current;
    w->is_plain =
        request->count_only || (!store_range_is_filtered(request) && !store_range_is_sorted(request));
    w->from_index = store_range_is_from_index(request);
    w->limit = request->limit > 0 ? (size_t)request->limit : 0;
    return w;
}

void store_walk_free(struct store_walk *w)
{
    if (!w)
        return;
    buf_done(&w->position);
    /* The sort exchanges the two, and `merged` has no more than `count`. */
    mem_release(w->items, w->count * sizeof *w->items);
    mem_release(w->merged, w->count * sizeof *w->merged);
    arena_release(&w->values);
    mem_free(w);
}

/* --- one part of the answer ---------------------------------------------------------------------- */

struct part {
    struct arena *arena;
    Etcdserverpb__RangeResponse *response;
    size_t capacity;
};

static void part_add(struct part *p, int64_t main, const struct record *record)
{
    Etcdserverpb__RangeResponse *r = p->response;
    if (r->n_kvs == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 64;
        Mvccpb__KeyValue **kvs = arena_alloc(p->arena, p->capacity * sizeof(Mvccpb__KeyValue *));
        if (r->n_kvs)
            memcpy(kvs, r->kvs, r->n_kvs * sizeof *kvs);
        r->kvs = kvs;
    }
    Mvccpb__KeyValue *kv = arena_alloc(p->arena, sizeof *kv);
    store_fill_kv(kv, main, record);
    r->kvs[r->n_kvs++] = kv;
}

static int read_record(struct store_walk *w, struct revision revision, struct record *ret_record)
{
    int err = store_fetch(w->s, revision, ret_record);
    if (!err)
        w->units -= STORE_READ_COST + (int64_t)(ret_record->value.size / STORE_BYTES_PER_UNIT);
    return err;
}

static int send_one(struct store_walk *w, struct part *p, struct revision revision,
                    const struct index_entry *e)
{
    struct record record = {0};
    if (w->from_index && e && revision_compare(index_entry_revision(e), revision) == 0) {
        record.key = index_entry_key(e);
        record.create_revision = index_entry_create(e);
        record.version = index_entry_version(e);
    } else {
        int err = read_record(w, revision, &record);
        if (err)
            return err;
    }
    if (w->from_index)
        record.lease = 0;
    if (w->request->keys_only)
        record.value = (struct slice){0};
    part_add(p, revision.main, &record);
    w->sent++;
    return 0;
}

/* --- collecting ------------------------------------------------------------------------------------ */

static int64_t rank_number(const Etcdserverpb__RangeRequest *r, const Mvccpb__KeyValue *kv)
{
    switch ((int)r->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        return kv->version;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        return kv->create_revision;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        return kv->mod_revision;
    default:
        return 0; /* keys are in order already */
    }
}

static int gather_one(struct store_walk *w, struct revision revision, const struct index_entry *e)
{
    const Etcdserverpb__RangeRequest *r = w->request;
    bool is_by_value = r->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;
    struct record record = {.key = index_entry_key(e),
                            .create_revision = index_entry_create(e),
                            .version = index_entry_version(e)};
    Mvccpb__KeyValue kv;
    if (is_by_value || revision_compare(index_entry_revision(e), revision) != 0) {
        int err = read_record(w, revision, &record);
        if (err)
            return err;
    }
    store_fill_kv(&kv, revision.main, &record);
    if (!store_range_filter_passes(r, &kv))
        return 0;
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 1024;
        w->items = mem_resize(w->items, w->capacity * sizeof *w->items);
    }
    struct item *item = &w->items[w->count++];
    item->revision = revision;
    if (is_by_value)
        item->rank.value =
            slice_of(arena_copy(&w->values, record.value.data, record.value.size), record.value.size);
    else
        item->rank.number = rank_number(r, &kv);
    return 0;
}

/* As store_range: an order or a filter needs all keys before the limit is applied, except a sort target
 * without an order. That sorts the limit and one more key. */
static bool needs_more_keys(const struct store_walk *w)
{
    if (w->request->count_only)
        return false;
    if (w->is_plain)
        return !w->limit || w->sent < w->limit;
    return !w->limit || !store_range_is_default_order(w->request) || store_range_is_filtered(w->request) ||
           w->count <= w->limit;
}

void store_position_after(struct buf *position, const struct index_entry *e)
{
    struct slice key = index_entry_key(e);
    buf_clear(position);
    buf_add_slice(position, key);
    buf_add_byte(position, 0); /* the first possible key after it */
}

static int range_slice_gather(struct store_walk *w, struct part *p)
{
    struct key_range rest = w->range;
    if (w->position.size)
        rest.key = buf_slice(&w->position);
    struct range_cursor c = range_open(w->s, &rest);
    struct revision revision;
    for (struct index_entry *e; (e = range_next(&c));) {
        w->units -= STORE_VISIT_COST;
        if (index_get(e, w->at, &revision)) {
            int err = 0;
            w->total++;
            if (needs_more_keys(w))
                err = w->is_plain ? send_one(w, p, revision, e) : gather_one(w, revision, e);
            if (err)
                return err;
        }
        if (w->units <= 0 && !w->range.is_one) {
            store_position_after(&w->position, e);
            return 0;
        }
    }
    w->phase = w->is_plain ? SEND : SORT;
    return 0;
}

/* --- sorting ------------------------------------------------------------------------------------------- */

static bool is_by_key(const struct store_walk *w)
{
    return w->request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY;
}

static bool is_descending(const struct store_walk *w)
{
    return w->request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
}

static int range_slice_compare(const struct store_walk *w, const struct item *a, const struct item *b)
{
    int c;
    if (w->request->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE)
        c = slice_compare(a->rank.value, b->rank.value);
    else
        c = (a->rank.number > b->rank.number) - (a->rank.number < b->rank.number);
    return is_descending(w) ? -c : c;
}

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A merge sort from the bottom up, which can stop after any item. It is stable, so that equal elements keep
 * their key order. By key there is nothing to do: the items are in that order, or are sent from the end. */
static void sort(struct store_walk *w)
{
    size_t n = w->count;
    if (!w->width) {
        w->width = is_by_key(w) ? n : 1;
        if (w->width < n)
            w->merged = mem_resize(w->merged, n * sizeof *w->merged);
    }
    for (; w->units > 0 && w->width < n; w->units--) {
        if (w->out == w->end) { /* the next two runs */
            w->left = w->out;
            w->middle = w->right = at_most(w->left + w->width, n);
            w->end = at_most(w->middle + w->width, n);
        }
        bool from_right =
            w->left == w->middle ||
            (w->right < w->end && range_slice_compare(w, &w->items[w->right], &w->items[w->left]) < 0);
        w->merged[w->out++] = w->items[from_right ? w->right++ : w->left++];
        if (w->out == n) {
            struct item *sorted = w->merged;
            w->merged = w->items;
            w->items = sorted;
            w->width *= 2;
            w->out = w->end = 0;
        }
    }
    if (w->width >= n)
        w->phase = SEND;
}

static int send(struct store_walk *w, struct part *p)
{
    size_t count = w->limit && w->count > w->limit ? w->limit : w->count;
    bool is_reversed = is_by_key(w) && is_descending(w);
    while (w->sent < count && w->units > 0) {
        const struct item *item = &w->items[is_reversed ? w->count - 1 - w->sent : w->sent];
        w->units -= STORE_VISIT_COST;
        int err = send_one(w, p, item->revision, NULL);
        if (err)
            return err;
    }
    return 0;
}

/* --- steps ---------------------------------------------------------------------------------------------- */

static bool is_done(const struct store_walk *w)
{
    if (w->phase != SEND)
        return false;
    return w->is_plain || w->sent == (w->limit && w->count > w->limit ? w->limit : w->count);
}

static void range_slice_finish(struct store_walk *w, Etcdserverpb__RangeResponse *response)
{
    size_t match_count = w->is_plain ? (size_t)w->total : w->count;
    response->more = !w->request->count_only && w->limit && match_count > w->limit;
    response->count = w->total;
}

int store_walk_step_units(struct store_walk *w, struct arena *a, int64_t *units,
                          Etcdserverpb__RangeResponse **ret_part, bool *ret_is_last)
{
    w->step_units = *units;
    int err = store_walk_step(w, a, ret_part, ret_is_last);
    *units = w->units;
    return err;
}

int store_walk_step(struct store_walk *w, struct arena *a, Etcdserverpb__RangeResponse **ret_part,
                    bool *ret_is_last)
{
    if (w->at < w->s->compact_revision)
        return ERR_COMPACTED;
    struct part p = {.arena = a, .response = arena_alloc(a, sizeof *p.response)};
    etcdserverpb__range_response__init(p.response);
    w->units = w->step_units;
    int err = 0;
    if (w->phase == GATHER)
        err = range_slice_gather(w, &p);
    if (!err && w->phase == SORT && w->units > 0)
        sort(w);
    if (!err && w->phase == SEND && !w->is_plain)
        err = send(w, &p);
    if (err)
        return err;
    if (!w->has_begun)
        p.response->header = store_header(a, w->current);
    w->has_begun = true;
    *ret_is_last = is_done(w);
    if (*ret_is_last)
        range_slice_finish(w, p.response);
    *ret_part = p.response;
    return 0;
}
