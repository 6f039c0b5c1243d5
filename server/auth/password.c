/* SPDX-License-Identifier: Apache-2.0
 * bcrypt through libxcrypt's reentrant functions; see password.h. */
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
    size_t waiting;
};

struct password_job {
    struct worker_job job;
    struct passwords *owner;
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
    return p;
}

void passwords_free(struct passwords *p)
{
    worker_stop(p->worker);
    mem_free(p);
}

/* Takes as long for a wrong byte at the begin as for one at the end. */
static bool is_equal(const char *a, const char *b)
{
    unsigned difference = strlen(a) != strlen(b);
    for (size_t i = 0; a[i] && b[i]; i++)
        difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
    return difference == 0;
}

static void run(struct worker_job *job)
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

static void finished(struct worker_job *job)
{
    struct password_job *j = container_of(job, struct password_job, job);
    j->owner->waiting--;
    if (j->done)
        j->done(j->arg, j->err, j->err || j->is_compare ? NULL : j->hash);
    mem_free(j);
}

static struct password_job *start(struct passwords *p, const char *password, struct password_job with,
                                  int *ret_err)
{
    *ret_err = p->waiting >= PASSWORD_WAITING_MAX ? ERR_TOO_MANY_REQUESTS : OK;
    if (*ret_err)
        return NULL;
    if (!p->worker)
        p->worker = worker_start(p->loop, "passwords");
    struct password_job *j = mem_new(sizeof *j);
    *j = with;
    j->owner = p;
    j->cost = p->cost;
    j->job = (struct worker_job){.run = run, .done = finished};
    strncpy(j->password, password, sizeof j->password - 1); /* bcrypt sees the first 72 bytes */
    p->waiting++;
    worker_submit(p->worker, &j->job);
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
    return start(p, password, (struct password_job){.done = done, .arg = arg}, ret_err);
}

struct password_job *password_compare(struct passwords *p, const char *password, struct slice hash,
                                      void (*done)(void *arg, int err, const char *hash), void *arg,
                                      int *ret_err)
{
    struct password_job with = {.is_compare = true, .done = done, .arg = arg};
    /* Another scheme of crypt's is nothing that was stored here. */
    if (hash.size >= sizeof with.hash || hash.size < 4 || memcmp(hash.data, "$2", 2) != 0) {
        *ret_err = ERR_AUTH_FAILED;
        return NULL;
    }
    memcpy(with.hash, hash.data, hash.size);
    return start(p, password, with, ret_err);
}

void password_forget(struct password_job *job)
{
    if (job)
        job->done = NULL;
}
