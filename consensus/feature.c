/* SPDX-License-Identifier: Apache-2.0
 * Feature levels; see feature.h. In the store's META table, under "feature": format 1, minor 1, target 1,
 * reserved 1, level 4 (little-endian), then the version's text. */
#include "consensus/feature.h"

#include <stdio.h>
#include <string.h>

#include "base/failpoint.h"

enum { FORMAT = 1, HEAD_SIZE = 8 };

static const char *const versions[FEATURE_LEVEL_LAST + 1] = {
#define FEATURE(level, version, what) [level] = version,
#include "consensus/feature.def"
#undef FEATURE
};

unsigned feature_level_here(unsigned option)
{
    if (option)
        return option;
    return FAILPOINT(TRIAL_LEVEL) ? FEATURE_LEVEL_TRIAL : FEATURE_LEVEL_LAST;
}

unsigned feature_level_of(enum entry_op op)
{
    /* ENTRY_DOWNGRADE_INFO was added with level 2, but belongs to level 1: it must work after a job has
     * lowered the level to 1. Members of level 1 skip it, and it changes nothing of their state. */
    return op == ENTRY_TRIAL ? FEATURE_LEVEL_TRIAL : FEATURE_LEVEL_FIRST;
}

const char *feature_version(unsigned level)
{
    if (level == FEATURE_LEVEL_TRIAL)
        return "trial";
    return level >= FEATURE_LEVEL_FIRST && level <= FEATURE_LEVEL_LAST ? versions[level] : "?";
}

unsigned feature_level_below(unsigned level)
{
    unsigned below = level;
    while (below > FEATURE_LEVEL_FIRST && strcmp(feature_version(below), feature_version(level)) == 0)
        below--;
    return below;
}

struct feature_state feature_state_first(void)
{
    struct feature_state s = {.level = FEATURE_LEVEL_FIRST, .minor = FEATURE_ETCD_MINOR};
    snprintf(s.version, sizeof s.version, "%s", feature_version(s.level));
    return s;
}

void feature_state_write(struct buf *out, const struct feature_state *s)
{
    uint8_t head[HEAD_SIZE] = {FORMAT, (uint8_t)s->minor, (uint8_t)s->target_minor};
    put_le32(head + 4, s->level);
    buf_add(out, head, sizeof head);
    buf_add_text(out, s->version);
}

int feature_state_read(struct slice bytes, struct feature_state *ret_state)
{
    if (bytes.size && bytes.data[0] != FORMAT)
        return ERR_LEVEL;
    if (bytes.size < HEAD_SIZE || bytes.size > HEAD_SIZE + FEATURE_VERSION_MAX)
        return ERR_MALFORMED;
    struct feature_state s = {
        .level = get_le32(bytes.data + 4), .minor = bytes.data[1], .target_minor = bytes.data[2]};
    if (s.level < FEATURE_LEVEL_FIRST)
        return ERR_MALFORMED;
    memcpy(s.version, bytes.data + HEAD_SIZE, bytes.size - HEAD_SIZE);
    *ret_state = s;
    return OK;
}
