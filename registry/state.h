/* SPDX-License-Identifier: Apache-2.0
 * The states of an instance: the rows of document.def. */
#ifndef REGISTRY_STATE_H
#define REGISTRY_STATE_H

#include "base/buf.h"
#include "base/err.h"

enum instance_state {
#define STATE(name, text, serves) INSTANCE_##name,
#include "registry/document.def"
#undef STATE
    INSTANCE_STATES
};

const char *instance_state_name(enum instance_state state);
MUST_CHECK int instance_state_find(struct slice text, enum instance_state *ret_state); /* ERR_NOT_FOUND */
bool instance_state_serves(enum instance_state state);

#endif
