/* SPDX-License-Identifier: Apache-2.0
 * Imports: many configurations, checked one by one, compared with the live ones together, written in bundles.
 * An import may have 100,000 items, so each step is short: a barrier, a task of the content worker, a bundle,
 * or a slice of a turn (config_slice_is_over).
 *
 *   1. sort     by namespace, group and name, in slices
 *   2. check    names, size, format and digests of each item; CHECK_BYTES in one task
 *   3. plan     after a barrier, in slices: compare each item with the live one, as of the barrier or later,
 *               and set its action
 *   4. write    bundle after bundle, each as large as a transaction may be
 *
 * Invariant: nothing is written before all items have an action, and nothing if one is refused or conflicts.
 * Only a bundle can fail in the middle (no quorum, a full store, a concurrent write). Then each written item
 * has its action, the rest is LEFT, and the same import again continues from there. */
#include <stdarg.h>
#include <stdio.h>

#include "base/turn.h"
#include "config/config_private.h"
#include "config/content.h"
#include "config/sealed.h"

#define CHECK_BYTES (256u << 10) /* in one task */
#define CHECK_COUNT 64
#define SLICE_COUNT 64 /* items between two reads of the clock */
#define TURN_MS     10000
#define ITEM_ROOM   1024 /* bytes of an item's release and head in a transaction beside its texts */

const char *config_import_action_name(enum config_import_action a)
{
    static const char *const names[CONFIG_ACTIONS] = {
#define ACTION(name, text) [CONFIG_##name] = text,
#include "config/import.def"
#undef ACTION
    };
    return names[a];
}

static void set_action(struct config_import *i, struct config_import_item *item,
                       enum config_import_action action)
{
    i->actions[item->action]--;
    i->actions[action]++;
    item->action = action;
}

static void config_import_finish(struct config_import *i, int err)
{
    i->done(i, err);
}

static void config_import_on_turn(struct config_request *q, int err, const struct config_result *result)
{
    struct config_import *i = container_of(q, struct config_import, step);
    (void)result;
    turn_enter(TURN_CONFIG_IMPORT);
    if (err)
        config_import_finish(i, err);
    else
        i->go_on(i);
}

/* Calls go_on in the next turn. */
static void go_on_later(struct config_import *i, void (*go_on)(struct config_import *i))
{
    i->go_on = go_on;
    i->step.done = config_import_on_turn;
    config_wait_revision(i->config, &i->step, 0, TURN_MS);
}

/* --- sort ------------------------------------------------------------------------------------------- */

static int config_import_compare(const struct config_import_item *x, const struct config_import_item *y)
{
    int c = slice_compare(x->key.ns, y->key.ns);
    c = c ? c : slice_compare(x->key.group, y->key.group);
    return c ? c : slice_compare(x->key.name, y->key.name);
}

static int compare_places(const void *a, const void *b, void *arg)
{
    const struct config_import_item *items = arg;
    const uint32_t *x = a, *y = b;
    return config_import_compare(&items[*x], &items[*y]);
}

static void begin_sorting(struct config_import *i)
{
    uint32_t *places = mem_new((i->count + 1) * sizeof *places);
    for (size_t n = 0; n < i->count; n++)
        places[n] = (uint32_t)n;
    i->sort = (struct merge_sort){.items = (uint8_t *)places,
                                  .size = sizeof *places,
                                  .count = i->count,
                                  .compare = compare_places,
                                  .arg = i->items};
}

/* Moves one item to its sorted place. Items that change places form cycles: `moved` holds the first of a
 * cycle, and each free place, the hole, takes the item that belongs there. */
static void place_next(struct config_import *i)
{
    uint32_t *order = (uint32_t *)(void *)i->sort.items;
    size_t from = order[i->hole];
    if (from == i->hole) {
        i->hole = ++i->cycle;
        return;
    }
    if (i->hole == i->cycle)
        i->moved = i->items[i->cycle];
    order[i->hole] = (uint32_t)i->hole; /* the item of this place is in it */
    bool is_last = from == i->cycle;
    i->items[i->hole] = is_last ? i->moved : i->items[from];
    i->hole = is_last ? ++i->cycle : from;
}

static void check_next(struct config_import *i);

static void place_items(struct config_import *i)
{
    for (size_t n = 1; i->cycle < i->count; n++) {
        if (n % SLICE_COUNT == 0 && config_slice_is_over(i->config)) {
            go_on_later(i, place_items);
            return;
        }
        place_next(i);
    }
    merge_sort_done(&i->sort);
    i->at = 0;
    check_next(i);
}

static void sort_items(struct config_import *i)
{
    int64_t steps = SLICE_COUNT;
    while (!merge_sort_step(&i->sort, &steps)) {
        steps = SLICE_COUNT;
        if (config_slice_is_over(i->config)) {
            go_on_later(i, sort_items);
            return;
        }
    }
    i->cycle = i->hole = 0;
    place_items(i);
}

/* --- check ------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 4, 5))) static void
refuse(struct config_import *i, struct config_import_item *item, int err, const char *format, ...)
{
    struct buf text = {0};
    va_list args;
    va_start(args, format);
    buf_addv(&text, format, args);
    va_end(args);
    set_action(i, item, CONFIG_REFUSED);
    item->err = err;
    item->error = arena_string(&i->arena, text.data, text.size);
    buf_done(&text);
}

static int check_names(const struct config_import_item *item, char *error, size_t size)
{
    int err = name_check(item->key.ns, NAMESPACE_SIZE_MAX, "the namespace", error, size);
    if (!err)
        err = name_check(item->key.group, NAME_SIZE_MAX, "the group", error, size);
    if (!err)
        err = name_check(item->key.name, NAME_SIZE_MAX, "the configuration's name", error, size);
    if (!err)
        err = config_check_title(item->title, error, size);
    return err ? err : config_check_note(item->note, error, size);
}

static bool is_digest(struct slice wanted, const char *digest)
{
    return !wanted.size || slice_equal(wanted, slice_text(digest));
}

static void find_format(struct config_import *i, struct config_import_item *item)
{
    const struct config_item *live = config_find(i->config, &item->key);
    if (item->has_format)
        return;
    if (live)
        item->format = live->head->format;
    else if (format_find((struct slice){0}, (struct slice){0}, item->key.name, &item->format))
        refuse(i, item, ERR_INVALID, "its format is unknown");
}

/* Copies of some items' contents: the worker checks them, and the archive may be freed meanwhile. */
struct import_check {
    struct task task;             /* first */
    struct config_import *import; /* NULL: canceled */
    size_t first, count;
    struct arena arena;
    struct content list[];
};

/* A sealed content is opened once; from then on it must be sealed when it is written. */
static int open_item(struct config_import *i, struct config_import_item *item, char *error, size_t size)
{
    if (!item->sealed.size || item->is_decrypted)
        return OK;
    int err = sealed_open(i->config->options.keys, &item->sealed_as, item->sealed, item->content, &i->arena,
                          &item->content, error, size);
    metric_add(METRIC_CONFIG_OPEN_FAILURES, err != OK);
    item->is_decrypted = !err;
    return err;
}

/* The worker makes the digest by which it is compared with a sealed live release. */
static void choose_live_key(const struct config_import *i, const struct config_import_item *item,
                            struct arena *a, struct content_seal *ret)
{
    const struct config_item *live = config_find(i->config, &item->key);
    if (!live || live->head->is_deleted || !live->head->sealed.size)
        return;
    ret->live = seal_keys_find(i->config->options.keys, live->head->sealed);
    ret->names = sealed_names(a, &item->key);
}

static bool is_too_large(const struct config_import *i, const struct config_import_item *item)
{
    return item->content.size > i->config->options.content_bytes_max;
}

/* Copies the result of a format check into the item. */
static void take_checked(struct config_import *i, struct config_import_item *item, const struct content *c)
{
    item->digest = c->digest;
    item->live_digest = c->live_digest;
    if (c->err) {
        refuse(i, item, c->err, "%s", c->where.text);
        item->line = c->where.line;
        item->column = c->where.column;
    } else if (!is_digest(item->md5, c->digest.md5) || !is_digest(item->sha256, c->digest.sha256)) {
        refuse(i, item, ERR_INVALID, "its content does not match the manifest's md5 or sha256");
    }
}

static void check_item(struct config_import *i, size_t at)
{
    struct config_import_item *item = &i->items[at];
    char error[256];
    int err = check_names(item, error, sizeof error);
    if (!err)
        err = open_item(i, item, error, sizeof error);
    if (err) {
        refuse(i, item, err, "%s", error);
    } else if (at && config_import_compare(item, item - 1) == 0) {
        refuse(i, item, ERR_INVALID, "it is given twice");
    } else if (is_too_large(i, item)) {
        refuse(i, item, ERR_REQUEST_TOO_LARGE,
               "it has %zu bytes; at most %llu are allowed (--config-max-bytes)", item->content.size,
               (unsigned long long)i->config->options.content_bytes_max);
    } else {
        find_format(i, item);
    }
}

static void run_checks(struct task *t)
{
    struct import_check *k = container_of(t, struct import_check, task);
    for (size_t n = 0; n < k->count; n++)
        content_run(&k->list[n]);
}

static void on_checked(struct task *t)
{
    struct import_check *k = container_of(t, struct import_check, task);
    struct config_import *i = k->import;
    for (size_t n = 0, at = k->first; n < k->count; at++)
        if (i->items[at].action != CONFIG_REFUSED)
            take_checked(i, &i->items[at], &k->list[n++]);
    i->check = NULL;
    check_next(i);
}

static void release_checks(struct task *t)
{
    struct import_check *k = container_of(t, struct import_check, task);
    arena_done(&k->arena);
    mem_free(k);
}

/* Starts a task for the items from i->at on whose names are valid. */
static void start_checks(struct config_import *i)
{
    struct import_check *k = mem_new(sizeof *k + CHECK_COUNT * sizeof k->list[0]);
    k->import = i;
    k->first = i->at;
    for (size_t n = 0; i->at < i->count && k->task.bytes < CHECK_BYTES && n < CHECK_COUNT; n++) {
        struct config_import_item *item = &i->items[i->at];
        check_item(i, i->at++);
        if (item->action == CONFIG_REFUSED)
            continue;
        struct content *content = &k->list[k->count++];
        struct slice schema = config_schema_of(i->config, &item->key);
        *content = (struct content){.bytes = config_copy(&k->arena, item->content),
                                    .format = item->format,
                                    .schema = config_copy(&k->arena, schema)};
        choose_live_key(i, item, &k->arena, &content->seal);
        k->task.bytes += item->content.size;
    }
    k->task.run = run_checks;
    k->task.done = on_checked;
    k->task.release = release_checks;
    int err = config_task_add(i->config, &k->task, &i->step);
    if (!err) {
        i->check = &k->task;
        return;
    }
    release_checks(&k->task);
    snprintf(i->error, sizeof i->error,
             "too many contents wait to be checked on this member: try again later");
    config_import_finish(i, err);
}

static void begin_plan(struct config_import *i);

static void check_next(struct config_import *i)
{
    if (i->at < i->count)
        start_checks(i);
    else
        begin_plan(i);
}

/* --- plan ------------------------------------------------------------------------------------------- */

static enum config_import_action action_of(const struct config_import *i, const struct config_item *live,
                                           const struct config_import_item *item)
{
    if (!live)
        return CONFIG_CREATED;
    const struct digest *digest = live->head->sealed.size ? &item->live_digest : &item->digest;
    if (live->head->format == item->format && digest_equal(&live->head->digest, digest))
        return CONFIG_UNCHANGED;
    if (i->policy == CONFIG_IMPORT_OVERWRITE)
        return CONFIG_UPDATED;
    return i->policy == CONFIG_IMPORT_SKIP ? CONFIG_SKIPPED : CONFIG_CONFLICTS;
}

static void plan_item(struct config_import *i, struct config_import_item *item)
{
    const struct config_item *live = config_find(i->config, &item->key);
    bool is_live = live && !live->head->is_deleted;
    item->seq = is_live ? live->head->seq : 0;
    if (item->action != CONFIG_REFUSED)
        set_action(i, item, action_of(i, is_live ? live : NULL, item));
}

/* Checks the additions to one namespace, from `at` on, against its limits and the claims of the namespaces
 * before it: each new namespace leaves less room for the next one. */
static void check_room(struct config_import *i, struct heads_claim *claim)
{
    const struct heads_limits limits = config_limits(i->config, i->items[i->first].key.ns);
    char error[256];
    int err = heads_claim(i->config->heads, i->items[i->first].key.ns, i->created, i->bytes, &limits, claim,
                          error, sizeof error);
    if (err)
        refuse(i, &i->items[i->first], err, "%s", error);
}

/* The items from `first` to `at` are all items of a namespace. */
static void end_namespace(struct config_import *i)
{
    if (i->created || i->bytes) {
        if (i->claim_count == i->claim_capacity) {
            i->claim_capacity = i->claim_capacity ? 2 * i->claim_capacity : 16;
            i->claims = mem_resize(i->claims, i->claim_capacity * sizeof *i->claims);
        }
        i->claims[i->claim_count] = (struct heads_claim){0};
        check_room(i, &i->claims[i->claim_count++]);
    }
    i->created = i->bytes = 0;
    i->first = i->at;
}

static void release_claims(struct config_import *i)
{
    while (i->claim_count)
        heads_release(i->config->heads, &i->claims[--i->claim_count]);
    mem_free(i->claims);
    i->claims = NULL;
    i->claim_capacity = 0;
}

static void count_room(struct config_import *i, const struct config_import_item *item)
{
    const struct config_item *live = config_find(i->config, &item->key);
    size_t before = live && !live->head->is_deleted ? live->head->size : 0;
    if (item->action != CONFIG_CREATED && item->action != CONFIG_UPDATED)
        return;
    i->created += item->action == CONFIG_CREATED;
    i->bytes += item->content.size > before ? item->content.size - before : 0;
}

static const struct config_import_item *config_import_first_of(const struct config_import *i,
                                                               enum config_import_action action)
{
    for (size_t k = 0; k < i->count; k++)
        if (i->items[k].action == action)
            return &i->items[k];
    return NULL;
}

/* Nothing will be written: sets the actions back to LEFT. */
static void leave_all(struct config_import *i)
{
    for (size_t k = 0; k < i->count; k++)
        if (i->items[k].action == CONFIG_CREATED || i->items[k].action == CONFIG_UPDATED)
            set_action(i, &i->items[k], CONFIG_LEFT);
}

static void set_item_error(struct config_import *i, const struct config_import_item *item, size_t count,
                           const char *what)
{
    struct buf name = {0};
    config_add_id(&name, &item->key);
    struct slice shown = item->path.size ? item->path : buf_slice(&name);
    int size = shown.size < 300 ? (int)shown.size : 300;
    if (count > 1)
        snprintf(i->error, sizeof i->error, "%.*s and %zu more: %s", size, shown.data, count - 1, what);
    else
        snprintf(i->error, sizeof i->error, "%.*s: %s", size, shown.data, what);
    buf_done(&name);
}

/* The error of the whole import before anything is written; OK = write. */
static int plan_error(struct config_import *i)
{
    const struct config_import_item *refused = config_import_first_of(i, CONFIG_REFUSED),
                                    *conflict = config_import_first_of(i, CONFIG_CONFLICTS);
    if (refused) {
        set_item_error(i, refused, i->actions[CONFIG_REFUSED], refused->error);
        return refused->err;
    }
    if (conflict)
        set_item_error(
            i, conflict, i->actions[CONFIG_CONFLICTS],
            "another content is live; nothing was imported (policy=skip leaves it, policy=overwrite replaces "
            "it)");
    return conflict ? ERR_CONFLICT : OK;
}

static void write_next(struct config_import *i);

static void end_plan(struct config_import *i)
{
    release_claims(i);
    int err = plan_error(i);
    if (err && !i->is_dry)
        leave_all(i);
    if (err || i->is_dry) {
        config_import_finish(i, i->is_dry ? OK : err);
        return;
    }
    i->at = 0;
    i->most = i->config->options.txn_ops_max / 2;
    write_next(i);
}

/* Plans the items. Those of a namespace are adjacent: after the last one its additions are known. */
static void plan_items(struct config_import *i)
{
    for (size_t n = 1; i->at < i->count; n++) {
        struct config_import_item *item = &i->items[i->at];
        if (n % SLICE_COUNT == 0 && config_slice_is_over(i->config)) {
            go_on_later(i, plan_items);
            return;
        }
        if (!slice_equal(item->key.ns, i->items[i->first].key.ns))
            end_namespace(i);
        plan_item(i, item);
        count_room(i, item);
        i->at++;
    }
    if (i->count)
        end_namespace(i);
    end_plan(i);
}

static void on_plan(struct config_request *q, int err, const struct config_result *result)
{
    struct config_import *i = container_of(q, struct config_import, step);
    (void)result;
    if (err) {
        config_import_finish(i, err);
        return;
    }
    i->revision = config_revision(i->config);
    i->at = i->first = i->created = i->bytes = 0;
    plan_items(i);
}

static void begin_plan(struct config_import *i)
{
    i->step.done = on_plan;
    config_barrier(i->config, &i->step);
}

/* --- write ------------------------------------------------------------------------------------------ */

static bool is_to_write(const struct config_import_item *item)
{
    return item->action == CONFIG_CREATED || item->action == CONFIG_UPDATED;
}

/* Upper bound of an item's bytes in a transaction. A release as JSON is at most 4/3 of its content; titles
 * and notes may need escapes. */
static size_t room_of(const struct config_import_item *item)
{
    return item->content.size / 3 * 4 + 4 + 6 * (2 * item->title.size + item->note.size) +
           12 * item->key.name.size + ITEM_ROOM;
}

static void stop_writing(struct config_import *i, int err, const struct config_result *result)
{
    size_t left = 0;
    for (size_t k = i->at; k < i->count; k++)
        if (is_to_write(&i->items[k])) {
            set_action(i, &i->items[k], CONFIG_LEFT);
            left++;
        }
    size_t done = i->actions[CONFIG_CREATED] + i->actions[CONFIG_UPDATED];
    const char *why = result && result->error ? result->error : err_text(err);
    if (i->transactions)
        snprintf(
            i->error, sizeof i->error,
            "%zu were written in %zu transactions, %zu were not: %.300s; the same import again continues "
            "from there",
            done, i->transactions, left, why);
    else
        snprintf(i->error, sizeof i->error, "%.400s", why);
    config_import_finish(i, err);
}

/* The item that made a bundle fail. */
static struct config_import_item *find_failed_item(struct config_import *i,
                                                   const struct config_result *result)
{
    for (size_t k = i->at; k < i->batch && result->key.name.size; k++) {
        struct config_import_item *item = &i->items[k];
        if (slice_equal(item->key.name, result->key.name) &&
            slice_equal(item->key.group, result->key.group) && slice_equal(item->key.ns, result->key.ns))
            return item;
    }
    return NULL;
}

/* After a concurrent write, or a bundle that was too large: whether to try again. */
static bool can_go_on(struct config_import *i, int err, const struct config_result *result)
{
    struct config_import_item *item = result ? find_failed_item(i, result) : NULL;
    if (err == ERR_PRECONDITION && item && i->policy == CONFIG_IMPORT_SKIP) {
        set_action(i, item, CONFIG_SKIPPED);
        return true;
    }
    if (err == ERR_REQUEST_TOO_LARGE && i->batch - i->at > 1 && i->most > 1) {
        i->most = i->most / 2;
        return true;
    }
    return false;
}

static void config_import_on_written(struct config_request *q, int err, const struct config_result *result)
{
    struct config_import *i = container_of(q, struct config_import, step);
    if (err) {
        if (can_go_on(i, err, result))
            write_next(i);
        else
            stop_writing(i, err == ERR_PRECONDITION ? ERR_CONFLICT : err, result);
        return;
    }
    for (size_t k = i->at, n = 0; k < i->batch; k++)
        if (is_to_write(&i->items[k])) {
            const struct config_written *written = &result->written[n++];
            i->items[k].seq = written->head ? written->head->seq : 0;
            if (written->is_unchanged) /* a concurrent write published the same content */
                set_action(i, &i->items[k], CONFIG_UNCHANGED);
        }
    i->revision = result->revision;
    i->transactions += result->items > 0;
    i->at = i->batch;
    write_next(i);
}

static struct config_publish publish_of(const struct config_import *i, const struct config_import_item *item)
{
    return (struct config_publish){
        .key = item->key,
        .content = item->content,
        .has_format = true,
        .format = item->format,
        .title = item->title,
        .note = item->note,
        .condition = {.if_absent = item->action == CONFIG_CREATED && i->policy != CONFIG_IMPORT_OVERWRITE},
        .is_import = true,
        .must_seal = item->is_decrypted,
    };
}

/* Writes as many items as fit into one transaction, from `at` on. */
static void write_next(struct config_import *i)
{
    struct arena a = {0};
    uint64_t room = i->config->options.request_bytes_max;
    struct config_publish *list = arena_new(&a, (i->most + 1) * sizeof *list);
    size_t count = 0;
    for (i->batch = i->at; i->batch < i->count && count < i->most; i->batch++) {
        const struct config_import_item *item = &i->items[i->batch];
        size_t size = is_to_write(item) ? room_of(item) : 0;
        if (count && size > room)
            break;
        room -= size < room ? size : room;
        if (is_to_write(item))
            list[count++] = publish_of(i, item);
    }
    i->step.done = config_import_on_written;
    if (count)
        config_bundle(i->config, &i->step, list, count, NULL, 0);
    else
        config_import_finish(i, OK);
    arena_done(&a);
}

/* --- begin, cancel and free ------------------------------------------------------------------------- */

static void config_import_on_begin(struct config_request *q, int err, const struct config_result *result)
{
    struct config_import *i = container_of(q, struct config_import, step);
    (void)result;
    if (err) {
        config_import_finish(i, err);
        return;
    }
    begin_sorting(i);
    sort_items(i);
}

void config_import(struct config *c, struct config_import *i)
{
    i->config = c;
    i->at = 0;
    i->actions[CONFIG_LEFT] = i->count;
    i->step.done = config_import_on_begin;
    i->step.who = i->who;
    i->step.author = i->author;
    i->step.emergency = i->emergency;
    config_barrier(c, &i->step);
}

void config_import_cancel(struct config_import *i)
{
    config_cancel(i->config, &i->step);
    if (i->check)
        task_cancel(i->check);
    i->check = NULL;
    config_import_done(i);
}

void config_import_done(struct config_import *i)
{
    release_claims(i);
    merge_sort_done(&i->sort);
    arena_done(&i->arena);
}
