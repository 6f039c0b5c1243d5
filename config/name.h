/* SPDX-License-Identifier: Apache-2.0
 * The config center's keys: ordinary keys under /cairn/config/, with names encoded as base/name.h says. A
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
    CONFIG_KEYS
};

struct config_name {
    enum config_key kind;
    struct slice ns, group, name;
    uint64_t seq; /* RELEASE: from 1 on */
};

void config_name_add_key(struct buf *out, const struct config_name *name);
/* How the keys of a kind begin. An empty ns, group or name ends it before that; of a RELEASE, with a name, it
 * is how all releases of the one item begin, seq and nothing else missing. */
void config_name_add_prefix(struct buf *out, enum config_key kind, struct slice ns, struct slice group,
                            struct slice name);
/* How the keys begin whose names begin so ("app" finds "app.yaml"); beginning may be empty. */
void config_name_add_beginning(struct buf *out, enum config_key kind, struct slice ns, struct slice group,
                               struct slice beginning);
/* Decoded names lie in scratch (cleared first). ERR_MALFORMED: not one of the config center's keys; it is
 * left alone. */
MUST_CHECK int config_name_parse(struct slice key, struct buf *scratch, struct config_name *ret_name);

#endif
