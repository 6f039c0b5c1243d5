/* SPDX-License-Identifier: Apache-2.0
 * The interface between the registry, which decides on health checks, and the code that runs them
 * (server/probe). A test gives another one. Loop thread only. */
#ifndef REGISTRY_CHECK_PROBER_H
#define REGISTRY_CHECK_PROBER_H

#include "registry/check_plan.h"

/* One run of a check. The caller owns it until done, which is called once, never from inside of start, and
 * not after cancel. */
struct check_probe {
    enum check_type type;
    bool is_tls, is_insecure;
    uint16_t port;
    uint32_t timeout_ms;
    const char *host, *path, *service; /* borrowed until done; host: an address or a name */
    /* output: one line of printable ASCII, at most CHECK_OUTPUT_MAX bytes; valid during done. */
    void (*done)(struct check_probe *p, enum check_outcome outcome, const char *output);
    void *impl; /* private to the prober */
};

struct check_prober {
    void (*start)(struct check_prober *p, struct check_probe *probe);
    void (*cancel)(struct check_prober *p, struct check_probe *probe);
};

#endif
