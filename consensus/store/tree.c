/* SPDX-License-Identifier: Apache-2.0
 * B+tree of index entries; see tree.h. Invariants, which tree_check asserts:
 * - The keys of a node ascend, and all share their first `skip` bytes. tags[i] is the eight bytes after that,
 *   big-endian, zero-padded, so tags ascend, too (not strictly).
 * - keys[i] of an inner node is the first key of the subtree under kids[i].
 * - Only the root may be empty; leaves are chained in order.
 *
 * A full leaf moves keys to a neighbour that has room before it is split, so that leaves are four fifths full
 * after inserts in any order. An empty leaf is removed; two neighbours that are nearly empty are joined. More
 * rebalancing is not worth its code, because keys leave only through compaction. */
#include "consensus/store/tree.h"

#include <assert.h>

#include "base/mem.h"
#include "consensus/store/index.h"

#define FANOUT     64u
#define JOIN_BELOW (FANOUT / 4)
#define TAKES_UPTO (FANOUT / 8 * 7) /* a neighbour with more keys gets none */
#define BUILD_FILL (FANOUT / 8 * 7)
#define LEVELS_MAX 16
#define PREFETCH   8u

struct tree_node {
    uint16_t count;
    uint16_t level; /* 0 = leaf */
    uint32_t skip;
    uint64_t tags[FANOUT];
    struct index_entry *keys[FANOUT];
    union {
        struct tree_node *kids[FANOUT]; /* inner nodes */
        struct {                        /* leaves are allocated only up to here */
            struct tree_node *prev, *next;
        };
    };
};

/* The path from the root to a leaf: the slot that was taken in each node. */
struct path {
    unsigned depth; /* index of the leaf */
    struct {
        struct tree_node *node;
        unsigned slot;
    } at[LEVELS_MAX];
};

static struct tree_node *node_new(unsigned level)
{
    size_t size = level ? sizeof(struct tree_node) : offsetof(struct tree_node, next) + sizeof(void *);
    struct tree_node *n = mem_alloc(size);
    n->count = 0;
    n->level = (uint16_t)level;
    n->skip = 0;
    if (level == 0)
        n->prev = n->next = NULL;
    return n;
}

static uint64_t key_tag(struct slice key, size_t skip)
{
    size_t rest = key.size > skip ? key.size - skip : 0;
    if (rest >= 8)
        return get_be64(key.data + skip);
    uint8_t padded[8] = {0};
    if (rest)
        memcpy(padded, key.data + skip, rest);
    return get_be64(padded);
}

static size_t shared_prefix(struct slice a, struct slice b, size_t max)
{
    if (max > a.size)
        max = a.size;
    if (max > b.size)
        max = b.size;
    size_t i = 0;
    while (i + 8 <= max && get_le64(a.data + i) == get_le64(b.data + i))
        i += 8;
    while (i < max && a.data[i] == b.data[i])
        i++;
    return i;
}

static void node_set_skip(struct tree_node *n, size_t skip)
{
    n->skip = (uint32_t)skip;
    for (unsigned i = 0; i < n->count; i++)
        n->tags[i] = key_tag(index_entry_key(n->keys[i]), skip);
}

/* Computes the longest common prefix again, after many keys of the node changed. */
static void node_retag(struct tree_node *n)
{
    size_t skip = 0;
    if (n->count > 1)
        skip = shared_prefix(index_entry_key(n->keys[0]), index_entry_key(n->keys[n->count - 1]), SIZE_MAX);
    node_set_skip(n, skip);
}

/* Shortens the prefix for a key that may not share it. */
static void node_admit(struct tree_node *n, struct slice key)
{
    if (n->count == 0 || n->skip == 0)
        return;
    size_t shared = shared_prefix(index_entry_key(n->keys[0]), key, n->skip);
    if (shared < n->skip)
        node_set_skip(n, shared);
}

static void node_set_key(struct tree_node *n, unsigned slot, struct index_entry *entry)
{
    struct slice key = index_entry_key(entry);
    /* The old key may be freed already: compare with another one, and compute the tags again when there is
     * none. */
    if (n->count == 1) {
        n->keys[slot] = entry;
        node_set_skip(n, 0);
        return;
    }
    size_t shared = shared_prefix(index_entry_key(n->keys[slot == 0 ? 1 : 0]), key, n->skip);
    n->keys[slot] = entry;
    if (shared < n->skip)
        node_set_skip(n, shared);
    else
        n->tags[slot] = key_tag(key, n->skip);
}

/* The number of keys of the node that are < key (or <= key when `equal_too`). */
static unsigned node_search(const struct tree_node *n, struct slice key, bool equal_too)
{
    if (n->count == 0 || key.size == 0)
        return 0;
    if (n->skip) {
        size_t size = key.size < n->skip ? key.size : n->skip;
        int c = memcmp(key.data, index_entry_key(n->keys[0]).data, size);
        if (c == 0 && key.size < n->skip)
            c = -1;
        if (c != 0)
            return c < 0 ? 0 : n->count;
    }
    uint64_t tag = key_tag(key, n->skip);
    unsigned low = 0, high = n->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int c = n->tags[middle] < tag ? -1 : n->tags[middle] > tag;
        if (c == 0)
            c = slice_compare(index_entry_key(n->keys[middle]), key);
        if (c < 0 || (c == 0 && equal_too))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void node_insert(struct tree_node *n, unsigned slot, struct index_entry *entry, struct tree_node *kid)
{
    assert(n->count < FANOUT && slot <= n->count);
    struct slice key = index_entry_key(entry);
    node_admit(n, key);
    size_t after = n->count - slot;
    memmove(&n->tags[slot + 1], &n->tags[slot], after * sizeof n->tags[0]);
    memmove(&n->keys[slot + 1], &n->keys[slot], after * sizeof(void *));
    n->tags[slot] = key_tag(key, n->skip);
    n->keys[slot] = entry;
    if (n->level) {
        memmove(&n->kids[slot + 1], &n->kids[slot], after * sizeof(void *));
        n->kids[slot] = kid;
    }
    n->count++;
}

static void node_erase(struct tree_node *n, unsigned slot)
{
    size_t after = n->count - slot - 1u;
    memmove(&n->tags[slot], &n->tags[slot + 1], after * sizeof n->tags[0]);
    memmove(&n->keys[slot], &n->keys[slot + 1], after * sizeof(void *));
    if (n->level)
        memmove(&n->kids[slot], &n->kids[slot + 1], after * sizeof(void *));
    n->count--;
}

/* Moves the keys from `from` on to the end of `to`. */
static void node_move(struct tree_node *to, struct tree_node *n, unsigned from)
{
    unsigned moved = n->count - from;
    memcpy(&to->keys[to->count], &n->keys[from], moved * sizeof(void *));
    if (n->level)
        memcpy(&to->kids[to->count], &n->kids[from], moved * sizeof(void *));
    to->count = (uint16_t)(to->count + moved);
    n->count = (uint16_t)from;
    node_retag(to);
}

static void path_find(const struct tree *t, struct slice key, struct path *ret_path)
{
    struct tree_node *n = t->root;
    unsigned depth = 0;
    for (; n->level; depth++) {
        unsigned slot = node_search(n, key, true);
        if (slot)
            slot--;
        ret_path->at[depth].node = n;
        ret_path->at[depth].slot = slot;
        n = n->kids[slot];
    }
    ret_path->depth = depth;
    ret_path->at[depth].node = n;
    ret_path->at[depth].slot = node_search(n, key, false);
}

/* The first key of the node at `depth` changed: updates the nodes above that name it. */
static void path_fix_first(struct path *p, unsigned depth)
{
    for (unsigned d = depth; d > 0; d--) {
        node_set_key(p->at[d - 1].node, p->at[d - 1].slot, p->at[d].node->keys[0]);
        if (p->at[d - 1].slot != 0)
            break;
    }
}

/* True if the new key is after all others. */
static bool leaf_is_appended(const struct tree_node *n, unsigned slot)
{
    return !n->next && slot == n->count;
}

/* Moves the upper half of a full node to a new one. The last leaf of all moves nothing, so that ascending
 * keys leave full leaves behind. */
static struct tree_node *node_split(struct tree_node *n, unsigned insert_slot)
{
    struct tree_node *right = node_new(n->level);
    bool is_append = n->level == 0 && leaf_is_appended(n, insert_slot);
    if (!is_append) {
        node_move(right, n, FANOUT / 2);
        node_retag(n);
    }
    if (n->level == 0) {
        right->prev = n;
        right->next = n->next;
        if (n->next)
            n->next->prev = right;
        n->next = right;
    }
    return right;
}

/* Moves keys of a full leaf to the right or left neighbour under the same parent, so that both have the same
 * number; false when neither has room. */
static bool leaf_share(struct path *p)
{
    if (p->depth == 0)
        return false;
    struct tree_node *parent = p->at[p->depth - 1].node, *n = p->at[p->depth].node;
    unsigned slot = p->at[p->depth - 1].slot;
    struct tree_node *right = slot + 1 < parent->count ? parent->kids[slot + 1] : NULL;
    struct tree_node *left = slot > 0 ? parent->kids[slot - 1] : NULL;
    if (right && right->count <= TAKES_UPTO) {
        unsigned moved = (n->count - right->count) / 2u;
        memmove(&right->keys[moved], right->keys, right->count * sizeof(void *));
        memcpy(right->keys, &n->keys[n->count - moved], moved * sizeof(void *));
        right->count = (uint16_t)(right->count + moved);
        n->count = (uint16_t)(n->count - moved);
        node_retag(right);
        node_retag(n);
        node_set_key(parent, slot + 1, right->keys[0]);
        return true;
    }
    if (left && left->count <= TAKES_UPTO) {
        unsigned moved = (n->count - left->count) / 2u;
        memcpy(&left->keys[left->count], n->keys, moved * sizeof(void *));
        memmove(n->keys, &n->keys[moved], (n->count - moved) * sizeof(void *));
        left->count = (uint16_t)(left->count + moved);
        n->count = (uint16_t)(n->count - moved);
        node_retag(left);
        node_retag(n);
        node_set_key(parent, slot, n->keys[0]);
        return true;
    }
    return false;
}

static void tree_grow(struct tree *t, struct tree_node *right)
{
    struct tree_node *left = t->root;
    assert(left->level + 2u < LEVELS_MAX);
    t->root = node_new(left->level + 1u);
    node_insert(t->root, 0, left->keys[0], left);
    node_insert(t->root, 1, right->keys[0], right);
    node_retag(t->root);
}

void tree_init(struct tree *t)
{
    t->root = node_new(0);
}

static void node_free(struct tree_node *n)
{
    for (unsigned i = 0; n->level && i < n->count; i++)
        node_free(n->kids[i]);
    mem_free(n);
}

void tree_done(struct tree *t)
{
    if (t->root)
        node_free(t->root);
    t->root = NULL;
}

void tree_add(struct tree *t, struct index_entry *entry)
{
    struct path p;
    path_find(t, index_entry_key(entry), &p);
    const struct tree_node *leaf = p.at[p.depth].node;
    if (leaf->count == FANOUT && !leaf_is_appended(leaf, p.at[p.depth].slot) && leaf_share(&p))
        path_find(t, index_entry_key(entry), &p);
    struct tree_node *kid = NULL; /* the node that the level below split off */
    for (unsigned d = p.depth;; d--) {
        struct tree_node *n = p.at[d].node, *right = NULL;
        unsigned slot = p.at[d].slot;
        if (kid) {
            entry = kid->keys[0];
            slot++;
        }
        if (n->count == FANOUT) {
            right = node_split(n, slot);
            if (slot > n->count || n->count == FANOUT)
                node_insert(right, slot - n->count, entry, kid);
            else
                node_insert(n, slot, entry, kid);
        } else {
            node_insert(n, slot, entry, kid);
        }
        if (slot == 0)
            path_fix_first(&p, d);
        if (!right)
            return;
        if (d == 0) {
            tree_grow(t, right);
            return;
        }
        kid = right;
    }
}

static void path_erase(struct tree *t, struct path *p, unsigned d);

static void leaf_unlink(struct tree_node *n)
{
    if (n->prev)
        n->prev->next = n->next;
    if (n->next)
        n->next->prev = n->prev;
}

/* Joins two neighbours under one parent when both are small. */
static void path_join(struct tree *t, struct path *p, unsigned d)
{
    struct tree_node *parent = p->at[d - 1].node;
    unsigned slot = p->at[d - 1].slot;
    if (slot + 1 == parent->count) {
        if (slot == 0)
            return;
        slot--;
    }
    struct tree_node *left = parent->kids[slot], *right = parent->kids[slot + 1];
    if (left->count + right->count > FANOUT / 2)
        return;
    node_move(left, right, 0);
    if (right->level == 0)
        leaf_unlink(right);
    mem_free(right);
    p->at[d - 1].slot = slot + 1;
    path_erase(t, p, d - 1);
}

/* Removes the slot at depth d, and empty nodes above it. */
static void path_erase(struct tree *t, struct path *p, unsigned d)
{
    struct tree_node *n = p->at[d].node;
    node_erase(n, p->at[d].slot);
    if (d == 0) {
        while (t->root->level && t->root->count == 1) {
            struct tree_node *old = t->root;
            t->root = old->kids[0];
            mem_free(old);
        }
        return;
    }
    if (n->count == 0) {
        if (n->level == 0)
            leaf_unlink(n);
        mem_free(n);
        path_erase(t, p, d - 1);
        return;
    }
    if (p->at[d].slot == 0)
        path_fix_first(p, d);
    if (n->count < JOIN_BELOW)
        path_join(t, p, d);
}

void tree_remove(struct tree *t, struct index_entry *entry)
{
    struct path p;
    path_find(t, index_entry_key(entry), &p);
    struct tree_node *leaf = p.at[p.depth].node;
    assert(p.at[p.depth].slot < leaf->count && leaf->keys[p.at[p.depth].slot] == entry);
    path_erase(t, &p, p.depth);
}

struct tree_cursor tree_seek(const struct tree *t, struct slice key)
{
    const struct tree_node *n = t->root;
    while (n->level) {
        unsigned slot = node_search(n, key, true);
        n = n->kids[slot ? slot - 1 : 0];
    }
    return (struct tree_cursor){.leaf = n, .slot = node_search(n, key, false)};
}

struct index_entry *tree_next(struct tree_cursor *c)
{
    while (c->leaf && c->slot >= c->leaf->count) {
        c->leaf = c->leaf->next;
        c->slot = 0;
    }
    if (!c->leaf)
        return NULL;
    /* Entries are spread over the memory: a walk is three times as fast when the next ones are prefetched. */
    if (c->slot + PREFETCH < c->leaf->count)
        __builtin_prefetch(c->leaf->keys[c->slot + PREFETCH]);
    return c->leaf->keys[c->slot++];
}

/* Builds one level above `kids`: writes its nodes over the array and returns their number. */
static size_t build_level(struct tree_node **kids, size_t count, unsigned level)
{
    size_t node_count = 0;
    for (size_t i = 0; i < count;) {
        struct tree_node *n = node_new(level);
        size_t take = count - i < BUILD_FILL ? count - i : BUILD_FILL;
        for (size_t k = 0; k < take; k++, i++) {
            n->kids[k] = kids[i];
            n->keys[k] = kids[i]->keys[0];
        }
        n->count = (uint16_t)take;
        node_retag(n);
        kids[node_count++] = n;
    }
    return node_count;
}

void tree_build(struct tree *t, struct index_entry *const *entries, size_t count)
{
    assert(t->root->level == 0 && t->root->count == 0);
    if (count == 0)
        return;
    mem_free(t->root);
    struct tree_node **nodes = mem_alloc((count / BUILD_FILL + 1) * sizeof *nodes), *last = NULL;
    size_t node_count = 0;
    for (size_t i = 0; i < count;) {
        struct tree_node *n = node_new(0);
        size_t take = count - i < BUILD_FILL ? count - i : BUILD_FILL;
        memcpy(n->keys, &entries[i], take * sizeof(void *));
        n->count = (uint16_t)take;
        node_retag(n);
        i += take;
        n->prev = last;
        if (last)
            last->next = n;
        last = n;
        nodes[node_count++] = n;
    }
    for (unsigned level = 1; node_count > 1; level++)
        node_count = build_level(nodes, node_count, level);
    t->root = nodes[0];
    mem_free(nodes);
}

static size_t node_check(const struct tree_node *n, const struct tree_node **last_leaf)
{
    size_t total = 0;
    for (unsigned i = 0; i < n->count; i++) {
        struct slice key = index_entry_key(n->keys[i]);
        assert(key.size >= n->skip && memcmp(key.data, index_entry_key(n->keys[0]).data, n->skip) == 0);
        assert(n->tags[i] == key_tag(key, n->skip));
        assert(i == 0 || slice_compare(index_entry_key(n->keys[i - 1]), key) < 0);
        if (n->level) {
            assert(n->kids[i]->level + 1 == n->level && n->kids[i]->count > 0);
            assert(n->kids[i]->keys[0] == n->keys[i]);
            total += node_check(n->kids[i], last_leaf);
        }
    }
    if (n->level == 0) {
        assert(n->prev == *last_leaf && (!n->prev || n->prev->next == n));
        *last_leaf = n;
        return n->count;
    }
    return total;
}

size_t tree_check(const struct tree *t)
{
    const struct tree_node *last = NULL;
    size_t total = node_check(t->root, &last);
    assert(last && !last->next);
    return total;
}

size_t tree_leaves(const struct tree *t)
{
    size_t count = 0;
    for (const struct tree_node *n = tree_seek(t, (struct slice){0}).leaf; n; n = n->next)
        count++;
    return count;
}
