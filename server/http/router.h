/* SPDX-License-Identifier: Apache-2.0
 * Method and path to route, over the table in routes.def. Pure. */
#ifndef SERVER_HTTP_ROUTER_H
#define SERVER_HTTP_ROUTER_H

#include "server/http/request.h"

enum { ON_METRICS = 1, ANSWERS_ALL = 2, TAKES_WEBSOCKET = 4, IS_GATEWAY = 8, IS_NATIVE = 16 };

struct route {
    unsigned methods; /* of enum http_method */
    const char *path;
    const struct http_handler *handler;
    unsigned flags;
    void *context; /* passed to the handler */
};

struct route_match {
    int status;                /* 200, 404 or 405 */
    const struct route *route; /* with 200 and 405 */
    struct slice rest;         /* the rest after a path that ends with '/' */
};

struct route_match router_find(const struct route *routes, size_t count, unsigned method, struct slice path,
                               enum http_role role);

/* Writes "GET, HEAD", the Allow header of a 405, cut to `size` bytes. */
void router_allow(const struct route *route, char *ret_text, size_t size);

#endif
