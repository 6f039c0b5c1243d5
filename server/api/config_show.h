/* SPDX-License-Identifier: Apache-2.0
 * Answers with a content: the raw content with its attributes in headers, or everything as JSON. */
#ifndef SERVER_API_CONFIG_SHOW_H
#define SERVER_API_CONFIG_SHOW_H

#include "server/api/config_call.h"

/* Answers with the result of config_read; 304 if the client has it. */
void api_show_release(struct api_call *c, int64_t revision, const struct config_result *result, bool as_json);
void api_show_draft(struct api_call *c, const struct config_result *result, bool as_json);

#endif
