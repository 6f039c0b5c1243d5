/* SPDX-License-Identifier: Apache-2.0
 * Health checks that members run: the fields `check` and `checked` of an instance's document, and the states
 * that follow from them. Pure.
 *
 * tcp, http, https and grpc are run by a member. With ttl a client reports the results (check_report.h), and a
 * member watches that the reports come.
 *
 * An instance with a check has no session. The client gives `check`; the registry alone writes `checked`:
 * the state that the check found, its reason, and the state that the client registered. The document's own
 * `state` is always the one in effect, so that every reader of the keys sees it. */
#ifndef REGISTRY_CHECK_H
#define REGISTRY_CHECK_H

#include "base/document.h"
#include "registry/state.h"

enum check_type { CHECK_TCP, CHECK_HTTP, CHECK_HTTPS, CHECK_GRPC, CHECK_TTL, CHECK_TYPES };

#define CHECK_INTERVAL_MS     10000
#define CHECK_INTERVAL_MIN_MS 1000
#define CHECK_INTERVAL_MAX_MS 3600000
#define CHECK_TIMEOUT_MS      2000
#define CHECK_TIMEOUT_MIN_MS  100
#define CHECK_TIMEOUT_MAX_MS  60000
#define CHECK_TTL_MIN_MS      1000
#define CHECK_TTL_MAX_MS      86400000
#define CHECK_RUNS_MAX        100 /* of failures and successes */
#define CHECK_OUTPUT_MAX      200 /* bytes */
#define CHECK_SERVICE_MAX     200 /* bytes */

struct check {
    enum check_type type;
    uint16_t port;                    /* 0 = the instance's */
    bool is_tls;                      /* grpc: over TLS */
    bool is_insecure;                 /* https, grpc over TLS: the certificate is not verified */
    struct slice path;                /* http, https; empty = "/" */
    struct slice service;             /* grpc: the name in the question; empty = the server as a whole */
    uint32_t interval_ms, timeout_ms; /* 0 with ttl, as failures and successes: nothing is run */
    uint32_t ttl_ms;                  /* ttl: the longest time between two reports */
    uint32_t deregister_after_s;      /* an instance that is down for so long is deregistered; 0 = never */
    uint16_t failures, successes;     /* outcomes in a row until a worse, a better state */

    /* `checked` */
    enum instance_state registered; /* the state that the client gave */
    enum instance_state result;     /* starting (no result yet), up, warn, down */
    struct slice output;            /* the reason of the result, one line of printable ASCII */
};

const char *check_type_name(enum check_type type);

/* Reads both fields into the arena; *ret stays NULL if there is no `check`. state: the document's own, which
 * becomes the one in effect. Errors are the reader's. */
void check_read(struct document_reader *r, bool is_stored, enum instance_state *state, struct check **ret);
void check_write_members(const struct check *c, struct json_writer *w);
/* The state in effect: up and warn are limited by the result of the check, other states are the client's. */
enum instance_state check_effect(enum instance_state registered, enum instance_state result);
/* Its numbers are within the limits of the reader. */
bool check_is_valid(const struct check *c);
/* Both check the same: the fields of `check` are equal. */
bool check_equal(const struct check *a, const struct check *b);

#endif
