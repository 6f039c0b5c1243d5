/* SPDX-License-Identifier: Apache-2.0
 * The config center's keys: ordinary keys under /cairn/config/, with names encoded by base/name.h. A
 * release's seq is 16 hexadecimal digits, so that releases sort in their order. Pure. */
#ifndef CONFIG_NAME_H
#define CONFIG_NAME_H

#include "base/name.h"

#define CONFIG_PREFIX  "/cairn/config/"
#define CONFIG_SEQ_MAX INT64_MAX

enum config_key {
    CONFIG_HEAD,    /* heads/<ns>/<group>/<name> */
    CONFIG_RELEASE, /* releases/<ns>/<group>/<name>/<seq> */
    CONFIG_DRAFT,   /* drafts/<ns>/<group>/<name> */
    /* config/workflow.h */
    CONFIG_POLICY,   /* policies/<ns>/review */
    CONFIG_REVIEW,   /* reviews/<ns>/<group>/<name> */
    CONFIG_SCHEDULE, /* schedules/<ns>/<group>/<name> */
    CONFIG_ROLLOUT,  /* rollouts/<ns>/<group>/<name> */
    CONFIG_SCHEMA,   /* schemas/<ns>/<group>/<pattern>: config/schemas.h */
    /* Not stored: WRITE on such a key is the right to publish without a review. */
    CONFIG_EMERGENCY, /* emergency/<ns>/<group>/<name> */
    CONFIG_KEYS
};

struct config_name {
    enum config_key kind;
    struct slice ns, group, name; /* POLICY: group and name are empty */
    uint64_t seq;                 /* RELEASE: from 1 on */
};

void config_name_add_key(struct buf *out, const struct config_name *name);
/* Appends the prefix of the keys of a kind. It ends before the first of ns, group and name that is empty.
 * With a RELEASE and a name it is the prefix of all releases of that item. */
void config_name_add_prefix(struct buf *out, enum config_key kind, struct slice ns, struct slice group,
                            struct slice name);
/* Appends the prefix of all keys whose names have this prefix ("app" matches "app.yaml"); it may be empty. */
void config_name_add_beginning(struct buf *out, enum config_key kind, struct slice ns, struct slice group,
                               struct slice beginning);
/* Parses a key; the decoded names lie in scratch (cleared first). ERR_MALFORMED: not a key of the config
 * center; the caller leaves it alone. */
MUST_CHECK int config_name_parse(struct slice key, struct buf *scratch, struct config_name *ret_name);

#endif
