/* SPDX-License-Identifier: Apache-2.0
 * The web console under /ui/: static files in the program. The pages get all data from the public API, so
 * no data needs protection here. */
#ifndef SERVER_HTTP_CONSOLE_CONSOLE_H
#define SERVER_HTTP_CONSOLE_CONSOLE_H

#include "consensus/kv.h"
#include "server/http/http.h"

enum { CONSOLE_MOUNTS = 2 };
/* Fills the console's mounts. kv is borrowed and outlives them: it has the members' client URLs, the only
 * ones that the page may connect to. */
void console_mounts(struct kv *kv, struct http_mount ret_mounts[CONSOLE_MOUNTS]);

/* True: an Accept-Encoding header allows gzip. Pure. */
bool console_takes_gzip(struct slice accept_encoding);

#endif
