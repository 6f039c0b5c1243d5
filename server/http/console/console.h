/* SPDX-License-Identifier: Apache-2.0
 * The web console under /ui/: files that are in the program, and nothing else. What the pages show they ask
 * the public API for, so there is nothing here to protect but the pages themselves. */
#ifndef SERVER_HTTP_CONSOLE_CONSOLE_H
#define SERVER_HTTP_CONSOLE_CONSOLE_H

#include "consensus/kv.h"
#include "server/http/http.h"

enum { CONSOLE_MOUNTS = 2 };
/* kv lives longer: it is asked for the members' client URLs, which the page may connect to (and no others).
 */
void console_mounts(struct kv *kv, struct http_mount ret_mounts[CONSOLE_MOUNTS]);

/* Whether an Accept-Encoding allows gzip. Pure. */
bool console_takes_gzip(struct slice accept_encoding);

#endif
