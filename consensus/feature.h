/* SPDX-License-Identifier: Apache-2.0
 * Feature levels: the number of the newest log format that all members of a cluster understand (feature.def).
 * Pure.
 *
 * The cluster's level is part of the replicated state. Only kv/feature_level.c changes it. This file has the
 * level that each kind of entry needs, and the form of the level in the store. */
#ifndef CONSENSUS_FEATURE_H
#define CONSENSUS_FEATURE_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/entry.h"

enum {
    FEATURE_LEVEL_FIRST = 1, /* of a member that announces none */
    FEATURE_LEVEL_LAST = 0   /* the level of this build: the number of rows of the table */
#define FEATURE(level, version, what) +1
#include "consensus/feature.def"
#undef FEATURE
    ,
    /* A level of tests (kv_options.feature_level), which stands for a newer version: it has ENTRY_TRIAL. */
    FEATURE_LEVEL_TRIAL = FEATURE_LEVEL_LAST + 1,
    FEATURE_LEVEL_LEARNERS = 3, /* MembershipChange.learners_max counts */
    FEATURE_LEVEL_CONTENTS = 4, /* see feature.def */
    FEATURE_VERSION_MAX = 31    /* bytes of a version's text */
};

/* The cluster version in etcd's terms is 3.7. */
enum { FEATURE_ETCD_MINOR = 7 };

#define FEATURE_STORE_KEY "feature" /* the state's key in BACKEND_META */

/* The state as of the applied entry. Zeros are not valid: begin with feature_state_first. */
struct feature_state {
    unsigned level;
    unsigned minor;                        /* of the cluster version, 3.minor */
    unsigned target_minor;                 /* of a downgrade job; 0 = none */
    char version[FEATURE_VERSION_MAX + 1]; /* Cairn's version that added the level, as the leader knew it */
};

/* The level of this process: the option (kv_options), or the build's level when the option is 0. */
unsigned feature_level_here(unsigned option);
/* The level that an entry of this kind needs. */
unsigned feature_level_of(enum entry_op op);
/* The level that a downgrade leads to: the last one of an earlier version, or the first. */
unsigned feature_level_below(unsigned level);
/* Cairn's version that added the level; "?" if this build does not know it. */
const char *feature_version(unsigned level);

struct feature_state feature_state_first(void);
void feature_state_write(struct buf *out, const struct feature_state *state);
/* ERR_MALFORMED. ERR_LEVEL: a newer version has written another form. */
MUST_CHECK int feature_state_read(struct slice bytes, struct feature_state *ret_state);

#endif
