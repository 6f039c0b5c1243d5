/* SPDX-License-Identifier: Apache-2.0
 * Answers with a content; see config_show.h. */
#include "server/api/config_show.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "server/api/config_render.h"
#include "server/api/config_value.h"
#include "server/api/read.h"

static void begin_json(struct api_call *c, struct json_writer *w)
{
    document_add_text(w, "name", c->name);
    document_add_text(w, "group", c->group);
    document_add_text(w, "namespace", c->ns);
}

/* The md5 is known to be the content's. */
static void answer_content(struct api_call *c, int64_t revision, enum format format, const char *md5,
                           struct slice content)
{
    uint8_t tag[API_DIGEST_SIZE];
    bool has_tag = api_config_tag(md5, tag);
    if (has_tag)
        api_add_etag(c, tag);
    if (has_tag && api_has_tag(c, tag) && !api_has_param(c, PARAM_WAIT_REVISION))
        api_respond(c, 304, revision, NULL, (struct slice){0});
    else
        api_respond(c, 200, revision, format_content_type(format), content);
}

void api_show_release(struct api_call *c, int64_t revision, const struct config_result *result, bool as_json)
{
    const struct config_release *r = result->release;
    const struct config_head *head = result->head;
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, result->seq);
    if (!as_json && r->operation == CONFIG_DELETE) {
        api_fail(c, API_NOT_FOUND, "this release is a deletion: it has no content");
        return;
    }
    http_add_header(c->q, "X-Cairn-Seq", text);
    if (r->operation != CONFIG_DELETE && api_flag(api_param(c, PARAM_RENDER))) {
        api_show_rendered(c, revision, r);
        return;
    }
    if (api_has_param(c, PARAM_KEY) && r->operation != CONFIG_DELETE) {
        api_show_value(c, revision, r);
        return;
    }
    if (!as_json) {
        answer_content(c, revision, r->format, r->digest.md5, r->content);
        return;
    }
    struct json_writer *w = api_json(c, revision);
    begin_json(c, w);
    jw_key(w, "seq");
    jw_uint(w, result->seq);
    config_release_write_members(r, true, w);
    if (head && head->gray.count) {
        jw_key(w, "gray");
        gray_rules_write(&head->gray, w);
    }
    api_answer(c, revision);
}

void api_show_draft(struct api_call *c, const struct config_result *result, bool as_json)
{
    const struct config_draft *d = result->draft;
    if (!as_json && d->is_deletion) {
        api_fail(c, API_NOT_FOUND, "this draft is a deletion: it has no content");
        return;
    }
    if (!as_json) {
        const struct digest digest = digest_of(d->content);
        answer_content(c, result->revision, d->format, digest.md5, d->content);
        return;
    }
    struct json_writer *w = api_json(c, result->revision);
    begin_json(c, w);
    document_add_text(w, "type", slice_text(format_name(d->format)));
    document_add_text(w, "title", d->title);
    document_add_text(w, "note", d->note);
    author_write_members(&d->author, w);
    document_add_number(w, "base_seq", (int64_t)d->base_seq);
    document_add_number(w, "time_ms", d->time_ms);
    if (d->is_deletion) {
        jw_key(w, "deletion");
        jw_bool(w, true);
    } else {
        document_add_number(w, "size", (int64_t)content_size(d->content, d->unopened_size));
        document_add_text(w, "sealed", d->sealed);
        document_add_bytes(w, "content", d->content);
    }
    api_answer(c, result->revision);
}
