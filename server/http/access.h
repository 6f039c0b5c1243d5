/* SPDX-License-Identifier: Apache-2.0
 * Rules for browsers: the host names, origins and pages that a request may come from. Pure.
 *
 * Invariant: a page of another origin is recognized by headers that the browser sets and scripts cannot
 * change: Origin, Sec-Fetch-Site, Host. The rules for pages do not restrict other clients, which send
 * neither of the first two. */
#ifndef SERVER_HTTP_ACCESS_H
#define SERVER_HTTP_ACCESS_H

#include "base/buf.h"

/* The headers that identify a browser's request; empty = absent. */
struct http_browser_headers {
    struct slice origin, host, fetch_site, user_agent, accept_language;
};

/* A comma-separated list; NULL, "" and "*" allow everything. */
bool http_access_list_has(const char *list, struct slice name);
bool http_access_allows_all(const char *list);
/* "example.com:2379" -> "example.com", "[::1]:2379" -> "::1". */
struct slice http_access_host_name(struct slice host);
/* True: an Origin ("http://example.com:2379") names the host that the request was sent to. */
bool http_access_is_same_origin(struct slice origin, struct slice host);

/* True: a browser sent this. Headers that scripts can change in some browsers count too, so a page can
 * hide at most a GET. */
bool http_access_is_browser(const struct http_browser_headers *h);
/* False: a page of another origin caused the request. True for this server's pages, for addresses that the
 * user typed, and for clients that are not browsers. The rule is that of Go's http.CrossOriginProtection;
 * a page of the same site with another origin (another port) counts as another page. */
bool http_access_is_own_page(const struct http_browser_headers *h);
/* True: a browser may use this name for the server. DNS rebinding needs a name in the public DNS that the
 * attacker owns. So these names are safe:
 *   - IP addresses and names without a dot;
 *   - names below localhost, local, internal and svc, which the public DNS does not have;
 *   - the names of `list` (lower case; NULL = none, "*" = all). */
bool http_access_is_own_host(struct slice name, const char *list);

#endif
