/* SPDX-License-Identifier: Apache-2.0
 * The schemas of schema.def, for /openapi.json and /asyncapi.json. */
#ifndef SERVER_API_OPENAPI_H
#define SERVER_API_OPENAPI_H

#include "server/api/call.h"
#include "server/api/private.h"

/* Writes the schemas that are marked, and those that they refer to, as members of an open object. Marks them. */
void api_openapi_add_schemas(struct json_writer *w, bool is_used[SCHEMAS]);

/* A reader of frame.def whose form asyncapi.c does not know; NULL = none. */
const char *api_asyncapi_unknown_reader(void);

#endif
