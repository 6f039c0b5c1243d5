/* SPDX-License-Identifier: Apache-2.0
 * Effective rights of users: the ranges of all roles of a user, merged into one list.
 *
 * A list is valid until a role of the user changes, or its list of roles. Then a user of few permissions gets
 * a new one at its next request. The list of a user with very many is made in slices (auth_prepare,
 * auth_merge_some). Until it is complete a check searches each role:
 *
 *     gather the roles' ranges -> merge sort by begin -> join ranges that touch
 *
 * A role's own list is made in one pass, because its permissions are already in order. Merged lists borrow
 * their keys from the roles' lists: after a change of a role the old merged lists are not used any more. */
#include "base/buf_release.h"
#include "base/merge_sort.h"
#include "consensus/auth/rights.h"

enum {
    AT_ONCE_MAX = 1024, /* permissions: about 200 us */
    PASSES_MAX = 64,    /* over all roles, for one check */
};

struct auth_merge {
    uint64_t begun, seen; /* as auth_rights.merged and .seen */
    size_t role;          /* the next to gather */
    struct auth_ranges gathered;
    struct merge_sort sort;
    size_t kept, next; /* joined to list[0 ... kept]; the next range to join */
};

/* Numbers the changes of roles and of users' role lists, in memory only. */
static uint64_t changes;

uint64_t auth_rights_changed(void)
{
    return ++changes;
}

/* --- ranges of a role ------------------------------------------------------------------------------ */

void auth_role_forget_ranges(struct auth_role *r)
{
    for (int i = 0; i < 2; i++) {
        auth_ranges_done(&r->ranges[i]);
        r->merged[i] = 0;
    }
}

const struct auth_ranges *auth_role_ranges(struct auth_role *r, bool is_write)
{
    struct auth_ranges *ranges = &r->ranges[is_write];
    Authpb__Permission__Type other =
        is_write ? AUTHPB__PERMISSION__TYPE__READ : AUTHPB__PERMISSION__TYPE__WRITE;
    if (r->merged[is_write] == r->changed)
        return ranges;
    auth_ranges_done(ranges);
    for (size_t i = 0; i < r->count; i++)
        if (r->list[i].type != other)
            auth_ranges_add(ranges, r->list[i].key, r->list[i].range_end);
    auth_ranges_join(ranges);
    r->merged[is_write] = r->changed;
    return ranges;
}

/* --- ranges of a user, in slices --------------------------------------------------------------------- */

static struct auth_role *find_role_at(const struct auth *a, const struct auth_user *u, size_t i)
{
    return auth_role_find(a, slice_text(u->roles[i]));
}

/* True when nothing has changed since. A deleted role is removed from its users, which is a change of
 * them. */
static bool is_current(const struct auth *a, const struct auth_user *u, uint64_t since, uint64_t *seen)
{
    bool is_new = since > 0 && since >= u->changed;
    if (is_new && *seen == changes)
        return true;
    for (size_t i = 0; is_new && i < u->role_count; i++) {
        const struct auth_role *r = find_role_at(a, u, i);
        is_new = !r || r->changed <= since;
    }
    *seen = is_new ? changes : 0;
    return is_new;
}

static struct auth_rights *rights_of(struct auth_user *u, bool is_write)
{
    return is_write ? &u->write : &u->read;
}

static bool is_merged(const struct auth *a, const struct auth_user *u, struct auth_rights *rights)
{
    return is_current(a, u, rights->merged, &rights->seen);
}

static void merge_free(struct auth_merge *m)
{
    if (!m)
        return;
    auth_ranges_done(&m->gathered);
    mem_release(m->sort.items, m->sort.count * m->sort.size);
    mem_release(m->sort.spare, m->sort.count * m->sort.size);
    mem_free(m);
}

void auth_rights_done(struct auth_rights *rights)
{
    merge_free(rights->merge);
    auth_ranges_done(&rights->ranges);
    *rights = (struct auth_rights){0};
}

static void gather_role(struct auth_merge *m, struct auth_role *r, bool is_write, int64_t *units)
{
    if (!r)
        return;
    const struct auth_ranges *ranges = auth_role_ranges(r, is_write);
    auth_ranges_append(&m->gathered, ranges);
    *units -= (int64_t)r->count;
}

static int auth_rights_compare(const void *a, const void *b, void *arg)
{
    (void)arg;
    return auth_range_compare(a, b);
}

static void begin_sort(struct auth_merge *m)
{
    m->sort = (struct merge_sort){.items = (uint8_t *)m->gathered.list,
                                  .size = sizeof *m->gathered.list,
                                  .count = m->gathered.count,
                                  .compare = auth_rights_compare};
    m->gathered = (struct auth_ranges){0};
}

/* True when the list is complete. */
static bool join_some(struct auth_merge *m, int64_t *units)
{
    struct auth_range *list = (void *)m->sort.items;
    if (!m->next)
        m->next = 1;
    for (; m->next<m->sort.count && * units> 0; --*units)
        m->kept = auth_range_join(list, m->kept, &list[m->next++]);
    return m->next >= m->sort.count;
}

static void auth_rights_finish(struct auth_rights *rights)
{
    struct auth_merge *m = rights->merge;
    struct auth_ranges ranges = {
        .list = (void *)m->sort.items, .count = m->sort.count ? m->kept + 1 : 0, .capacity = m->sort.count};
    rights->merged = m->begun;
    rights->seen = m->seen;
    m->sort.items = NULL;
    auth_ranges_done(&rights->ranges);
    rights->ranges = ranges;
    merge_free(m);
    rights->merge = NULL;
}

static void auth_rights_begin(struct auth_rights *rights)
{
    merge_free(rights->merge);
    rights->merge = mem_new(sizeof *rights->merge);
    rights->merge->begun = rights->merge->seen = changes;
}

/* True when the rights are merged. */
static bool merge_some(const struct auth *a, struct auth_user *u, bool is_write, int64_t *units)
{
    struct auth_rights *rights = rights_of(u, is_write);
    if (is_merged(a, u, rights))
        return true;
    if (!rights->merge || !is_current(a, u, rights->merge->begun, &rights->merge->seen))
        auth_rights_begin(rights);
    struct auth_merge *m = rights->merge;
    while (*units > 0 && m->role < u->role_count)
        gather_role(m, find_role_at(a, u, m->role++), is_write, units);
    if (m->role < u->role_count)
        return false;
    if (!m->sort.size)
        begin_sort(m);
    if (!merge_sort_step(&m->sort, units) || !join_some(m, units))
        return false;
    auth_rights_finish(rights);
    return true;
}

/* --- checks ----------------------------------------------------------------------------------------- */

static bool has_many(const struct auth *a, const struct auth_user *u)
{
    size_t count = 0;
    for (size_t i = 0; i < u->role_count && count <= AT_ONCE_MAX; i++) {
        const struct auth_role *r = find_role_at(a, u, i);
        count += r ? r->count : 0;
    }
    return count > AT_ONCE_MAX;
}

/* Searches the range in each role. In each pass the role ranges that hold the key cover a first part of it,
 * and the key moves to that part's end.
 *
 *   1   the whole range is covered
 *   0   it is not
 *   -1  not decided within PASSES_MAX passes */
static int search_roles(const struct auth *a, const struct auth_user *u, struct slice key,
                        struct slice range_end, bool is_write)
{
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        struct slice end = {0};
        for (size_t i = 0; i < u->role_count; i++) {
            struct auth_role *r = find_role_at(a, u, i);
            const struct auth_range *range = r ? auth_ranges_at(auth_role_ranges(r, is_write), key) : NULL;
            if (range && (!range_end.size || range->is_open))
                return 1;
            if (range && (!end.size || slice_compare(range->end, end) > 0))
                end = range->end;
        }
        if (!end.size)
            return 0;
        if (!auth_is_open(range_end) && slice_compare(range_end, end) <= 0)
            return 1;
        key = end;
    }
    return -1;
}

static void request_merge(const struct auth *a, struct auth_user *u, struct auth_rights *rights)
{
    rights->is_merge_requested = true;
    if (!link_is_in_list(&u->merge_link))
        list_add_last(a->merge_queue, &u->merge_link);
}

const struct auth_ranges *auth_user_ranges(const struct auth *a, struct auth_user *u, bool is_write)
{
    int64_t units = INT64_MAX;
    (void)merge_some(a, u, is_write, &units);
    return &rights_of(u, is_write)->ranges;
}

bool auth_user_is_allowed(const struct auth *a, struct auth_user *u, struct slice key, struct slice range_end,
                          bool is_write)
{
    struct auth_rights *rights = rights_of(u, is_write);
    if (!is_merged(a, u, rights) && a->merge_queue && has_many(a, u)) {
        int may = search_roles(a, u, key, range_end, is_write);
        request_merge(a, u, rights);
        if (may >= 0)
            return may > 0;
    }
    return auth_ranges_allow(auth_user_ranges(a, u, is_write), key, range_end);
}

/* For a write, merges the read rights only of users that have read before. */
bool auth_user_prepare(const struct auth *a, struct auth_user *u, bool is_write, int64_t *units)
{
    if (is_write && !merge_some(a, u, true, units))
        return false;
    return (is_write && !u->read.merged) || merge_some(a, u, false, units);
}

bool auth_merge_some(const struct auth *a, int64_t *units)
{
    while (a->merge_queue && !list_is_empty(a->merge_queue)) {
        struct auth_user *u = container_of(a->merge_queue->next, struct auth_user, merge_link);
        for (int is_write = 0; is_write < 2; is_write++) {
            struct auth_rights *rights = rights_of(u, is_write);
            if (rights->is_merge_requested && !merge_some(a, u, is_write, units))
                return false;
            rights->is_merge_requested = false;
        }
        list_remove(&u->merge_link);
    }
    return true;
}
