/* SPDX-License-Identifier: Apache-2.0
 * Queue of pending batches; see pending.h. Bytes are in blocks. The number of blocks of the last batch, up to
 * a few megabytes, is kept for the next batch: returning them to the kernel and faulting them in again costs
 * more than the copy. They are freed when nothing more waits to be written. */
#include "consensus/store/pending.h"

#include <assert.h>

#include "base/mem.h"

#define BLOCK_SIZE  (256u << 10)
#define BLOCKS_KEPT 16u /* in addition to one in each batch */
#define OPS_KEPT    16384u
#define SPARES_KEPT 2u

struct pending_block {
    struct pending_block *older;
    size_t size;
    uint8_t data[];
};

static struct pending_batch *batch_new(struct pending *p)
{
    struct link *l = list_take_first(&p->spare);
    return l ? container_of(l, struct pending_batch, link) : mem_new(sizeof(struct pending_batch));
}

static void free_blocks(struct pending_block *block)
{
    for (struct pending_block *older; block; block = older) {
        older = block->older;
        mem_free(block);
    }
}

static void drop_blocks(struct pending *p)
{
    free_blocks(p->blocks);
    p->blocks = NULL;
    p->block_count = 0;
}

static void batch_free(struct pending_batch *b)
{
    free_blocks(b->blocks);
    mem_free(b->ops);
    mem_free(b->mains);
    mem_free(b);
}

void pending_init(struct pending *p)
{
    *p = (struct pending){0};
    list_init(&p->batches);
    list_init(&p->spare);
    p->open = batch_new(p);
}

void pending_done(struct pending *p)
{
    for (struct link *l; (l = list_take_first(&p->batches));)
        batch_free(container_of(l, struct pending_batch, link));
    for (struct link *l; (l = list_take_first(&p->spare));)
        batch_free(container_of(l, struct pending_batch, link));
    batch_free(p->open);
    drop_blocks(p);
    *p = (struct pending){0};
}

static struct pending_block *block_take(struct pending *p, size_t size)
{
    struct pending_block *block = p->blocks;
    if (size > BLOCK_SIZE || !block) {
        size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        block = mem_alloc(sizeof *block + room);
        block->size = room;
        return block;
    }
    p->blocks = block->older;
    p->block_count--;
    return block;
}

uint8_t *pending_alloc(struct pending *p, size_t size)
{
    struct pending_batch *b = p->open;
    if ((size_t)(b->end - b->next) < size) {
        struct pending_block *block = block_take(p, size);
        block->older = b->blocks;
        b->blocks = block;
        b->next = block->data;
        b->end = block->data + block->size;
    }
    uint8_t *at = b->next;
    b->next += size;
    b->bytes += size;
    return at;
}

void pending_give_back(struct pending *p, size_t unused)
{
    p->open->next -= unused;
    p->open->bytes -= unused;
}

static struct backend_op *batch_op(struct pending_batch *b)
{
    if (b->count == b->capacity) {
        b->capacity = b->capacity ? b->capacity * 2 : 256;
        b->ops = mem_resize(b->ops, b->capacity * sizeof *b->ops);
    }
    return &b->ops[b->count++];
}

void pending_append(struct pending *p, struct revision revision, struct slice key, struct slice value)
{
    struct pending_batch *b = p->open;
    if (b->first_main == 0)
        b->first_main = revision.main;
    size_t place = (size_t)(revision.main - b->first_main);
    if (revision.sub == 0) {
        assert(place == b->main_count);
        if (b->main_count == b->main_capacity) {
            b->main_capacity = b->main_capacity ? b->main_capacity * 2 : 256;
            b->mains = mem_resize(b->mains, b->main_capacity * sizeof *b->mains);
        }
        b->mains[b->main_count++] = (struct pending_main){.first_op = b->count};
    }
    assert(place + 1 == b->main_count && b->mains[place].first_op + revision.sub == b->count);
    b->mains[place].count++;
    *batch_op(b) = (struct backend_op){BACKEND_APPEND, BACKEND_RECORDS, key, value};
}

void pending_add(struct pending *p, int kind, enum backend_table table, struct slice key, struct slice value)
{
    uint8_t *at = pending_alloc(p, key.size + value.size);
    if (key.size)
        memcpy(at, key.data, key.size);
    if (value.size)
        memcpy(at + key.size, value.data, value.size);
    struct backend_op *op = batch_op(p->open);
    *op = (struct backend_op){.table = table, .key = {at, key.size}, .value = {at + key.size, value.size}};
    op->kind = kind == BACKEND_DELETE ? BACKEND_DELETE : BACKEND_PUT;
    p->open->side_count++;
}

static const struct backend_op *batch_find(const struct pending_batch *b, struct revision revision)
{
    int64_t place = revision.main - b->first_main;
    if (b->first_main == 0 || place < 0 || place >= (int64_t)b->main_count)
        return NULL;
    return &b->ops[b->mains[place].first_op + revision.sub];
}

/* Newest batch first: a fresh record is most likely there. */
static const struct pending_batch *batch_before(const struct pending *p, const struct pending_batch *b)
{
    struct link *l = b == p->open ? p->batches.prev : b->link.prev;
    return l == &p->batches ? NULL : container_of(l, struct pending_batch, link);
}

bool pending_find(const struct pending *p, struct revision revision, struct slice *ret_value)
{
    for (const struct pending_batch *b = p->open; b; b = batch_before(p, b)) {
        const struct backend_op *op = batch_find(b, revision);
        if (op) {
            *ret_value = op->value;
            return true;
        }
    }
    return false;
}

uint32_t pending_sub_count(const struct pending *p, int64_t main)
{
    for (const struct pending_batch *b = p->open; b; b = batch_before(p, b)) {
        if (batch_find(b, (struct revision){main, 0}))
            return b->mains[main - b->first_main].count;
    }
    return 0;
}

bool pending_find_side(const struct pending *p, enum backend_table table, struct slice key,
                       struct slice *ret_value)
{
    for (const struct pending_batch *b = p->open; b; b = batch_before(p, b)) {
        for (size_t i = b->side_count ? b->count : 0; i-- > 0;) {
            const struct backend_op *op = &b->ops[i];
            if (op->table != table || op->kind == BACKEND_APPEND || !slice_equal(op->key, key))
                continue;
            *ret_value = op->kind == BACKEND_DELETE ? (struct slice){0} : op->value;
            return true;
        }
    }
    return false;
}

struct pending_batch *pending_submit(struct pending *p)
{
    struct pending_batch *b = p->open;
    list_add_last(&p->batches, &b->link);
    p->open = batch_new(p);
    return b;
}

/* Keeps blocks of the usual size; one stays with the batch, which starts again in it. */
static struct pending_block *keep_blocks(struct pending *p, struct pending_block *block)
{
    struct pending_block *first = NULL;
    drop_blocks(p); /* not used since the batch before */
    for (struct pending_block *older; block; block = older) {
        older = block->older;
        block->older = NULL;
        if (block->size != BLOCK_SIZE || (first && p->block_count == BLOCKS_KEPT)) {
            mem_free(block);
        } else if (!first) {
            first = block;
        } else {
            block->older = p->blocks;
            p->blocks = block;
            p->block_count++;
        }
    }
    return first;
}

static void batch_reset(struct pending *p, struct pending_batch *b)
{
    struct pending_block *kept = keep_blocks(p, b->blocks);
    struct backend_op *ops = b->ops;
    struct pending_main *mains = b->mains;
    size_t capacity = b->capacity, main_capacity = b->main_capacity;
    if (capacity > OPS_KEPT) {
        mem_free(ops);
        ops = NULL;
        capacity = 0;
    }
    if (main_capacity > OPS_KEPT) {
        mem_free(mains);
        mains = NULL;
        main_capacity = 0;
    }
    *b = (struct pending_batch){.ops = ops, .capacity = capacity, .mains = mains, .blocks = kept};
    b->main_capacity = main_capacity;
    b->next = kept ? kept->data : NULL;
    b->end = kept ? kept->data + kept->size : NULL;
}

void pending_detach(struct pending *p, struct pending_batch *batch)
{
    list_remove(&batch->link);
    if (list_is_empty(&p->batches) && p->open->bytes == 0)
        drop_blocks(p);
}

void pending_free(struct pending_batch *batch)
{
    batch_free(batch);
}

void pending_release(struct pending *p, struct pending_batch *batch)
{
    size_t spares = 0;
    list_remove(&batch->link);
    LIST_FOR_EACH (l, &p->spare)
        spares++;
    if (spares >= SPARES_KEPT) {
        batch_free(batch);
    } else {
        batch_reset(p, batch);
        list_add_last(&p->spare, &batch->link);
    }
    if (list_is_empty(&p->batches) && p->open->bytes == 0)
        drop_blocks(p);
}
