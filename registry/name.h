/* SPDX-License-Identifier: Apache-2.0
 * Keys of the registry: ordinary keys under /cairn/registry/, so that any etcd client can read them, and
 * write them where its role permits. base/name.h encodes the names in them. Pure. */
#ifndef REGISTRY_NAME_H
#define REGISTRY_NAME_H

#include "base/name.h"

#define REGISTRY_PREFIX "/cairn/registry/"

enum name_kind {
    NAME_SERVICE,  /* services/<ns>/<group>/<service> */
    NAME_INSTANCE, /* instances/<ns>/<group>/<service>/<id> */
    NAME_OVERRIDE, /* overrides/<ns>/<group>/<service>/<id> */
    NAME_SESSION,  /* sessions/<lease, 16 hex digits> */
    NAME_GUARD,    /* guards/<ns>: the history of a storm guard */
    NAME_KINDS
};

/* Names that are not encoded. Fields that a kind does not have are empty. */
struct name {
    enum name_kind kind;
    struct slice ns, group, service, id;
    int64_t session;
};

void name_add_key(struct buf *out, const struct name *name);
/* The common prefix of keys of a kind. If ns or group is empty, it ends before it. */
void name_add_prefix(struct buf *out, enum name_kind kind, struct slice ns, struct slice group,
                     struct slice service);
/* Decoded names lie in scratch (cleared first). ERR_MALFORMED: not one of the registry's keys. */
MUST_CHECK int name_parse(struct slice key, struct buf *scratch, struct name *ret_name);

#endif
