/* SPDX-License-Identifier: Apache-2.0
 * The public API of server/api: the native HTTP API under /api/v1, /sd/prometheus, /openapi.json,
 * /asyncapi.json and /docs/errors.md, as handlers for server/http. Loop thread only. */
#ifndef SERVER_API_API_H
#define SERVER_API_API_H

#include "config/config.h"
#include "namespace/namespace.h"
#include "registry/registry.h"
#include "server/http/http.h"

struct api;
struct idempotency;
struct identity;

struct api_options {
    struct registry *registry;       /* registry and config must outlive the api */
    struct config *config;           /* NULL: its routes are never called (in tests) */
    struct namespaces *namespaces;   /* NULL: as config */
    struct kv *kv;                   /* read by the audit trail's route */
    struct audit *audit;             /* NULL: there is no audit trail */
    struct idempotency *idempotency; /* counts the records of idempotency keys; NULL in tests */
    struct identity
        *identity; /* authenticates clients once auth is enabled; NULL: no authentication (in tests) */
    uint64_t (*mono_ms)(void);
    uint64_t (*mono_ns)(void); /* for slices of time; NULL: mono_ms is used */
    uint64_t import_bytes_max; /* of all archives under import together, unpacked; 0 = 128 MiB */
};

struct api *api_new(const struct api_options *options);
/* Call it after the HTTP server has stopped. */
void api_free(struct api *a);
/* Call it in each turn of the loop, after registry_turn and config_turn. It
 *   - answers polls whose data changed, and continues long calls
 *   - drops the results that the requests of one turn shared
 *   - ends waiting reads that have lost their permission
 * True: there is more to do, do not sleep. */
bool api_turn(struct api *a);

enum { API_MOUNTS = 6 };
void api_mounts(struct api *a, struct http_mount ret_mounts[API_MOUNTS]);

#endif
