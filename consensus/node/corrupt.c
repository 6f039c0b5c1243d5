/* SPDX-License-Identifier: Apache-2.0
 * Vote over state digests; see corrupt.h. */
#include "consensus/node/corrupt.h"

void corrupt_mark(struct corrupt *c, uint64_t index, uint32_t digest)
{
    *c = (struct corrupt){.index = index, .digest = digest, .is_known = true};
}

static bool has_reported(const struct corrupt *c, uint64_t member)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->reports[i].member == member)
            return true;
    return false;
}

bool corrupt_report(struct corrupt *c, uint64_t self, uint64_t member, uint64_t index, uint32_t digest)
{
    if (!c->is_known || index != c->index || has_reported(c, member) || c->count == RAFT_MEMBERS_MAX)
        return false;
    c->has_difference =
        c->has_difference || digest != c->digest || (c->count && digest != c->reports[0].digest);
    c->reports[c->count++] = (struct corrupt_reported){member, digest};
    bool must_report = c->has_difference && !c->has_reported && !has_reported(c, self);
    c->has_reported = c->has_reported || must_report || member == self;
    return must_report;
}

/* The number of voters that reported this digest. */
static size_t support(const struct corrupt *c, const struct raft_ids *voters, uint32_t digest)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        n += c->reports[i].digest == digest && raft_ids_has(voters, c->reports[i].member);
    return n;
}

/* The digest that a majority of all voters reported; NULL: there is none. */
static const struct corrupt_reported *majority(const struct corrupt *c, const struct raft_ids *voters)
{
    for (size_t i = 0; i < c->count; i++)
        if (support(c, voters, c->reports[i].digest) > voters->count / 2)
            return &c->reports[i];
    return NULL;
}

static bool do_reports_differ(const struct corrupt *c)
{
    for (size_t i = 1; i < c->count; i++)
        if (c->reports[i].digest != c->reports[0].digest)
            return true;
    return false;
}

enum corrupt_verdict corrupt_judge(const struct corrupt *c, const struct raft_ids *voters)
{
    size_t reported = 0, best = 0;
    if (!do_reports_differ(c))
        return CORRUPT_NOT_YET;
    if (majority(c, voters))
        return CORRUPT_DECIDED;
    for (size_t i = 0; i < c->count; i++) {
        size_t n = support(c, voters, c->reports[i].digest);
        reported += raft_ids_has(voters, c->reports[i].member);
        best = n > best ? n : best;
    }
    return best + (voters->count - reported) > voters->count / 2 ? CORRUPT_NOT_YET : CORRUPT_NO_MAJORITY;
}

bool corrupt_is_diverged(const struct corrupt *c, const struct raft_ids *voters, uint64_t member)
{
    const struct corrupt_reported *right = majority(c, voters);
    for (size_t i = 0; right && i < c->count; i++)
        if (c->reports[i].member == member)
            return c->reports[i].digest != right->digest;
    return false;
}
