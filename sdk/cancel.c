/* SPDX-License-Identifier: Apache-2.0
 * Options of one call: its deadline, and its cancel.
 *
 * A cancel has a list of the running calls, which the client's thread owns. Other threads set is_canceled and
 * post. A call that begins later sees is_canceled, so none is missed. The program, each call and the post
 * hold the cancel; the last of them frees it. */
#include <stdatomic.h>

#include "sdk/private.h"

struct cairn_cancel {
    struct cairn_client *client;
    atomic_uint holders;
    atomic_bool is_canceled;
    struct link ops; /* the client's thread */
    struct post post;
};

static void cancel_release(struct cairn_cancel *x)
{
    if (x && atomic_fetch_sub(&x->holders, 1) == 1)
        mem_free(x);
}

int cairn_cancel_new(struct cairn_client *c, struct cairn_cancel **ret)
{
    struct cairn_cancel *x = mem_new(sizeof *x);
    x->client = c;
    atomic_init(&x->holders, 1);
    atomic_init(&x->is_canceled, false);
    list_init(&x->ops);
    *ret = x;
    return CAIRN_OK;
}

static int cancel_error(struct cairn_error *error)
{
    return set_error(error, CAIRN_CANCELED, "canceled by the program");
}

static void cancel_all(struct post *p)
{
    struct cairn_cancel *x = container_of(p, struct cairn_cancel, post);
    struct cairn_error e = {0};
    cancel_error(&e);
    for (struct link *l; (l = list_take_first(&x->ops));) {
        struct cancel_op *op = container_of(l, struct cancel_op, link);
        op->run(op, &e);
    }
    cancel_release(x);
}

void cairn_cancel_now(struct cairn_cancel *x)
{
    if (atomic_exchange(&x->is_canceled, true))
        return;
    atomic_fetch_add(&x->holders, 1);
    x->post.run = cancel_all;
    /* Always by the inbox, also on the client's own thread: callbacks do not nest. */
    if (client_post(x->client, &x->post) != CAIRN_OK)
        cancel_release(x); /* a client that is being closed ends all its calls */
}

void cairn_cancel_free(struct cairn_cancel *x)
{
    cancel_release(x);
}

int call_options_take(const struct cairn_client *c, const struct cairn_call_options *options,
                      uint32_t *timeout_ms, struct cancel_op *op, struct cairn_error *error)
{
    struct cairn_call_options o = {0};
    if (!options)
        return CAIRN_OK;
    if (!options->size || options->size > 4096)
        return set_error(error, CAIRN_INVALID, "options.size is not sizeof(struct cairn_call_options)");
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (o.cancel && o.cancel->client != c)
        return set_error(error, CAIRN_INVALID, "the cancel belongs to another client");
    if (o.timeout_ms)
        *timeout_ms = o.timeout_ms;
    op->cancel = o.cancel;
    if (o.cancel)
        atomic_fetch_add(&o.cancel->holders, 1);
    return CAIRN_OK;
}

bool cancel_begin(struct cancel_op *op, struct cairn_error *ret)
{
    if (!op->cancel)
        return false;
    if (atomic_load(&op->cancel->is_canceled)) {
        cancel_error(ret);
        return true;
    }
    list_add_last(&op->cancel->ops, &op->link);
    return false;
}

void cancel_end(struct cancel_op *op)
{
    list_remove(&op->link);
    cancel_release(op->cancel);
    op->cancel = NULL;
}
