/* SPDX-License-Identifier: Apache-2.0
 * The table of permissions: one row for each operation that a port of the server offers, joined from the
 * tables of operations of the whole tree. docs/security.md and the access tests are made from it; it
 * reads those tables and has no list of its own. */
#ifndef TESTS_ACCESS_TABLE_H
#define TESTS_ACCESS_TABLE_H

#include "base/access.h"

enum access_surface {
#define SURFACE(id, name, port, plain, certificate, what) SURFACE_##id,
#include "tests/access/surface.def"
#undef SURFACE
    SURFACE_COUNT
};

struct access_row {
    enum access_surface surface;
    const char *operation; /* unique within its surface: "KV/Range", "GET /version", "subscribe kv" */
    const char *path;      /* where it is reached: a gRPC path, an HTTP path; "" where there is none */
    enum access need;
    const char *what; /* a few words; "" if the operation's name is enough */
};

/* Calls fn for each row, in the order of the tables. The row is borrowed. */
void access_rows_each(void (*fn)(void *arg, const struct access_row *row), void *arg);

struct access_surface_row {
    const char *id, *name, *port, *plain, *certificate, *what;
};
extern const struct access_surface_row access_surfaces[SURFACE_COUNT];

struct access_text {
    const char *id, *title;
    unsigned callers; /* bits of enum access_caller */
    const char *text;
};
extern const struct access_text access_texts[ACCESS_COUNT];

#endif
