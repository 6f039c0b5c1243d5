/* SPDX-License-Identifier: Apache-2.0
 * Alarm list; see alarms.h. A row's key is member id (8 bytes big-endian) and type (1 byte). */
#include "consensus/node/alarms.h"

#include "consensus/store/store.h"

#define KEY_SIZE 9

void alarms_done(struct alarms *a)
{
    mem_free(a->list);
    *a = (struct alarms){0};
}

bool alarms_has(const struct alarms *a, Etcdserverpb__AlarmType type)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].alarm == type)
            return true;
    return false;
}

bool alarms_has_member(const struct alarms *a, uint64_t member_id, Etcdserverpb__AlarmType type)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].memberid == member_id && a->list[i].alarm == type)
            return true;
    return false;
}

static void alarms_add(struct alarms *a, uint64_t member_id, Etcdserverpb__AlarmType type)
{
    a->list = mem_resize(a->list, (a->count + 1) * sizeof *a->list);
    size_t at = a->count++;
    while (at > 0 && (a->list[at - 1].memberid > member_id ||
                      (a->list[at - 1].memberid == member_id && a->list[at - 1].alarm > type))) {
        a->list[at] = a->list[at - 1];
        at--;
    }
    etcdserverpb__alarm_member__init(&a->list[at]);
    a->list[at].memberid = member_id;
    a->list[at].alarm = type;
}

static void alarms_save(struct store *s, uint64_t member_id, Etcdserverpb__AlarmType type, bool is_on)
{
    uint8_t key[KEY_SIZE];
    put_be64(key, member_id);
    key[8] = (uint8_t)type;
    store_set(s, BACKEND_ALARMS, slice_of(key, sizeof key), is_on ? slice_of("1", 1) : (struct slice){0});
}

void alarms_read_row(struct alarms *a, struct slice key)
{
    if (key.size == KEY_SIZE)
        alarms_add(a, get_be64(key.data), (Etcdserverpb__AlarmType)key.data[8]);
}

static bool load_one(void *arg, struct slice key, struct slice value)
{
    (void)value;
    alarms_read_row(arg, key);
    return true;
}

int alarms_load(struct alarms *a, struct store *s)
{
    return store_scan(s, BACKEND_ALARMS, load_one, a);
}

static void alarms_answer(Etcdserverpb__AlarmResponse *r, struct arena *arena,
                          const Etcdserverpb__AlarmMember *alarm)
{
    r->alarms[r->n_alarms++] = arena_copy(arena, alarm, sizeof *alarm);
}

/* Clears exactly the alarm in the request. No error when it is not raised: clients list first, then clear
 * each. */
static void deactivate(struct alarms *a, struct store *s, const Etcdserverpb__AlarmRequest *m,
                       struct arena *arena, Etcdserverpb__AlarmResponse *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->count; i++) {
        const Etcdserverpb__AlarmMember *alarm = &a->list[i];
        bool is_meant = alarm->memberid == m->memberid && alarm->alarm == m->alarm;
        if (is_meant) {
            alarms_save(s, alarm->memberid, alarm->alarm, false);
            alarms_answer(r, arena, alarm);
        } else {
            a->list[kept++] = *alarm;
        }
    }
    a->count = kept;
}

void alarms_apply(struct alarms *a, struct store *s, const Etcdserverpb__AlarmRequest *m, struct arena *arena,
                  Etcdserverpb__AlarmResponse *r)
{
    r->alarms = arena_alloc(arena, (a->count + 1) * sizeof(Etcdserverpb__AlarmMember *));
    r->n_alarms = 0;
    switch (m->action) {
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE:
        if (m->alarm == ETCDSERVERPB__ALARM_TYPE__NONE)
            break;
        if (!alarms_has_member(a, m->memberid, m->alarm)) {
            alarms_add(a, m->memberid, m->alarm);
            alarms_save(s, m->memberid, m->alarm, true);
        }
        for (size_t i = 0; i < a->count; i++)
            if (a->list[i].memberid == m->memberid && a->list[i].alarm == m->alarm)
                alarms_answer(r, arena, &a->list[i]);
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE:
        deactivate(a, s, m, arena, r);
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET:
    default:
        for (size_t i = 0; i < a->count; i++)
            if (m->alarm == ETCDSERVERPB__ALARM_TYPE__NONE || a->list[i].alarm == m->alarm)
                alarms_answer(r, arena, &a->list[i]);
        break;
    }
}
