/* SPDX-License-Identifier: Apache-2.0
 * Both sides read in pages at fixed revisions: compared, with the differences written to the target; and
 * hashed. */
#include "sdk/ctl/migrate.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

enum { PAGE_BYTES = 1 << 20, PAGE_KEYS_MIN = 16, PAGE_KEYS_MAX = 2000 };

/* A walk over one side. Its keys have the target's names; keys that are not copied are left out. */
struct cursor {
    struct migrate *m;
    struct ctl *side;
    struct arena arena; /* of the page */
    struct buf next, end;
    struct buf name;
    int64_t revision; /* 0 = the first page decides */
    int64_t limit;
    Etcdserverpb__RangeResponse *page;
    size_t at;
    bool is_end;
    struct migrate_op op;
};

static void cursor_init(struct cursor *k, struct migrate *m, struct ctl *side, int64_t revision)
{
    struct slice prefix = side == &m->from ? m->rule.prefix : m->rule.dest;
    *k = (struct cursor){.m = m, .side = side, .revision = revision, .limit = 256};
    buf_add_slice(&k->next, prefix);
    migrate_range_end(prefix, &k->end);
    if (!k->next.size)
        buf_add_byte(&k->next, 0);
}

static void cursor_done(struct cursor *k)
{
    arena_done(&k->arena);
    buf_done(&k->next);
    buf_done(&k->end);
    buf_done(&k->name);
}

/* Pages hold about a mebibyte. */
static void adapt_limit(struct cursor *k)
{
    size_t bytes = 1;
    for (size_t i = 0; i < k->page->n_kvs; i++)
        bytes += k->page->kvs[i]->key.len + k->page->kvs[i]->value.len;
    int64_t fits = (int64_t)(PAGE_BYTES * (uint64_t)(k->page->n_kvs + 1) / bytes);
    if (fits > 2 * k->limit)
        fits = 2 * k->limit;
    k->limit = fits < PAGE_KEYS_MIN ? PAGE_KEYS_MIN : fits > PAGE_KEYS_MAX ? PAGE_KEYS_MAX : fits;
}

static bool is_compacted(const struct migrate *m)
{
    return strstr(m->error, "compacted") != NULL;
}

static enum ctl_exit cursor_page(struct cursor *k)
{
    Etcdserverpb__RangeRequest q = ETCDSERVERPB__RANGE_REQUEST__INIT;
    enum ctl_exit how = migrate_tick(k->m);
    if (how)
        return how;
    q.key = migrate_data(buf_slice(&k->next));
    q.range_end = migrate_data(buf_slice(&k->end));
    q.revision = k->revision;
    q.limit = k->limit;
    arena_reset(&k->arena);
    how = migrate_call(k->m, k->side, "/v3/kv/range", &q.base, &etcdserverpb__range_response__descriptor,
                       &k->arena, &k->page);
    if (how == CTL_ERROR && !is_compacted(k->m))
        how = migrate_fail(k->m, k->side, "cannot read keys");
    if (how) {
        k->page = NULL;
        return how;
    }
    k->at = 0;
    if (!k->revision)
        k->revision = k->page->header->revision;
    k->is_end = !k->page->more;
    if (k->page->n_kvs) {
        const Mvccpb__KeyValue *last = k->page->kvs[k->page->n_kvs - 1];
        buf_clear(&k->next);
        buf_add(&k->next, last->key.data, last->key.len);
        buf_add_byte(&k->next, 0);
    }
    adapt_limit(k);
    return CTL_DONE;
}

/* *ret_op NULL: the walk has ended. It lives until the next call. */
static enum ctl_exit cursor_next(struct cursor *k, const struct migrate_op **ret_op)
{
    static const struct migrate_rule same = {0};
    *ret_op = NULL;
    for (;;) {
        while (k->page && k->at < k->page->n_kvs) {
            const Mvccpb__KeyValue *kv = k->page->kvs[k->at++];
            const struct migrate_rule *rule = k->side == &k->m->from ? &k->m->rule : &same;
            if (!migrate_map_key(rule, migrate_slice(kv->key), &k->name))
                continue;
            k->op = (struct migrate_op){.key = buf_slice(&k->name),
                                        .value = migrate_slice(kv->value),
                                        .lease = kv->lease,
                                        .revision = kv->mod_revision};
            *ret_op = &k->op;
            return CTL_DONE;
        }
        if (k->is_end)
            return CTL_DONE;
        enum ctl_exit how = cursor_page(k);
        if (how)
            return how;
    }
}

/* --- comparing ------------------------------------------------------------------------------------------- */

struct outbox {
    struct arena arena;
    struct migrate_op *ops;
    size_t count, bytes;
};

static enum ctl_exit outbox_flush(struct migrate *m, struct outbox *o)
{
    enum ctl_exit how = CTL_DONE;
    if (o->count)
        how = migrate_write(m, o->ops, o->count, m->state.revision);
    o->count = o->bytes = 0;
    arena_reset(&o->arena);
    return how ? how : migrate_tick(m);
}

static enum ctl_exit outbox_add(struct migrate *m, struct outbox *o, const struct migrate_op *op,
                                bool is_delete)
{
    enum ctl_exit how = CTL_DONE;
    size_t size = op->key.size + (is_delete ? 0 : op->value.size);
    if (o->count && (o->count >= m->limits.ops || o->bytes + size > m->limits.bytes))
        how = outbox_flush(m, o);
    struct migrate_op *copy = &o->ops[o->count++];
    *copy = *op;
    copy->is_delete = is_delete;
    copy->key.data = arena_copy(&o->arena, op->key.data, op->key.size);
    if (is_delete)
        copy->value = (struct slice){0}, copy->lease = 0;
    else
        copy->value.data = arena_copy(&o->arena, op->value.data, op->value.size);
    o->bytes += size;
    return how;
}

static enum ctl_exit compare_once(struct migrate *m, struct cursor *from, struct cursor *to, struct outbox *o,
                                  uint64_t *ret_deleted)
{
    const struct migrate_op *source, *target;
    enum ctl_exit how = cursor_next(from, &source);
    if (!how)
        how = cursor_next(to, &target);
    while (!how && (source || target)) {
        enum migrate_step step = migrate_compare(source, target);
        if (step == MIGRATE_PUT || step == MIGRATE_CHANGE)
            how = outbox_add(m, o, source, false);
        else if (step == MIGRATE_DELETE)
            how = outbox_add(m, o, target, true);
        *ret_deleted += step == MIGRATE_DELETE;
        if (!how && step != MIGRATE_DELETE)
            how = cursor_next(from, &source);
        if (!how && step != MIGRATE_PUT)
            how = cursor_next(to, &target);
    }
    return how ? how : outbox_flush(m, o);
}

enum ctl_exit migrate_count(struct migrate *m, struct ctl *side, struct slice prefix, int64_t *ret_count,
                            int64_t *ret_revision)
{
    Etcdserverpb__RangeRequest q = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    struct buf end = {0};
    migrate_range_end(prefix, &end);
    q.key = prefix.size ? migrate_data(prefix) : (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) ""};
    q.range_end = migrate_data(buf_slice(&end));
    q.count_only = true;
    enum ctl_exit how =
        migrate_call(m, side, "/v3/kv/range", &q.base, &etcdserverpb__range_response__descriptor, NULL, &r);
    if (!how) {
        *ret_count = r->count;
        *ret_revision = r->header->revision;
    }
    buf_done(&end);
    return how;
}

enum ctl_exit migrate_compare_sides(struct migrate *m)
{
    enum ctl_exit how;
    struct outbox o = {.ops = mem_alloc((m->limits.ops + 1) * sizeof *o.ops)};
    do {
        struct cursor from, to;
        uint64_t deleted = 0, before = m->keys;
        cursor_init(&from, m, &m->from, 0);
        cursor_init(&to, m, &m->to, 0);
        *m->error = 0;
        m->needs_compare = false;
        how = compare_once(m, &from, &to, &o, &deleted);
        o.count = o.bytes = 0;
        if (how == CTL_ERROR && is_compacted(m)) {
            ctl_note(m->c, "Revision %" PRId64 " was compacted during the copy: the rest is compared anew.",
                     from.revision);
            how = CTL_DONE;
            m->needs_compare = true;
        } else if (!how) {
            m->applied = from.revision;
            if (m->source < m->applied)
                m->source = m->applied;
            how = migrate_write(m, NULL, 0, m->applied);
            ctl_note(m->c,
                     "The target has the keys of source revision %" PRId64 ": %" PRIu64 " written, %" PRIu64
                     " of them deleted.",
                     m->applied, m->keys - before, deleted);
        }
        cursor_done(&from);
        cursor_done(&to);
    } while (!how && m->needs_compare);
    arena_done(&o.arena);
    mem_free(o.ops);
    return how;
}

/* --- verifying ------------------------------------------------------------------------------------------- */

static void add_number(struct sha256 *sha, uint64_t n)
{
    uint8_t bytes[8];
    put_be64(bytes, n);
    sha256_add(sha, bytes, sizeof bytes);
}

static enum ctl_exit hash_side(struct migrate *m, struct ctl *side, int64_t revision, uint8_t digest[32],
                               uint64_t *ret_keys)
{
    struct cursor k;
    const struct migrate_op *op = NULL;
    struct sha256 *sha = sha256_new();
    cursor_init(&k, m, side, revision);
    *ret_keys = 0;
    enum ctl_exit how;
    while (!(how = cursor_next(&k, &op)) && op) {
        add_number(sha, op->key.size);
        sha256_add(sha, op->key.data, op->key.size);
        add_number(sha, op->value.size);
        sha256_add(sha, op->value.data, op->value.size);
        add_number(sha, (uint64_t)op->lease);
        ++*ret_keys;
    }
    sha256_finish(sha, digest);
    cursor_done(&k);
    return how;
}

enum ctl_exit migrate_is_equal(struct migrate *m, bool *ret_is_equal)
{
    uint8_t source[32], target[32];
    uint64_t keys;
    *ret_is_equal = false;
    *m->error = 0;
    m->is_ticking = true; /* a tick grants leases at the target, which is not ours yet */
    enum ctl_exit how = hash_side(m, &m->to, 0, target, &keys);
    if (!how)
        how = hash_side(m, &m->from, 0, source, &keys);
    m->is_ticking = false;
    if (how == CTL_ERROR && is_compacted(m))
        return CTL_DONE;
    *ret_is_equal = !how && memcmp(source, target, sizeof source) == 0;
    return how;
}

enum ctl_exit migrate_verify(struct migrate *m, bool *ret_is_equal, uint64_t *ret_keys, char ret_hash[65])
{
    uint8_t source[32], target[32];
    uint64_t there = 0;
    *ret_is_equal = false;
    *m->error = 0;
    enum ctl_exit how = hash_side(m, &m->to, 0, target, &there);
    if (!how)
        how = hash_side(m, &m->from, m->applied, source, ret_keys);
    if (how == CTL_ERROR && is_compacted(m)) {
        m->needs_compare = true;
        return CTL_DONE;
    }
    if (how)
        return how;
    for (int i = 0; i < 32; i++)
        snprintf(ret_hash + 2 * i, 3, "%02x", source[i]);
    *ret_is_equal = memcmp(source, target, 32) == 0;
    if (*ret_is_equal) {
        m->verified = m->applied;
        return CTL_DONE;
    }
    m->needs_compare = true;
    ctl_note(m->c,
             "The sides differ at source revision %" PRId64 " (%" PRIu64 " and %" PRIu64
             " keys): they are compared and the target is corrected.",
             m->applied, *ret_keys, there);
    return CTL_DONE;
}
