/* SPDX-License-Identifier: Apache-2.0
 * Raft configuration in the META table: four lists of ids and a flag. See conf_store.h. */
#include "consensus/node/conf_store.h"

#include "consensus/store/store.h"

static const char key[] = "conf_state";

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

void conf_store_save(struct store *s, const struct raft_conf_state *conf)
{
    struct buf b = {0};
    buf_add_byte(&b, conf->auto_leave);
    add_ids(&b, &conf->voters);
    add_ids(&b, &conf->voters_outgoing);
    add_ids(&b, &conf->learners);
    add_ids(&b, &conf->learners_next);
    store_set(s, BACKEND_META, slice_text(key), buf_slice(&b));
    buf_done(&b);
}

int conf_store_load(struct store *s, struct raft_conf_state *ret_conf)
{
    struct arena arena = {0};
    struct slice in;
    struct raft_conf_state conf = {0};
    int err = store_get(s, BACKEND_META, slice_text(key), &arena, &in);
    if (!err && in.size) {
        conf.auto_leave = in.data[0];
        in = slice_of(in.data + 1, in.size - 1);
    }
    if (!err && !(take_ids(&in, &conf.voters) && take_ids(&in, &conf.voters_outgoing) &&
                  take_ids(&in, &conf.learners) && take_ids(&in, &conf.learners_next) && in.size == 0))
        err = ERR_CORRUPT;
    if (!err)
        *ret_conf = conf;
    arena_done(&arena);
    return err;
}
