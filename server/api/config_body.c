/* SPDX-License-Identifier: Apache-2.0
 * Strict readers of the config center's request bodies; see config_body.h. */
#include "server/api/config_body.h"

#include <stdio.h>

#include "base/text.h"

enum { ERROR_SIZE = 200 };

static void read_at(struct document_reader *r, struct api_annotation *ret)
{
    struct slice at = {0};
    int64_t s = 0;
    ret->has_at = document_text(r, "at", &at);
    if (ret->has_at && (text_to_time(at, &s) != OK || s < 0))
        document_refuse(r, "at", "is not a time as in 2026-01-31T12:00:00Z");
    ret->at_ms = s * 1000;
}

int api_annotation_read(struct slice body, enum api_annotation_kind kind, struct arena *a,
                        struct api_annotation *ret, char *error)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, ERROR_SIZE);
    *ret = (struct api_annotation){0};
    document_begin(&r, body);
    if (kind == ANNOTATION_SEQ && !document_number(&r, "seq", 1, CONFIG_SEQ_MAX, &ret->seq))
        document_refuse(&r, "seq", "is missing");
    if (kind == ANNOTATION_REVIEW &&
        !document_number(&r, "draft_revision", 1, INT64_MAX, &ret->draft_revision))
        document_refuse_last(&r, "draft_revision", "is missing");
    if (kind == ANNOTATION_PUBLISH) {
        document_text(&r, "title", &ret->title);
        read_at(&r, ret);
    }
    document_string(&r, "note", CONFIG_NOTE_MAX, &ret->note);
    return document_end(&r);
}

/* --- bundles -------------------------------------------------------------------------------------------- */

static void read_id(struct document_reader *r, const struct config_id *standard, struct config_id *ret)
{
    *ret = (struct config_id){standard->ns, standard->group, {0}};
    document_text(r, "namespace", &ret->ns);
    document_text(r, "group", &ret->group);
    document_text(r, "name", &ret->name);
    if (!ret->name.size)
        document_refuse(r, "name", "is missing");
}

/* Reads an item's condition. If one fails, the whole bundle changes nothing. */
static void read_condition(struct document_reader *r, struct config_condition *ret)
{
    int64_t seq = 0;
    ret->has_revision = document_number(r, "if_revision", 0, INT64_MAX, &ret->if_revision);
    ret->has_seq = document_number(r, "if_seq", 0, CONFIG_SEQ_MAX, &seq);
    ret->if_seq = (uint64_t)seq;
    if (document_text(r, "if_md5", &ret->if_md5) && !digest_is_md5(ret->if_md5))
        document_refuse(r, "if_md5", "is not an md5: 32 hexadecimal digits in lower case");
}

static int read_publish(json_t *value, const struct config_id *standard, struct arena *a,
                        struct config_publish *ret, char *error)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, ERROR_SIZE);
    struct slice type = {0};
    *ret = (struct config_publish){0};
    document_begin_value(&r, value);
    read_id(&r, standard, &ret->key);
    if (!document_bytes(&r, "content", CONFIG_CONTENT_MAX, &ret->content))
        document_refuse(&r, "content", "is missing");
    ret->has_format = document_text(&r, "type", &type);
    document_text(&r, "title", &ret->title);
    document_string(&r, "note", CONFIG_NOTE_MAX, &ret->note);
    read_condition(&r, &ret->condition);
    document_bool(&r, "if_absent", &ret->condition.if_absent);
    if (ret->has_format && format_from_name(type, &ret->format))
        document_refuse(&r, "type", "is none of text, json, yaml, properties, toml, xml, html, bin");
    return document_end(&r);
}

static int read_remove(json_t *value, const struct config_id *standard, struct arena *a,
                       struct config_remove *ret, char *error)
{
    *ret = (struct config_remove){0};
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, ERROR_SIZE);
    document_begin_value(&r, value);
    read_id(&r, standard, &ret->key);
    read_condition(&r, &ret->condition);
    return document_end(&r);
}

int api_bundle_read(json_t *root, const struct config_id *standard, struct arena *a, struct api_bundle *b,
                    char *error)
{
    json_t *publish = json_object_get(root, "publish"), *remove = json_object_get(root, "delete");
    int err = OK;
    publish = json_is_null(publish) ? NULL : publish; /* null = absent */
    remove = json_is_null(remove) ? NULL : remove;
    if ((publish && !json_is_array(publish)) || (remove && !json_is_array(remove))) {
        snprintf(error, ERROR_SIZE, "%s is not a list",
                 publish && !json_is_array(publish) ? "publish" : "delete");
        return ERR_INVALID;
    }
    b->publish_count = json_array_size(publish); /* of NULL: 0 */
    b->remove_count = json_array_size(remove);
    b->publish = arena_new(a, (b->publish_count + 1) * sizeof *b->publish);
    b->remove = arena_new(a, (b->remove_count + 1) * sizeof *b->remove);
    for (size_t i = 0; !err && i < b->publish_count; i++)
        err = read_publish(json_array_get(publish, i), standard, a, &b->publish[i], error);
    for (size_t i = 0; !err && i < b->remove_count; i++)
        err = read_remove(json_array_get(remove, i), standard, a, &b->remove[i], error);
    if (!err && !b->publish_count && b->only_validate) {
        snprintf(error, ERROR_SIZE, "publish is empty: there is nothing to validate");
        err = ERR_INVALID;
    }
    for (size_t i = 0; i < b->publish_count; i++)
        b->publish[i].only_validate = b->only_validate;
    return err;
}

/* --- promotions ----------------------------------------------------------------------------------------- */

static int read_copied(json_t *value, struct slice group, struct arena *a, struct config_copied *ret,
                       char *error)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, ERROR_SIZE);
    int64_t seq = 0, to_seq = 0;
    *ret = (struct config_copied){.group = group};
    document_begin_value(&r, value);
    document_text(&r, "group", &ret->group);
    if (!document_text(&r, "name", &ret->name))
        document_refuse(&r, "name", "is missing");
    if (!document_number(&r, "seq", 1, CONFIG_SEQ_MAX, &seq))
        document_refuse(&r, "seq", "is missing: the release that was compared");
    if (!document_number(&r, "to_seq", 0, CONFIG_SEQ_MAX, &to_seq))
        document_refuse(&r, "to_seq", "is missing: the release that was compared, or 0 for none");
    ret->seq = (uint64_t)seq;
    ret->to_seq = (uint64_t)to_seq;
    return document_end(&r);
}

int api_promotion_read(json_t *root, struct slice group, struct arena *a, struct api_promotion *ret,
                       char *error)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, ERROR_SIZE);
    json_t *items = json_incref(json_object_get(root, "items"));
    *ret = (struct api_promotion){0};
    json_object_del(root, "items");
    document_begin_value(&r, root);
    if (!document_text(&r, "from", &ret->from))
        document_refuse(&r, "from", "is missing: a namespace");
    if (!document_text(&r, "to", &ret->to))
        document_refuse(&r, "to", "is missing: a namespace");
    document_string(&r, "note", CONFIG_NOTE_MAX, &ret->note);
    int err = document_end(&r);
    if (!err && !json_is_array(items)) {
        snprintf(error, ERROR_SIZE, "items is not a list");
        err = ERR_INVALID;
    }
    ret->count = json_array_size(items);
    ret->list = arena_new(a, (ret->count + 1) * sizeof *ret->list);
    for (size_t i = 0; !err && i < ret->count; i++)
        err = read_copied(json_array_get(items, i), group, a, &ret->list[i], error);
    json_decref(items);
    return err;
}
