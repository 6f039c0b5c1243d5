/* SPDX-License-Identifier: Apache-2.0
 * THE DOOR of server/api: the native HTTP API under /api/v1, /sd/prometheus and /openapi.json, as handlers
 * for server/http. The loop thread's only. */
#ifndef SERVER_API_API_H
#define SERVER_API_API_H

#include "config/config.h"
#include "registry/registry.h"
#include "server/http/http.h"

struct api;
struct identity;

struct api_options {
    struct registry *registry; /* both live longer */
    struct config *config;     /* NULL: its routes are never called (in tests) */
    struct identity *identity; /* who asks, once auth is enabled; NULL: nobody is asked (in tests) */
    uint64_t (*mono_ms)(void);
    uint64_t (*mono_ns)(void); /* NULL: mono_ms is used for what takes less, too */
    uint64_t import_bytes_max; /* of archives that are imported, unpacked and together; 0 = 128 MiB */
};

struct api *api_new(const struct api_options *options);
/* After the HTTP server has stopped. */
void api_free(struct api *a);
/* In each turn of the loop, after registry_turn and config_turn: goes on with calls that take long,
 * forgets the answers that requests of one turn share, and ends reads that wait and have lost their right.
 * True: there is more to do, do not sleep. */
bool api_turn(struct api *a);

enum { API_MOUNTS = 4 };
void api_mounts(struct api *a, struct http_mount ret_mounts[API_MOUNTS]);

#endif
