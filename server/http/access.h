/* SPDX-License-Identifier: Apache-2.0
 * Who may ask: the Host header against --host-whitelist (DNS rebinding), the Origin header against --cors.
 * Pure. */
#ifndef SERVER_HTTP_ACCESS_H
#define SERVER_HTTP_ACCESS_H

#include "base/buf.h"

/* A comma-separated list; NULL, "" and "*" allow everything. */
bool http_access_list_has(const char *list, struct slice name);
bool http_access_allows_all(const char *list);
/* "example.com:2379" -> "example.com", "[::1]:2379" -> "::1". */
struct slice http_access_host_name(struct slice host);
/* Whether an Origin ("http://example.com:2379") names the host the request was sent to. */
bool http_access_is_same_origin(struct slice origin, struct slice host);

#endif
