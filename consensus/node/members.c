/* SPDX-License-Identifier: Apache-2.0
 * Member list; see members.h. One Member message is stored under "member/" and the id (8 bytes big-endian),
 * each removed id under "removed/" and the id. */
#include "consensus/node/members.h"

#include <string.h>

#include "consensus/store/store.h"

static const char member_prefix[] = "member/", removed_prefix[] = "removed/";
#define KEY_SIZE_MAX (sizeof removed_prefix + 8)

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(texts[i]);
    mem_free(texts);
}

static char **copy_texts(const char *const *texts, size_t count)
{
    char **copy = mem_new((count + 1) * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_string(texts[i]);
    return copy;
}

static void member_done(struct member *member)
{
    mem_free(member->name);
    free_texts(member->peer_urls, member->peer_url_count);
    free_texts(member->client_urls, member->client_url_count);
}

struct member *member_find(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->list[i].id == id)
            return &m->list[i];
    return NULL;
}

struct member *member_set(struct members *m, uint64_t id, const char *const *peer_urls, size_t count,
                          bool is_learner)
{
    char **urls = copy_texts(peer_urls, count);
    struct member *member = member_find(m, id);
    if (member) {
        free_texts(member->peer_urls, member->peer_url_count);
    } else {
        m->list = mem_resize(m->list, (m->count + 1) * sizeof *m->list);
        size_t at = m->count++;
        while (at > 0 && m->list[at - 1].id > id) {
            m->list[at] = m->list[at - 1];
            at--;
        }
        member = &m->list[at];
        *member = (struct member){.id = id, .name = mem_string(""), .client_urls = mem_new(sizeof(char *))};
    }
    member->peer_urls = urls;
    member->peer_url_count = count;
    member->is_learner = is_learner;
    return member;
}

void member_set_attributes(struct member *member, const char *name, const char *const *client_urls,
                           size_t count)
{
    char *new_name = mem_string(name);
    char **urls = copy_texts(client_urls, count);
    mem_free(member->name);
    free_texts(member->client_urls, member->client_url_count);
    member->name = new_name;
    member->client_urls = urls;
    member->client_url_count = count;
}

static void note_removed(struct members *m, uint64_t id)
{
    if (member_is_removed(m, id))
        return;
    m->removed = mem_resize(m->removed, (m->removed_count + 1) * sizeof *m->removed);
    m->removed[m->removed_count++] = id;
}

void member_remove(struct members *m, uint64_t id)
{
    struct member *member = member_find(m, id);
    if (member) {
        member_done(member);
        size_t at = (size_t)(member - m->list);
        memmove(member, member + 1, (m->count - at - 1) * sizeof *member);
        m->count--;
    }
    note_removed(m, id);
}

bool member_is_removed(const struct members *m, uint64_t id)
{
    for (size_t i = 0; i < m->removed_count; i++)
        if (m->removed[i] == id)
            return true;
    return false;
}

size_t members_count_learners(const struct members *members, uint64_t without)
{
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++)
        count += members->list[i].is_learner && members->list[i].id != without;
    return count;
}

void members_done(struct members *m)
{
    for (size_t i = 0; i < m->count; i++)
        member_done(&m->list[i]);
    mem_free(m->list);
    mem_free(m->removed);
    *m = (struct members){0};
}

static void member_fill(const struct member *member, Etcdserverpb__Member *ret_message)
{
    etcdserverpb__member__init(ret_message);
    ret_message->id = member->id;
    ret_message->name = member->name;
    ret_message->n_peerurls = member->peer_url_count;
    ret_message->peerurls = member->peer_urls;
    ret_message->n_clienturls = member->client_url_count;
    ret_message->clienturls = member->client_urls;
    ret_message->islearner = member->is_learner;
}

static struct slice make_key(uint8_t key[KEY_SIZE_MAX], const char *prefix, uint64_t id)
{
    size_t size = strlen(prefix);
    memcpy(key, prefix, size);
    put_be64(key + size, id);
    return slice_of(key, size + 8);
}

static bool read_key(struct slice key, const char *prefix, uint64_t *ret_id)
{
    size_t size = strlen(prefix);
    if (key.size != size + 8 || memcmp(key.data, prefix, size) != 0)
        return false;
    *ret_id = get_be64(key.data + size);
    return true;
}

void member_save_removed(uint64_t id, struct store *s)
{
    uint8_t key[KEY_SIZE_MAX];
    store_set(s, BACKEND_META, make_key(key, member_prefix, id), (struct slice){0});
    store_set(s, BACKEND_META, make_key(key, removed_prefix, id), slice_text("1"));
}

/* A row is etcd's message, and a field of ours that its other readers skip: number 100, true. */
enum { PROMOTES_ITSELF_TAG = 100 };
static const uint8_t promotes_itself[] = {0xa0, 0x06, 0x01};

void member_write_row(const struct member *member, struct buf *ret_key, struct buf *ret_value)
{
    uint8_t key[KEY_SIZE_MAX];
    Etcdserverpb__Member message;
    member_fill(member, &message);
    buf_add_slice(ret_key, make_key(key, member_prefix, member->id));
    size_t size = etcdserverpb__member__get_packed_size(&message);
    etcdserverpb__member__pack(&message, buf_reserve(ret_value, size));
    ret_value->size += size;
    if (member->is_learner && member->promotes_itself)
        buf_add(ret_value, promotes_itself, sizeof promotes_itself);
}

void member_save(const struct member *member, struct store *s)
{
    struct buf key = {0}, value = {0};
    member_write_row(member, &key, &value);
    store_set(s, BACKEND_META, buf_slice(&key), buf_slice(&value));
    buf_done(&key);
    buf_done(&value);
}

struct loading {
    struct members *members;
    int err;
};

int members_read_row(struct members *m, struct slice key, struct slice value)
{
    uint64_t id;
    if (read_key(key, removed_prefix, &id))
        note_removed(m, id);
    if (!read_key(key, member_prefix, &id))
        return OK;
    Etcdserverpb__Member *message = etcdserverpb__member__unpack(NULL, value.size, value.data);
    if (!message)
        return ERR_CORRUPT;
    struct member *member = member_set(m, message->id, (const char *const *)message->peerurls,
                                       message->n_peerurls, message->islearner);
    member_set_attributes(member, message->name, (const char *const *)message->clienturls,
                          message->n_clienturls);
    for (unsigned i = 0; i < message->base.n_unknown_fields; i++)
        member->promotes_itself |= message->base.unknown_fields[i].tag == PROMOTES_ITSELF_TAG;
    etcdserverpb__member__free_unpacked(message, NULL);
    return OK;
}

static bool load_one(void *arg, struct slice key, struct slice value)
{
    struct loading *l = arg;
    l->err = members_read_row(l->members, key, value);
    return !l->err;
}

int members_load(struct members *m, struct store *s)
{
    struct loading l = {.members = m};
    int err = store_scan(s, BACKEND_META, load_one, &l);
    return err ? err : l.err;
}

void members_fill(const struct members *m, struct arena *a, size_t *ret_count,
                  Etcdserverpb__Member ***ret_list)
{
    Etcdserverpb__Member *messages = arena_alloc(a, (m->count + 1) * sizeof *messages);
    Etcdserverpb__Member **list = arena_alloc(a, (m->count + 1) * sizeof(Etcdserverpb__Member *));
    for (size_t i = 0; i < m->count; i++) {
        member_fill(&m->list[i], &messages[i]);
        list[i] = &messages[i];
    }
    *ret_count = m->count;
    *ret_list = list;
}
