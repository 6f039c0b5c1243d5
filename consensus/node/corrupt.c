/* SPDX-License-Identifier: Apache-2.0
 * See corrupt.h. */
#include "consensus/node/corrupt.h"

void corrupt_mark(struct corrupt *c, uint64_t index, uint32_t digest)
{
    *c = (struct corrupt){.index = index, .digest = digest, .is_known = true};
}

static bool has_told(const struct corrupt *c, uint64_t member)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->told[i].member == member)
            return true;
    return false;
}

bool corrupt_report(struct corrupt *c, uint64_t self, uint64_t member, uint64_t index, uint32_t digest)
{
    if (!c->is_known || index != c->index || has_told(c, member) || c->count == RAFT_MEMBERS_MAX)
        return false;
    c->is_differing = c->is_differing || digest != c->digest || (c->count && digest != c->told[0].digest);
    c->told[c->count++] = (struct corrupt_reported){member, digest};
    bool must_tell = c->is_differing && !c->has_told && !has_told(c, self);
    c->has_told = c->has_told || must_tell || member == self;
    return must_tell;
}

/* How many voters have told this digest. */
static size_t support(const struct corrupt *c, const struct raft_ids *voters, uint32_t digest)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        n += c->told[i].digest == digest && raft_ids_has(voters, c->told[i].member);
    return n;
}

/* The digest that most voters have told: NULL when none has a majority of all voters. */
static const struct corrupt_reported *majority(const struct corrupt *c, const struct raft_ids *voters)
{
    for (size_t i = 0; i < c->count; i++)
        if (support(c, voters, c->told[i].digest) > voters->count / 2)
            return &c->told[i];
    return NULL;
}

static bool told_differ(const struct corrupt *c)
{
    for (size_t i = 1; i < c->count; i++)
        if (c->told[i].digest != c->told[0].digest)
            return true;
    return false;
}

enum corrupt_verdict corrupt_judge(const struct corrupt *c, const struct raft_ids *voters)
{
    size_t told = 0, best = 0;
    if (!told_differ(c))
        return CORRUPT_NOT_YET;
    if (majority(c, voters))
        return CORRUPT_DECIDED;
    for (size_t i = 0; i < c->count; i++) {
        size_t n = support(c, voters, c->told[i].digest);
        told += raft_ids_has(voters, c->told[i].member);
        best = n > best ? n : best;
    }
    return best + (voters->count - told) > voters->count / 2 ? CORRUPT_NOT_YET : CORRUPT_NO_MAJORITY;
}

bool corrupt_is_diverged(const struct corrupt *c, const struct raft_ids *voters, uint64_t member)
{
    const struct corrupt_reported *right = majority(c, voters);
    for (size_t i = 0; right && i < c->count; i++)
        if (c->told[i].member == member)
            return c->told[i].digest != right->digest;
    return false;
}
