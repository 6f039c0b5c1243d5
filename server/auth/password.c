/* SPDX-License-Identifier: Apache-2.0
 * Password hashing with libxcrypt's reentrant functions, and the queue of jobs; see password.h. */
#include "server/auth/password.h"

#include <crypt.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/worker.h"

/* "$2a$", which Go's bcrypt writes; the two are the same for passwords of up to 72 bytes. */
#define PREFIX     "$2a$"
#define SALT_BYTES 16
#define HASH_MAX   128

struct passwords {
    struct uv_loop_s *loop;
    struct worker *worker; /* NULL until the first one */
    unsigned cost;
    struct password_job *running; /* one at a time, so that the waiting ones can be reordered */
    uint64_t round;               /* of the running job, or of the last one */
    struct link waiting;          /* ordered by round, then by arrival */
    size_t waiting_count;
    struct link rejected; /* they lost their place; done is called after the next finished job */
};

struct password_job {
    struct worker_job job;
    struct passwords *owner;
    struct link link; /* in waiting or rejected */
    uint64_t party;
    uint64_t round; /* a party has one job in a round */
    bool is_compare;
    int err;
    unsigned cost;
    char password[1024], hash[HASH_MAX];
    void (*done)(void *arg, int err, const char *hash);
    void *arg;
};

struct passwords *passwords_new(struct uv_loop_s *loop, unsigned cost)
{
    struct passwords *p = mem_new(sizeof *p);
    p->loop = loop;
    p->cost = cost;
    list_init(&p->waiting);
    list_init(&p->rejected);
    return p;
}

/* Compares in constant time. */
static bool is_equal(const char *a, const char *b)
{
    unsigned difference = strlen(a) != strlen(b);
    for (size_t i = 0; a[i] && b[i]; i++)
        difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
    return difference == 0;
}

static void password_run(struct worker_job *job)
{
    struct password_job *j = container_of(job, struct password_job, job);
    struct crypt_data *data = mem_new(sizeof *data);
    char setting[HASH_MAX], salt[SALT_BYTES];
    const char *from = j->hash;
    if (!j->is_compare) {
        random_bytes(salt, sizeof salt);
        from = crypt_gensalt_rn(PREFIX, j->cost, salt, sizeof salt, setting, sizeof setting);
    }
    const char *result = from ? crypt_r(j->password, from, data) : NULL;
    bool is_hash = result && result[0] == '$'; /* a failure begins with '*' */
    if (j->is_compare)
        j->err = is_hash && is_equal(result, j->hash) ? OK : ERR_AUTH_FAILED;
    else if (is_hash && strlen(result) < sizeof j->hash)
        strcpy(j->hash, result);
    else
        j->err = ERR_INTERNAL;
    explicit_bzero(data, sizeof *data);
    explicit_bzero(j->password, sizeof j->password);
    mem_free(data);
}

static void free_job(struct password_job *j)
{
    explicit_bzero(j->password, sizeof j->password);
    mem_free(j);
}

static void finish_job(struct password_job *j)
{
    list_remove(&j->link);
    if (j->done)
        j->done(j->arg, j->err, j->err || j->is_compare ? NULL : j->hash);
    free_job(j);
}

static void finish_rejected(struct passwords *p)
{
    struct link rejected;
    list_init(&rejected);
    list_move_all(&rejected, &p->rejected);
    while (!list_is_empty(&rejected))
        finish_job(container_of(rejected.next, struct password_job, link));
}

static void run_next(struct passwords *p)
{
    struct link *l = p->running ? NULL : list_take_first(&p->waiting);
    if (!l)
        return;
    p->running = container_of(l, struct password_job, link);
    p->waiting_count--;
    p->round = p->running->round;
    worker_submit(p->worker, &p->running->job);
}

static void finished(struct worker_job *job)
{
    struct password_job *j = container_of(job, struct password_job, job);
    struct passwords *p = j->owner;
    p->running = NULL;
    run_next(p);
    finish_job(j);
    finish_rejected(p);
}

/* Drops the waiting jobs and waits for the running one. */
void passwords_free(struct passwords *p)
{
    while (!list_is_empty(&p->waiting)) {
        struct password_job *j = container_of(p->waiting.next, struct password_job, link);
        p->waiting_count--;
        j->err = ERR_STOPPED;
        finish_job(j);
    }
    worker_stop(p->worker);
    finish_rejected(p);
    mem_free(p);
}

/* Sets the job's round, the one after the party's last job, and returns its place: before the first job of
 * a later round. */
static struct link *password_place_of(struct passwords *p, struct password_job *j)
{
    struct link *place = &p->waiting;
    j->round = p->round + (p->running && p->running->party == j->party);
    LIST_FOR_EACH (l, &p->waiting) {
        const struct password_job *other = container_of(l, struct password_job, link);
        if (other->party == j->party)
            j->round = other->round + 1;
    }
    while (place->prev != &p->waiting &&
           container_of(place->prev, struct password_job, link)->round > j->round)
        place = place->prev;
    return place;
}

/* Rejects the last job of the latest round: its party has the most jobs waiting. */
static void reject_last(struct passwords *p)
{
    struct password_job *last = container_of(p->waiting.prev, struct password_job, link);
    list_remove(&last->link);
    p->waiting_count--;
    last->err = ERR_TOO_MANY_REQUESTS;
    explicit_bzero(last->password, sizeof last->password);
    list_add_last(&p->rejected, &last->link);
}

static struct password_job *password_start(struct passwords *p, const char *password,
                                           struct password_job with, int *ret_err)
{
    with.owner = p;
    struct link *place = password_place_of(p, &with);
    *ret_err = OK;
    if (p->waiting_count >= PASSWORD_WAITING_MAX) {
        if (place == &p->waiting) {
            *ret_err = ERR_TOO_MANY_REQUESTS;
            return NULL;
        }
        if (place == p->waiting.prev)
            place = &p->waiting;
        reject_last(p);
    }
    if (!p->worker)
        p->worker = worker_start(p->loop, "passwords");
    struct password_job *j = mem_new(sizeof *j);
    *j = with;
    j->cost = p->cost;
    j->job = (struct worker_job){.run = password_run, .done = finished};
    strncpy(j->password, password, sizeof j->password - 1); /* bcrypt sees the first 72 bytes */
    list_add_last(place, &j->link);                         /* before place */
    p->waiting_count++;
    run_next(p);
    return j;
}

struct password_job *password_hash(struct passwords *p, const char *password,
                                   void (*done)(void *arg, int err, const char *hash), void *arg,
                                   int *ret_err)
{
    if (strlen(password) > PASSWORD_BYTES_MAX) {
        *ret_err = ERR_PASSWORD_TOO_LONG;
        return NULL;
    }
    return password_start(p, password, (struct password_job){.done = done, .arg = arg}, ret_err);
}

struct password_job *password_compare(struct passwords *p, uint64_t party, const char *password,
                                      struct slice hash, void (*done)(void *arg, int err, const char *hash),
                                      void *arg, int *ret_err)
{
    struct password_job with = {.is_compare = true, .party = party, .done = done, .arg = arg};
    /* Only bcrypt hashes are stored here; other schemes of crypt are rejected. */
    if (hash.size >= sizeof with.hash || hash.size < 4 || memcmp(hash.data, "$2", 2) != 0) {
        *ret_err = ERR_AUTH_FAILED;
        return NULL;
    }
    memcpy(with.hash, hash.data, hash.size);
    return password_start(p, password, with, ret_err);
}

void password_forget(struct password_job *job)
{
    if (!job)
        return;
    struct passwords *p = job->owner;
    job->done = NULL;
    if (!link_is_in_list(&job->link))
        return;         /* it runs, or its done calls this */
    if (job->err == OK) /* it waits, and is not rejected */
        p->waiting_count--;
    list_remove(&job->link);
    free_job(job);
}
