/* SPDX-License-Identifier: Apache-2.0
 * Sequential models for wgl.h, and readers of recorded histories for them: one register with compare-and-set
 * (Jepsen's logs of an etcd register), and a map of strings that are read, set and appended to, one part per
 * key (the "kv" files). */
#ifndef TESTS_CHECK_WGL_MODELS_H
#define TESTS_CHECK_WGL_MODELS_H

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "tests/check/wgl.h"

#define REGISTER_NIL INT64_MIN

enum register_kind { REGISTER_READ, REGISTER_WRITE, REGISTER_CAS };

struct register_op {
    enum register_kind kind;
    int64_t from, to; /* a read's value is in `to`, so is what is written */
    bool is_unknown;  /* the outcome */
    bool is_refused;  /* compare-and-set: the register held something else */
};

enum append_kind { APPEND_GET, APPEND_PUT, APPEND_ADD };

struct append_op {
    enum append_kind kind;
    struct slice key, value; /* of a get: what it returned */
    bool is_unknown;
};

/* A history read from text, with everything that it refers to. Zeroed is empty. */
struct wgl_history {
    struct arena arena;
    struct wgl_op *ops;
    size_t count, capacity;
    struct wgl_model model;
    struct strmap strings; /* states of the append model: their numbers plus one */
    struct slice *texts;
    size_t text_count, text_capacity;
};

/* Both return ERR_MALFORMED and the number of the line that they do not understand. */
MUST_CHECK int wgl_read_register(struct wgl_history *h, struct slice text, size_t *ret_line);
MUST_CHECK int wgl_read_append(struct wgl_history *h, struct slice text, size_t *ret_line);
void wgl_history_done(struct wgl_history *h);

/* For histories made by hand: op must live as long as h. */
void wgl_history_add(struct wgl_history *h, int64_t call, int64_t ret, const void *op);
void wgl_register_model(struct wgl_history *h);
void wgl_append_model(struct wgl_history *h);

#endif
