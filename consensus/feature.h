/* SPDX-License-Identifier: Apache-2.0
 * Feature levels: a small number for what all members of a cluster understand (feature.def). Pure.
 *
 * The cluster's level is part of the replicated state. Only kv/feature_level.c changes it; this file knows which
 * entry needs which level, and how the level lies in the store. */
#ifndef CONSENSUS_FEATURE_H
#define CONSENSUS_FEATURE_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/entry.h"

enum {
    FEATURE_LEVEL_FIRST = 1, /* of a member that announces none */
    FEATURE_LEVEL_LAST = 0   /* counted by the table: what this build has */
#define FEATURE(level, version, what) +1
#include "consensus/feature.def"
#undef FEATURE
    ,
    /* One more, with ENTRY_TRIAL: a newer version, as tests have it (kv_options.feature_level). */
    FEATURE_LEVEL_TRIAL = FEATURE_LEVEL_LAST + 1,
    FEATURE_VERSION_MAX = 31 /* of a version's text, bytes */
};

/* The cluster version that we announce as etcd does: 3.7. */
enum { FEATURE_ETCD_MINOR = 7 };

/* As of the applied entry; zeros are never valid (feature_state_first). */
struct feature_state {
    unsigned level;
    unsigned minor;                        /* of the cluster version, 3.minor */
    unsigned target_minor;                 /* of a downgrade job; 0 = none */
    char version[FEATURE_VERSION_MAX + 1]; /* of ours that brought the level, as whoever raised it knows it */
};

/* The level of this process: the option (kv_options), or the build's level when the option is 0. */
unsigned feature_level_here(unsigned option);
/* The level that an entry of this kind needs. */
unsigned feature_level_of(enum entry_op op);
/* The version of ours that brought it; "?" when this build does not know. */
const char *feature_version(unsigned level);

struct feature_state feature_state_first(void);
void feature_state_write(struct buf *out, const struct feature_state *state);
/* ERR_MALFORMED; ERR_LEVEL: a form that a newer version has written. */
MUST_CHECK int feature_state_read(struct slice bytes, struct feature_state *ret_state);

#endif
