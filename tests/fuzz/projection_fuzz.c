/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a key and a value in any layout that is projected to an instance. The value begins after the
 * first NUL, and the option's text begins after the second NUL. The names of an instance are valid in a key,
 * and the store's own reader reads its document and writes the same text. */
#include <assert.h>
#include <stdlib.h>

#include "registry/projection.h"

static struct slice cut(struct slice *rest)
{
    const uint8_t *end = rest->size ? memchr(rest->data, 0, rest->size) : NULL;
    struct slice s = slice_of(rest->data, end ? (size_t)(end - rest->data) : rest->size);
    size_t n = s.size + (end ? 1 : 0);
    *rest = slice_of(rest->data + n, rest->size - n);
    return s;
}

static void check_doc(struct instance *doc, struct arena *a)
{
    struct buf text = {0}, again = {0};
    struct instance read;
    char error[200];
    assert(doc->host.size && doc->port && doc->source.size);
    doc->ttl_s = INSTANCE_TTL_S; /* a projection knows none */
    instance_write(doc, &text);
    int err = instance_read(buf_slice(&text), DOCUMENT_TOLERANT, a, &read, error, sizeof error);
    assert(err == OK);
    instance_write(&read, &again);
    assert(slice_equal(buf_slice(&text), buf_slice(&again)));
    struct instance *copy = instance_copy(doc);
    buf_clear(&again);
    instance_write(copy, &again);
    assert(slice_equal(buf_slice(&text), buf_slice(&again)));
    mem_free(copy);
    buf_done(&text);
    buf_done(&again);
}

static void check_put(struct projections *p, struct slice key, struct slice value, bool is_one)
{
    struct catalog *c = catalog_new(&(struct catalog_events){0});
    Mvccpb__KeyValue pair = MVCCPB__KEY_VALUE__INIT;
    pair.key = (ProtobufCBinaryData){key.size, (uint8_t *)(uintptr_t)key.data};
    pair.value = (ProtobufCBinaryData){value.size, (uint8_t *)(uintptr_t)value.data};
    pair.mod_revision = 2;
    catalog_begin(c, 2);
    bool is_ours = projections_put(p, c, &pair);
    catalog_end(c);
    assert(catalog_all(c)->instances == is_one);
    assert(is_ours || !is_one);
    catalog_begin(c, 3);
    assert(projections_remove(p, c, key) == is_ours);
    catalog_end(c);
    assert(catalog_all(c)->instances == 0);
    catalog_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct projections *p;
    struct projections *other = NULL;
    struct slice rest = slice_of(data, size), key = cut(&rest), value = cut(&rest);
    struct arena a = {0};
    struct name name;
    struct instance doc;
    enum projection_layout layout;
    char error[300] = "";
    if (!p &&
        projections_parse(slice_text("defaults,go-zero=user.rpc,grpc=grpc/"), error, sizeof error, &p) != OK)
        abort();
    int err = projection_name(p, key, &a, &name, &layout);
    if (!err) {
        assert(name_check(name.service, NAME_SIZE_MAX, "s", error, sizeof error) == OK);
        assert(name_check(name.id, NAME_SIZE_MAX, "i", error, sizeof error) == OK);
        err = projection_read(layout, key, value, &a, &doc);
        if (!err)
            check_doc(&doc, &a);
    }
    check_put(p, key, value, err == OK);
    err = projections_parse(rest, error, sizeof error, &other);
    assert(err == OK || strlen(error) > 10);
    projections_free(other);
    arena_done(&a);
    return 0;
}
