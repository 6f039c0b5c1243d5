/* SPDX-License-Identifier: Apache-2.0
 * Raft configuration in the META table: four lists of ids and a flag. See conf_store.h. */
#include "consensus/node/conf_store.h"

#include "consensus/store/store.h"

static void add_ids(struct buf *b, const struct raft_ids *ids)
{
    put_be32(buf_reserve(b, 4), ids->count);
    b->size += 4;
    for (uint32_t i = 0; i < ids->count; i++) {
        put_be64(buf_reserve(b, 8), ids->id[i]);
        b->size += 8;
    }
}

static bool take_ids(struct slice *in, struct raft_ids *ret_ids)
{
    if (in->size < 4)
        return false;
    uint32_t count = get_be32(in->data);
    if (count > RAFT_MEMBERS_MAX || in->size - 4 < count * 8UL)
        return false;
    *ret_ids = (struct raft_ids){0};
    for (uint32_t i = 0; i < count; i++)
        if (!raft_ids_add(ret_ids, get_be64(in->data + 4 + i * 8UL)))
            return false;
    *in = slice_of(in->data + 4 + count * 8UL, in->size - 4 - count * 8UL);
    return true;
}

void conf_store_write(const struct raft_conf_state *conf, struct buf *out)
{
    buf_add_byte(out, conf->auto_leave);
    add_ids(out, &conf->voters);
    add_ids(out, &conf->voters_outgoing);
    add_ids(out, &conf->learners);
    add_ids(out, &conf->learners_next);
}

int conf_store_read(struct slice value, struct raft_conf_state *ret_conf)
{
    struct raft_conf_state conf = {0};
    if (!value.size)
        return ERR_CORRUPT;
    conf.auto_leave = value.data[0];
    value = slice_of(value.data + 1, value.size - 1);
    if (!take_ids(&value, &conf.voters) || !take_ids(&value, &conf.voters_outgoing) ||
        !take_ids(&value, &conf.learners) || !take_ids(&value, &conf.learners_next) || value.size)
        return ERR_CORRUPT;
    *ret_conf = conf;
    return OK;
}

void conf_store_save(struct store *s, const struct raft_conf_state *conf)
{
    struct buf b = {0};
    conf_store_write(conf, &b);
    store_set(s, BACKEND_META, slice_text(CONF_STORE_KEY), buf_slice(&b));
    buf_done(&b);
}

int conf_store_load(struct store *s, struct raft_conf_state *ret_conf)
{
    struct arena arena = {0};
    struct slice in;
    int err = store_get(s, BACKEND_META, slice_text(CONF_STORE_KEY), &arena, &in);
    if (!err)
        err = conf_store_read(in, ret_conf);
    arena_done(&arena);
    return err;
}
