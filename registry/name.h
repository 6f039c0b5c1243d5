/* SPDX-License-Identifier: Apache-2.0
 * The registry's keys: ordinary keys under /cairn/registry/, so that any etcd client can read them, and write
 * them where its role allows. Names in them are encoded as base/name.h says. Pure. */
#ifndef REGISTRY_NAME_H
#define REGISTRY_NAME_H

#include "base/name.h"

#define REGISTRY_PREFIX "/cairn/registry/"

enum name_kind {
    NAME_SERVICE,  /* services/<ns>/<group>/<service> */
    NAME_INSTANCE, /* instances/<ns>/<group>/<service>/<id> */
    NAME_OVERRIDE, /* overrides/<ns>/<group>/<service>/<id> */
    NAME_SESSION,  /* sessions/<lease, 16 hex digits> */
    NAME_GUARD,    /* guards/<ns>: what a storm guard remembers */
    NAME_KINDS
};

/* Names as people write them. What a kind does not have is empty. */
struct name {
    enum name_kind kind;
    struct slice ns, group, service, id;
    int64_t session;
};

void name_add_key(struct buf *out, const struct name *name);
/* The beginning of all keys of a kind; ns and group may be empty, then it ends before them. */
void name_add_prefix(struct buf *out, enum name_kind kind, struct slice ns, struct slice group,
                     struct slice service);
/* Decoded names lie in scratch (cleared first). ERR_MALFORMED: not one of the registry's keys; it is left
 * alone. */
MUST_CHECK int name_parse(struct slice key, struct buf *scratch, struct name *ret_name);

#endif
