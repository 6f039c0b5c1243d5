/* SPDX-License-Identifier: Apache-2.0
 * Surveys of subscribers; see survey.h. A subscriber has a revision when its client acknowledged it, or
 * when its watch began with a view that showed it. */
#include "registry/survey.h"

#include "registry/registry_private.h"

enum {
    ENTRIES_MAX = 100000,
    PARTS_MAX = 64, /* members; further ones count as silent */
    ANSWER_SIZE_MAX = KV_MEMBER_RPC_BYTES_MAX - 4096,
};

/* --- this member ---------------------------------------------------------------------------------------- */

struct survey_walk {
    const struct survey_request *request;
    struct arena *arena;
    struct survey_entry *list;
    size_t count, capacity;
    uint64_t acknowledged, waiting;
};

static void survey_look(void *arg, const struct registry_watch *w)
{
    struct survey_walk *l = arg;
    const struct survey_request *q = l->request;
    bool has_seen = w->acknowledged >= q->revision || w->since >= q->revision;
    l->acknowledged += has_seen;
    l->waiting += !has_seen;
    if ((q->revision && has_seen) || l->count == q->max || l->count == ENTRIES_MAX)
        return;
    if (l->count == l->capacity) {
        struct survey_entry *list = arena_alloc(l->arena, (l->capacity * 2 + 16) * sizeof *list);
        if (l->count)
            memcpy(list, l->list, l->count * sizeof *list);
        l->list = list;
        l->capacity = l->capacity * 2 + 16;
    }
    const struct registry_subscriber *s = w->subscriber;
    l->list[l->count++] =
        (struct survey_entry){s->client_id, slice_text(s->peer ? s->peer : ""),
                              slice_text(s->transport ? s->transport : ""), w->acknowledged, s->labels};
}

/* The texts in the answer are borrowed from the subscribers. */
void survey_local(struct registry *r, const struct survey_request *q, struct arena *a,
                  struct survey_answer *ret_answer)
{
    struct survey_walk l = {.request = q, .arena = a};
    struct registry_key key = {q->ns, q->group, q->service, {0}};
    registry_each_subscriber(r, &key, survey_look, &l);
    *ret_answer =
        (struct survey_answer){l.acknowledged, l.waiting, slice_text(r->options.member), l.list, l.count};
}

static void survey_on_request(void *arg, struct kv_member_request *asked, struct slice bytes)
{
    struct registry *r = arg;
    struct survey_request q;
    struct survey_answer answer;
    struct arena a = {0};
    struct buf out = {0};
    if (survey_read_request(bytes, &q) == OK) {
        survey_local(r, &q, &a, &answer);
        survey_write_answer(&answer, ANSWER_SIZE_MAX, &out);
    }
    kv_member_request_answer(r->kv, asked,
                             buf_slice(&out)); /* empty: malformed, so this member counts as silent */
    buf_done(&out);
    arena_done(&a);
}

void survey_open(struct registry *r)
{
    kv_member_rpc_handle(r->kv, KV_TOPIC_SUBSCRIBERS, survey_on_request, r);
}

void survey_close(struct registry *r)
{
    kv_member_rpc_handle(r->kv, KV_TOPIC_SUBSCRIBERS, NULL, NULL);
}

/* --- all members ------------------------------------------------------------------------------------ */

/* Adds this member's own answer, encoded and decoded like the others: it is a copy that does not depend on
 * the watches. */
static void add_own(struct survey *s)
{
    struct arena a = {0};
    struct buf bytes = {0};
    struct survey_answer answer;
    survey_local(s->registry, &s->request, &a, &answer);
    survey_write_answer(&answer, SIZE_MAX, &bytes);
    struct survey_part *part = &s->parts[s->part_count];
    part->member_id = kv_member_id(s->registry->kv);
    s->part_count += survey_read_answer(buf_slice(&bytes), &s->arena, &part->answer) == OK;
    buf_done(&bytes);
    arena_done(&a);
}

static void survey_on_answer(struct kv_member_rpc *ask, uint64_t member_id, struct slice bytes)
{
    struct survey *s = container_of(ask, struct survey, ask);
    if (s->part_count == PARTS_MAX)
        return;
    struct survey_part *part = &s->parts[s->part_count];
    part->member_id = member_id;
    s->part_count += survey_read_answer(bytes, &s->arena, &part->answer) == OK;
}

static bool has_answered(const struct survey *s, uint64_t id)
{
    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].member_id == id)
            return true;
    return false;
}

static void on_members(struct kv_request *request, int err, const ProtobufCMessage *message)
{
    struct survey *s = container_of(request, struct survey, members);
    const Etcdserverpb__MemberListResponse *response = (const Etcdserverpb__MemberListResponse *)message;
    size_t count = err ? 0 : response->n_members;
    s->silent = arena_alloc(&s->arena, (count + 1) * sizeof *s->silent);
    for (size_t i = 0; i < count; i++) {
        const Etcdserverpb__Member *m = response->members[i];
        if (m->name && *m->name && !has_answered(s, m->id))
            s->silent[s->silent_count++] = registry_copy(&s->arena, slice_text(m->name));
    }
    if (err)
        s->silent[s->silent_count++] =
            slice_text(""); /* the list of members is not known: at least one counts as silent */
    s->done(s);
}

static void survey_on_asked(struct kv_member_rpc *ask, size_t asked, size_t answered)
{
    struct survey *s = container_of(ask, struct survey, ask);
    (void)asked;
    (void)answered;
    etcdserverpb__member_list_request__init(&s->message);
    s->members.done = on_members;
    kv_member_list(s->registry->kv, &s->members, &s->message);
    pending_ops_schedule_turn(&s->registry->pending_ops);
}

void survey_start(struct survey *s, uint64_t timeout_ms)
{
    struct buf bytes = {0};
    arena_reset(&s->arena);
    s->parts = arena_alloc(&s->arena, PARTS_MAX * sizeof *s->parts);
    s->part_count = s->silent_count = 0;
    add_own(s);
    survey_write_request(&s->request, &bytes);
    s->ask.on_answer = survey_on_answer;
    s->ask.done = survey_on_asked;
    kv_member_rpc_to_all(s->registry->kv, &s->ask, KV_TOPIC_SUBSCRIBERS, buf_slice(&bytes), timeout_ms);
    pending_ops_schedule_turn(&s->registry->pending_ops);
    buf_done(&bytes);
}

void survey_done(struct survey *s)
{
    if (s->registry) {
        kv_member_rpc_cancel(s->registry->kv, &s->ask);
        kv_cancel(s->registry->kv, &s->members);
    }
    arena_done(&s->arena);
}
