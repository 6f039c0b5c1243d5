/* SPDX-License-Identifier: Apache-2.0
 * Answers with a content whose references are rendered: the parameter `render`. */
#ifndef SERVER_API_CONFIG_RENDER_H
#define SERVER_API_CONFIG_RENDER_H

#include "server/api/config_call.h"

/* Answers with the rendered content of this release. It reads the configurations that are referenced, each with the
 * caller's permission, so the answer comes later: the call's state and cancel are replaced. */
void api_show_rendered(struct api_call *c, int64_t revision, const struct config_release *release);

#endif
