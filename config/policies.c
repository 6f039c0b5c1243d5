/* SPDX-License-Identifier: Apache-2.0
 * The view of the review policies; see policies.h. */
#include "config/policies.h"

#include <string.h>

#include "base/mem.h"

void policies_begin(struct policies *p, bool is_whole)
{
    p->is_whole = is_whole;
    p->generation += is_whole;
}

void policies_put(struct policies *p, struct slice ns, struct slice text, int64_t revision)
{
    struct policy_entry *e = mem_new(sizeof *e + text.size + 1);
    e->revision = revision;
    e->generation = p->generation;
    e->size = text.size;
    if (text.size)
        memcpy(e->text, text.data, text.size);
    mem_free(strmap_put(&p->entries, ns, e));
}

void policies_remove(struct policies *p, struct slice ns)
{
    mem_free(strmap_remove(&p->entries, ns));
}

/* After a whole state: a policy that was not put in it does not exist. */
void policies_end(struct policies *p)
{
    struct slice ns;
    void *value;
    for (size_t at = 0; p->is_whole && strmap_next(&p->entries, &at, &ns, &value);) {
        struct policy_entry *e = value;
        if (e->generation != p->generation)
            policies_remove(p, ns);
    }
    p->is_whole = false;
}

void policies_done(struct policies *p)
{
    struct slice ns;
    void *value;
    for (size_t at = 0; strmap_next(&p->entries, &at, &ns, &value);)
        mem_free(value);
    strmap_done(&p->entries);
}

struct policy_entry *policies_find(const struct policies *p, struct slice ns)
{
    return strmap_get(&p->entries, ns);
}
