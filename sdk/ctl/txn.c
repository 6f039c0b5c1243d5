/* SPDX-License-Identifier: Apache-2.0
 * The command txn: compares, success requests and failure requests, each part ended by an empty line, as in
 * etcdctl. */
#include "sdk/ctl/kv.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINES_MAX = 10000 };

struct lines {
    char *line;
    size_t capacity;
    bool is_cut; /* the input has ended, perhaps within a line */
};

/* The next line without its end; NULL: an empty line, or the input is cut off. */
static const char *next_line(struct lines *l)
{
    ssize_t size = getline(&l->line, &l->capacity, stdin);
    l->is_cut = size <= 0 || l->line[size - 1] != '\n';
    if (l->is_cut)
        return NULL;
    while (size > 0 && (l->line[size - 1] == '\n' || l->line[size - 1] == '\r'))
        l->line[--size] = 0;
    return size > 0 ? l->line : NULL;
}

static void prompt(struct ctl *c, const char *text)
{
    if (!ctl_bool(&c->line, "interactive"))
        return;
    buf_addf(&c->out, "%s\n", text);
    (void)ctl_flush(c);
}

/* A transaction that is cut off must not run: a part of its requests may be missing. */
static enum ctl_exit end_part(struct ctl *c, const struct lines *l)
{
    if (!l->is_cut)
        return CTL_DONE;
    if (c->line.is_etcdctl)
        return ctl_fail(c, CTL_INVALID_INPUT, "EOF");
    return ctl_fail(
        c, CTL_INVALID_INPUT,
        "the input ends early: comparisons, success requests and failure requests each end with an "
        "empty line; nothing was changed");
}

static enum ctl_exit read_compares(struct ctl *c, struct lines *l, Etcdserverpb__TxnRequest *txn)
{
    const char *line;
    txn->compare = arena_alloc(&c->arena, LINES_MAX * sizeof *txn->compare);
    while ((line = next_line(l))) {
        Etcdserverpb__Compare *compare = arena_new(&c->arena, sizeof *compare);
        etcdserverpb__compare__init(compare);
        if (txn->n_compare == LINES_MAX)
            return ctl_fail(c, CTL_INVALID_INPUT, "more than %d comparisons", LINES_MAX);
        if (!ctl_read_compare(&c->arena, line, compare)) {
            bool is_number_wrong = compare->target_union_case && compare->key.len;
            return ctl_fail(c, CTL_INVALID_INPUT,
                            is_number_wrong ? "invalid txn compare request: %s" : "malformed comparison: %s",
                            line);
        }
        txn->compare[txn->n_compare++] = compare;
    }
    return end_part(c, l);
}

/* Reads one operation. Everything in it lives in the arena, the words included. */
static enum ctl_exit read_op(struct ctl *c, const char *line, Etcdserverpb__RequestOp *op)
{
    int count = 0;
    char **words = ctl_cut_line(&c->arena, line, &count);
    const char **argv = arena_alloc(&c->arena, ((size_t)count + 2) * sizeof *argv);
    argv[0] = c->line.is_etcdctl ? "etcdctl" : "cairnctl";
    if (words)
        memcpy(argv + 1, words, (size_t)count * sizeof *argv);
    struct ctl_command_line t;
    enum ctl_exit how = CTL_INVALID_INPUT;
    if (words && ctl_parse(count + 1, argv, &t, &how) == OK) {
        if (t.command == CTL_COMMAND_get) {
            op->request_range = arena_alloc(&c->arena, sizeof *op->request_range);
            etcdserverpb__range_request__init(op->request_range);
            op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
            how = ctl_read_get(c, &t, op->request_range);
        } else if (t.command == CTL_COMMAND_put) {
            op->request_put = arena_alloc(&c->arena, sizeof *op->request_put);
            etcdserverpb__put_request__init(op->request_put);
            op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            how = ctl_read_put(c, &t, NULL, op->request_put);
        } else if (t.command == CTL_COMMAND_del) {
            op->request_delete_range = arena_alloc(&c->arena, sizeof *op->request_delete_range);
            etcdserverpb__delete_range_request__init(op->request_delete_range);
            op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
            how = ctl_read_del(c, &t, op->request_delete_range);
        }
    }
    if (words)
        ctl_command_line_done(&t);
    return op->request_case ? how : ctl_fail(c, CTL_INVALID_INPUT, "invalid txn request: %s", line);
}

static enum ctl_exit read_ops(struct ctl *c, struct lines *l, size_t *ret_count,
                              Etcdserverpb__RequestOp ***ret_ops)
{
    const char *line;
    *ret_ops = arena_alloc(&c->arena, LINES_MAX * sizeof **ret_ops);
    for (*ret_count = 0; (line = next_line(l));) {
        Etcdserverpb__RequestOp *op = arena_alloc(&c->arena, sizeof *op);
        etcdserverpb__request_op__init(op);
        if (*ret_count == LINES_MAX)
            return ctl_fail(c, CTL_INVALID_INPUT, "more than %d requests", LINES_MAX);
        enum ctl_exit how = read_op(c, line, op);
        if (how)
            return how;
        (*ret_ops)[(*ret_count)++] = op;
    }
    return end_part(c, l);
}

enum ctl_exit ctl_txn(struct ctl *c)
{
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__TxnResponse *answer;
    struct ctl_rpc rpc = {
        .path = "/v3/kv/txn", .request = &request.base, .answer = &etcdserverpb__txn_response__descriptor};
    struct lines l = {0};
    if (c->line.arg_count)
        return ctl_fail(c, CTL_BAD_ARGS, "txn command does not accept argument");
    enum ctl_exit how = ctl_no_table(c);
    if (!how) {
        prompt(c, "compares:");
        how = read_compares(c, &l, &request);
    }
    if (!how) {
        prompt(c, "success requests (get, put, del):");
        how = read_ops(c, &l, &request.n_success, &request.success);
    }
    if (!how) {
        prompt(c, "failure requests (get, put, del):");
        how = read_ops(c, &l, &request.n_failure, &request.failure);
    }
    if (!how)
        how = ctl_rpc(c, &rpc, &answer);
    if (!how)
        ctl_show_txn(c, answer);
    free(l.line);
    return how;
}
