/* SPDX-License-Identifier: Apache-2.0
 * Followers of the audit trail: a feed of the stream, whose changes are given to the program as they come. */
#include "sdk/item.h"
#include "sdk/stream.h"

struct cairn_audit_watch {
    struct object object;
    struct post post;
    struct subscription subscription; /* its ns and name are filters here */
    char *user, *kind, *ns, *name;
    int64_t from_ms;
    bool is_notifying, is_stopped;
    void (*callback)(struct cairn_audit_watch *w, const struct cairn_audit_changes *changes, void *arg);
    void *arg;
};

static void audit_watch_free(struct cairn_audit_watch *w)
{
    mem_free(w->user);
    mem_free(w->kind);
    mem_free(w->ns);
    mem_free(w->name);
    mem_free(w);
}

static void audit_on_items(struct subscription *s, const json_t *items, bool is_reset)
{
    struct cairn_audit_watch *w = container_of(s, struct cairn_audit_watch, subscription);
    struct arena a = {0};
    size_t count = json_array_size(items);
    struct cairn_audit_change *list = arena_new(&a, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = audit_change_of(json_array_get(items, i), &a);
    struct cairn_audit_changes changes = {
        .list = list, .count = count, .revision = s->revision, .is_reset = is_reset};
    w->is_notifying = true;
    w->callback(w, &changes, w->arg);
    w->is_notifying = false;
    arena_done(&a);
    if (w->is_stopped)
        audit_watch_free(w);
}

static void audit_write_more(const struct subscription *s, struct json_writer *w)
{
    const struct cairn_audit_watch *a =
        (const struct cairn_audit_watch *)((uintptr_t)s - offsetof(struct cairn_audit_watch, subscription));
    const char *texts[][2] = {{"user", a->user}, {"change_kind", a->kind}};
    for (size_t i = 0; i < 2; i++)
        if (*texts[i][1]) {
            jw_key(w, texts[i][0]);
            jw_text(w, texts[i][1]);
        }
    if (a->from_ms > 0) {
        jw_key(w, "from");
        jw_int(w, a->from_ms);
    }
}

static void audit_on_refused(struct subscription *s, const struct cairn_error *error)
{
    stream_report(s->client, "subscription of the audit trail", error);
}

static void audit_stop_here(struct object *o)
{
    struct cairn_audit_watch *w = container_of(o, struct cairn_audit_watch, object);
    list_remove(&o->link);
    subscription_done(&w->subscription);
    w->is_stopped = true;
    if (!w->is_notifying)
        audit_watch_free(w);
}

static void audit_start_here(struct post *p)
{
    struct cairn_audit_watch *w = container_of(p, struct cairn_audit_watch, post);
    object_add(w->subscription.client, &w->object);
    subscription_start(&w->subscription, w->subscription.client, "audit", w->ns, "", w->name);
}

static char *audit_copy(const char *text)
{
    return mem_string(text ? text : "");
}

int cairn_audit_start(struct cairn_client *c, const struct cairn_audit_request *request,
                      void (*callback)(struct cairn_audit_watch *w, const struct cairn_audit_changes *changes,
                                       void *arg),
                      void *arg, struct cairn_audit_watch **ret_watch, struct cairn_error *error)
{
    static const struct cairn_audit_request all;
    const struct cairn_audit_request *r = request ? request : &all;
    if (!callback || r->after_revision < 0 || r->from_ms < 0)
        return set_error(error, CAIRN_INVALID, "a follower of the audit trail needs a callback");
    struct cairn_audit_watch *w = mem_new(sizeof *w);
    w->user = audit_copy(r->user);
    w->kind = audit_copy(r->kind);
    w->ns = audit_copy(r->ns);
    w->name = audit_copy(r->name);
    w->from_ms = r->from_ms;
    w->callback = callback;
    w->arg = arg;
    w->object.stop = audit_stop_here;
    w->post.run = audit_start_here;
    w->subscription.client = c;
    w->subscription.revision = r->after_revision;
    w->subscription.on_items = audit_on_items;
    w->subscription.write_more = audit_write_more;
    w->subscription.on_refused = audit_on_refused;
    *ret_watch = w; /* set before the callback can run */
    int err = client_start(c, &w->post);
    if (err) {
        *ret_watch = NULL;
        audit_watch_free(w);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

void cairn_audit_stop(struct cairn_audit_watch *w)
{
    if (w)
        object_stop(w->subscription.client, &w->object);
}
