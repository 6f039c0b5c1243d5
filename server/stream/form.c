/* SPDX-License-Identifier: Apache-2.0
 * Forms: which client gets which release of items with gray rules; see form.h. A form's seqs are in the
 * order of the items' index. When an item is removed, the last item takes its index: so all forms end
 * then. */
#include "server/stream/form.h"

#include <string.h>

#include "base/mem.h"

enum {
    FORMS_MAX = 65536,
    SEQS_MAX = 1 << 20, /* in all of them */
};

struct form_item {
    size_t index;
    struct slice id; /* owned */
};

struct form {
    uint32_t number; /* 1 and up; 0 means the live releases */
    uint64_t seqs[];
};

static void drop_all(struct stream_forms *fs)
{
    uint64_t number;
    void *form;
    for (size_t at = 0; map_next(&fs->by_number, &at, &number, &form);)
        mem_free(form);
    map_done(&fs->by_number);
    strmap_done(&fs->forms);
}

static void stream_form_add_item(struct stream_forms *fs, struct slice id)
{
    struct form_item *i = mem_new(sizeof *i);
    i->index = fs->items.count;
    i->id = slice_of(mem_copy(id.data, id.size), id.size);
    strmap_put(&fs->items, id, i);
    if (fs->items.count > fs->capacity) {
        fs->capacity = fs->capacity * 2 + 1;
        fs->list = mem_resize(fs->list, fs->capacity * sizeof(struct form_item *));
    }
    fs->list[i->index] = i;
}

static void remove_item(struct stream_forms *fs, struct slice id)
{
    struct form_item *i = strmap_remove(&fs->items, id), *last = fs->list[fs->items.count];
    fs->list[i->index] = last;
    last->index = i->index;
    mem_free(i->id.data);
    mem_free(i);
}

void stream_forms_done(struct stream_forms *fs)
{
    while (fs->items.count)
        remove_item(fs, fs->list[0]->id);
    drop_all(fs);
    strmap_done(&fs->items);
    mem_free(fs->list);
    buf_done(&fs->seqs);
}

void stream_forms_note(struct stream_forms *fs, struct slice id, bool has_rules)
{
    bool had_rules = stream_forms_have(fs, id);
    if (has_rules || had_rules)
        drop_all(fs);
    if (has_rules && !had_rules)
        stream_form_add_item(fs, id);
    else if (had_rules && !has_rules)
        remove_item(fs, id);
}

bool stream_forms_have(const struct stream_forms *fs, struct slice id)
{
    return strmap_get(&fs->items, id);
}

bool stream_forms_any(const struct stream_forms *fs)
{
    return fs->items.count > 0;
}

static struct form *new_form(struct stream_forms *fs)
{
    if (fs->forms.count >= FORMS_MAX || fs->forms.count * fs->items.count >= SEQS_MAX)
        drop_all(fs);
    struct form *f = mem_alloc(sizeof *f + fs->seqs.size);
    if (++fs->last == 0)
        fs->last = 1;
    f->number = fs->last;
    memcpy(f->seqs, fs->seqs.data, fs->seqs.size);
    strmap_put(&fs->forms, buf_slice(&fs->seqs), f);
    map_put(&fs->by_number, f->number, f);
    return f;
}

uint32_t stream_forms_number(struct stream_forms *fs, uint64_t (*choose)(void *arg, struct slice id),
                             void *arg)
{
    if (!fs->items.count)
        return 0;
    buf_clear(&fs->seqs);
    for (size_t i = 0; i < fs->items.count; i++) {
        uint64_t seq = choose(arg, fs->list[i]->id);
        buf_add(&fs->seqs, &seq, sizeof seq);
    }
    struct form *f = strmap_get(&fs->forms, buf_slice(&fs->seqs));
    return (f ? f : new_form(fs))->number;
}

bool stream_forms_seq(const struct stream_forms *fs, uint32_t number, struct slice id, uint64_t *ret_seq)
{
    const struct form_item *i = number ? strmap_get(&fs->items, id) : NULL;
    const struct form *f = i ? map_get(&fs->by_number, number) : NULL;
    if (f)
        *ret_seq = f->seqs[i->index];
    return f != NULL;
}
