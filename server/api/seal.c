/* SPDX-License-Identifier: Apache-2.0
 * POST /api/v1/seal: seals what is stored already, page by page (config/config_reseal.c). */
#include "server/api/config_call.h"

struct seal_call {
    struct config_reseal reseal; /* first */
    struct api_call *call;
    struct api_page page;
};

static void split_last(struct seal_call *s)
{
    const struct slice last = s->reseal.last;
    const uint8_t *slash = last.size ? memchr(last.data, '/', last.size) : NULL;
    size_t size = slash ? (size_t)(slash - last.data) : 0;
    s->page.group = slice_of(last.data, size);
    s->page.name = slash ? slice_of(slash + 1, last.size - size - 1) : (struct slice){0};
}

static void on_sealed(struct config_request *q, int err, const struct config_result *result)
{
    struct config_reseal *r = container_of(q, struct config_reseal, request);
    struct seal_call *s = container_of(r, struct seal_call, reseal);
    struct api_call *c = s->call;
    if (err) {
        buf_done(&s->page.after);
        api_config_fail(c, err, result);
        return;
    }
    struct json_writer *w = api_json(c, result->revision);
    document_add_number(w, "examined", (int64_t)r->examined);
    document_add_number(w, "sealed", (int64_t)r->sealed);
    document_add_number(w, "failed", (int64_t)r->failed);
    document_add_text(w, "error", slice_text(r->error));
    split_last(s);
    api_page_end(&s->page, w, result->has_more && s->page.name.size);
    buf_done(&s->page.after);
    api_answer(c, result->revision);
}

static void cancel_seal(struct api_call *c)
{
    struct seal_call *s = c->state;
    config_cancel(api_config(c), &s->reseal.request);
    buf_done(&s->page.after);
}

void api_config_seal(struct api_call *c)
{
    if (!api_page_check(c))
        return;
    struct seal_call *s = arena_new(&c->q->arena, sizeof *s);
    s->call = c;
    api_page_begin(&s->page, c);
    s->reseal = (struct config_reseal){
        .request = {.done = on_sealed, .who = api_who(c), .author = api_author(c)},
        .ns = c->ns,
        .group = api_group_filter(c),
        .prefix = api_param(c, PARAM_PREFIX),
        .after = buf_slice(&s->page.after),
        .limit = s->page.left,
    };
    c->state = s;
    c->cancel = cancel_seal;
    config_reseal(api_config(c), &s->reseal);
}
