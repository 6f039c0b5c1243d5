/* SPDX-License-Identifier: Apache-2.0
 * Reads of keys as of a revision. The index has the revisions, and the records are fetched from the pending
 * queue or the backend. The response points into them: no byte of a value is copied.
 *
 * etcd's rules, including its special cases:
 * - `count` ignores limit and filters.
 * - A sort other than by ascending key, or any filter, reads all keys before the limit is applied.
 * - A sort target without an order sorts only the keys within the limit.
 * - keys_only is answered from the index and has no lease then, except when sorting by value. */
#include <stdlib.h>

#include "consensus/store/state.h"

#define RANGE_IS_LONG 1 /* in addition to the errors, which are negative */

struct key_range key_range_of(ProtobufCBinaryData key, ProtobufCBinaryData range_end)
{
    struct key_range r = {.key = store_slice(key), .end = store_slice(range_end)};
    r.is_one = r.end.size == 0;
    r.is_open = r.end.size == 1 && r.end.data[0] == 0;
    return r;
}

struct range_cursor range_open(const struct store *s, const struct key_range *range)
{
    struct range_cursor c = {.range = range};
    if (range->is_one)
        c.one = index_find(&s->index, range->key);
    else
        c.tree = tree_seek(&s->index.tree, range->key);
    return c;
}

struct index_entry *range_next(struct range_cursor *c)
{
    if (c->range->is_one) {
        struct index_entry *e = c->one;
        c->one = NULL;
        return e;
    }
    struct index_entry *e = tree_next(&c->tree);
    if (e && !c->range->is_open && slice_compare(index_entry_key(e), c->range->end) >= 0)
        return NULL;
    return e;
}

Etcdserverpb__ResponseHeader *store_header(struct arena *a, int64_t revision)
{
    Etcdserverpb__ResponseHeader *header = arena_alloc(a, sizeof *header);
    etcdserverpb__response_header__init(header);
    header->revision = revision;
    return header;
}

void store_fill_kv(Mvccpb__KeyValue *kv, int64_t main, const struct record *record)
{
    mvccpb__key_value__init(kv);
    kv->key = store_bytes(record->key);
    kv->create_revision = record->create_revision;
    kv->mod_revision = main;
    kv->version = record->version;
    kv->value = store_bytes(record->value);
    kv->lease = record->lease;
}

/* The key-values collected so far; both arrays grow in the arena. */
struct range_result {
    struct store *s;
    struct arena *arena;
    Mvccpb__KeyValue **kvs;
    size_t count, capacity;
    bool from_index; /* keys only: no record is read */
    bool is_one;
    size_t budget; /* keys to visit and bytes to read, roughly; 0 = unlimited */
    size_t spent;
};

static Mvccpb__KeyValue *range_result_add(struct range_result *f)
{
    if (f->count == f->capacity) {
        size_t capacity = f->capacity ? f->capacity * 4 : 1;
        Mvccpb__KeyValue **kvs = arena_alloc(f->arena, capacity * sizeof *kvs);
        if (f->count)
            memcpy(kvs, f->kvs, f->count * sizeof *kvs);
        f->kvs = kvs;
        f->capacity = capacity;
    }
    Mvccpb__KeyValue *kv = arena_alloc(f->arena, sizeof *kv);
    f->kvs[f->count++] = kv;
    return kv;
}

static int range_result_read(struct range_result *f, const struct index_entry *e, struct revision revision)
{
    struct record record = {.key = index_entry_key(e)};
    if (f->from_index && revision_compare(index_entry_revision(e), revision) == 0) {
        record.create_revision = index_entry_create(e);
        record.version = index_entry_version(e);
    } else {
        int err = f->is_one ? store_fetch_one(f->s, revision, &record) : store_fetch(f->s, revision, &record);
        if (err)
            return err;
    }
    if (f->from_index) {
        record.lease = 0;
        record.value = (struct slice){0};
    }
    f->spent += STORE_READ_COST + record.value.size / STORE_BYTES_PER_UNIT;
    store_fill_kv(range_result_add(f), revision.main, &record);
    return 0;
}

bool store_range_is_filtered(const Etcdserverpb__RangeRequest *r)
{
    return r->min_mod_revision || r->max_mod_revision || r->min_create_revision || r->max_create_revision;
}

bool store_range_is_default_order(const Etcdserverpb__RangeRequest *r)
{
    return r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE ||
           (r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND &&
            r->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY);
}

/* True if keys come in ascending order; any other order needs a sort. */
bool store_range_is_sorted(const Etcdserverpb__RangeRequest *r)
{
    return r->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY ||
           r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
}

bool store_range_is_from_index(const Etcdserverpb__RangeRequest *r)
{
    return r->keys_only && r->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;
}

bool store_range_filter_passes(const Etcdserverpb__RangeRequest *r, const Mvccpb__KeyValue *kv)
{
    return !(r->max_mod_revision && kv->mod_revision > r->max_mod_revision) &&
           !(r->min_mod_revision && kv->mod_revision < r->min_mod_revision) &&
           !(r->max_create_revision && kv->create_revision > r->max_create_revision) &&
           !(r->min_create_revision && kv->create_revision < r->min_create_revision);
}

static void filter(const Etcdserverpb__RangeRequest *r, struct range_result *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (store_range_filter_passes(r, f->kvs[i]))
            f->kvs[kept++] = f->kvs[i];
    }
    f->count = kept;
}

struct sort_rule {
    Etcdserverpb__RangeRequest__SortTarget target;
    bool descends;
};

struct sort_item {
    Mvccpb__KeyValue *kv;
    size_t place;
};

static int sort_compare_int(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Equal elements keep their key order in both directions. */
static int sort_compare(const void *x, const void *y, void *arg)
{
    const struct sort_rule *rule = arg;
    const struct sort_item *a = x, *b = y;
    int c = 0;
    switch ((int)rule->target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        c = sort_compare_int(a->kv->version, b->kv->version);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        c = sort_compare_int(a->kv->create_revision, b->kv->create_revision);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        c = sort_compare_int(a->kv->mod_revision, b->kv->mod_revision);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        c = slice_compare(store_slice(a->kv->value), store_slice(b->kv->value));
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY:
    default:
        c = sort_compare_int((int64_t)a->place, (int64_t)b->place);
        break;
    }
    if (rule->descends)
        c = -c;
    return c ? c : sort_compare_int((int64_t)a->place, (int64_t)b->place);
}

static void sort(const Etcdserverpb__RangeRequest *r, struct range_result *f)
{
    struct sort_rule rule = {.target = r->sort_target,
                             .descends = r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND};
    if (f->count < 2 || !store_range_is_sorted(r))
        return;
    struct sort_item *items = arena_alloc(f->arena, f->count * sizeof *items);
    for (size_t i = 0; i < f->count; i++)
        items[i] = (struct sort_item){.kv = f->kvs[i], .place = i};
    qsort_r(items, f->count, sizeof *items, sort_compare, &rule);
    for (size_t i = 0; i < f->count; i++)
        f->kvs[i] = items[i].kv;
}

enum counting {
    COUNT_NONE, /* the walk ends at the limit */
    COUNT_ALL,
    COUNT_ONLY,
};

/* Walks the range; reads at most `max` keys (0 = all). RANGE_IS_LONG when that exceeds the budget. */
static int store_range_collect(struct range_result *f, const struct key_range *range, int64_t at, size_t max,
                               enum counting counting, int64_t *ret_total)
{
    struct range_cursor c = range_open(f->s, range);
    struct revision revision;
    int64_t total = 0;
    for (struct index_entry *e; (e = range_next(&c));) {
        if (++f->spent > f->budget && f->budget)
            return RANGE_IS_LONG;
        if (!index_get(e, at, &revision))
            continue;
        total++;
        if (counting == COUNT_ONLY || (max && f->count >= max))
            continue;
        int err = range_result_read(f, e, revision);
        if (err)
            return err;
        if (counting == COUNT_NONE && f->count == max)
            break;
    }
    *ret_total = counting == COUNT_NONE ? 0 : total;
    return 0;
}

static int store_store_range_run(struct store *s, const Etcdserverpb__RangeRequest *r, enum counting counting,
                                 size_t budget, struct arena *a, Etcdserverpb__RangeResponse **ret_response)
{
    int64_t current = store_view_revision(s), at = r->revision > 0 ? r->revision : current, total;
    if (at > current)
        return ERR_FUTURE_REV;
    if (at < s->compact_revision)
        return ERR_COMPACTED;
    struct key_range range = key_range_of(r->key, r->range_end);
    struct range_result f = {.s = s, .arena = a, .is_one = range.is_one, .budget = budget};
    f.from_index = store_range_is_from_index(r);
    size_t max = 0;
    if (r->limit > 0 && store_range_is_default_order(r) && !store_range_is_filtered(r))
        max = (size_t)r->limit + 1; /* one more shows whether there is more */
    int err = store_range_collect(&f, &range, at, max, counting, &total);
    if (err)
        return err;
    if (store_range_is_filtered(r))
        filter(r, &f);
    sort(r, &f);
    Etcdserverpb__RangeResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__range_response__init(response);
    if (r->limit > 0 && f.count > (size_t)r->limit) {
        f.count = (size_t)r->limit;
        response->more = true;
    }
    for (size_t i = 0; r->keys_only && i < f.count; i++)
        f.kvs[i]->value = (ProtobufCBinaryData){0};
    response->header = store_header(a, current);
    response->count = total;
    response->n_kvs = f.count;
    response->kvs = f.kvs;
    *ret_response = response;
    return 0;
}

int store_range_run(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                    Etcdserverpb__RangeResponse **ret_response)
{
    return store_store_range_run(s, request, request->count_only ? COUNT_ONLY : COUNT_ALL, 0, a,
                                 ret_response);
}

int store_range_short(struct store *s, const Etcdserverpb__RangeRequest *request, size_t budget,
                      struct arena *a, Etcdserverpb__RangeResponse **ret_response)
{
    int err = store_store_range_run(s, request, request->count_only ? COUNT_ONLY : COUNT_ALL, budget, a,
                                    ret_response);
    if (err == RANGE_IS_LONG)
        *ret_response = NULL;
    metric_add(METRIC_RANGES, err != RANGE_IS_LONG); /* or the walk is counted */
    return err == RANGE_IS_LONG ? 0 : err;
}

int store_range(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                Etcdserverpb__RangeResponse **ret_response)
{
    metric_add(METRIC_RANGES, 1);
    return store_range_run(s, request, a, ret_response);
}

int store_range_page(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                     Etcdserverpb__RangeResponse **ret_response)
{
    metric_add(METRIC_RANGES, 1);
    return store_store_range_run(s, request, request->count_only ? COUNT_ONLY : COUNT_NONE, 0, a,
                                 ret_response);
}
