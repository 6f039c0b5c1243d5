/* SPDX-License-Identifier: Apache-2.0
 * Rules for browsers: which host names, origins and pages a request may come with. Pure.
 *
 * Invariant: a page of another origin is recognized by headers that browsers set themselves and scripts
 * cannot: Origin, Sec-Fetch-Site, Host. The rules for pages do not restrict other clients, which send none of
 * the first two. */
#ifndef SERVER_HTTP_ACCESS_H
#define SERVER_HTTP_ACCESS_H

#include "base/buf.h"

/* The headers that tell a browser's request; empty = absent. */
struct http_browser_headers {
    struct slice origin, host, fetch_site, user_agent, accept_language;
};

/* A comma-separated list; NULL, "" and "*" allow everything. */
bool http_access_list_has(const char *list, struct slice name);
bool http_access_allows_all(const char *list);
/* "example.com:2379" -> "example.com", "[::1]:2379" -> "::1". */
struct slice http_access_host_name(struct slice host);
/* Whether an Origin ("http://example.com:2379") names the host the request was sent to. */
bool http_access_is_same_origin(struct slice origin, struct slice host);

/* Whether a browser sent this. The header fields that only some browsers let scripts change count too, so
 * that a page can hide at most a GET. */
bool http_access_is_browser(const struct http_browser_headers *h);
/* False for a request that a page of another origin caused. True for this server's own pages, for addresses
 * typed by the user, and for clients that are no browsers. The rule is that of Go's
 * http.CrossOriginProtection; a page of the same site and another origin (another port) is another page. */
bool http_access_is_own_page(const struct http_browser_headers *h);
/* Whether a browser may know this server by that name. DNS rebinding needs a name in the public DNS that
 * the attacker owns. So these are safe: addresses, names without a dot, names below localhost, local,
 * internal and svc, which the public DNS does not have; and the names of the list (NULL = none, "*" = all,
 * lower case). */
bool http_access_is_own_host(struct slice name, const char *list);

#endif
