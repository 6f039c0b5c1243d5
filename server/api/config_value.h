/* SPDX-License-Identifier: Apache-2.0
 * Answers with one value of a content: the parameter `key`. */
#ifndef SERVER_API_CONFIG_VALUE_H
#define SERVER_API_CONFIG_VALUE_H

#include "server/api/config_call.h"

/* Answers with the value of the call's key in this release, as JSON. The content worker reads the content, so the
 * answer comes later: the call's state and cancel are replaced. */
void api_show_value(struct api_call *c, int64_t revision, const struct config_release *release);

#endif
