/* SPDX-License-Identifier: Apache-2.0
 * The failpoints of a test build, by number and by name. A disabled failpoint costs one load. */
#include "base/failpoint.h"

#ifdef FAILPOINTS
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint_terms.h"

static const char *const names[FAILPOINT_COUNT] = {
#undef FAILPOINT
#define FAILPOINT(name, text, where) text,
#include "base/failpoint.def"
#undef FAILPOINT
};

static atomic_bool is_on[FAILPOINT_COUNT];
static struct failpoint_terms *terms[FAILPOINT_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t panic_lock = PTHREAD_MUTEX_INITIALIZER;

enum { GO_PANIC_EXIT = 2 };

/* Ends the process like a crash: nothing is flushed or closed. */
static _Noreturn void die(enum failpoint which)
{
    pthread_mutex_lock(&panic_lock);
    fprintf(stderr, "failpoint panic: %s\n", names[which]);
    fflush(stderr);
    _exit(GO_PANIC_EXIT);
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0)
        ;
}

bool failpoint_pass(enum failpoint which)
{
    struct failpoint_step step = {0};
    if (!atomic_load_explicit(&is_on[which], memory_order_acquire))
        return false;
    pthread_mutex_lock(&lock);
    if (terms[which])
        step = failpoint_terms_pass(terms[which], (double)(random_u64() >> 11) / 0x1p53);
    pthread_mutex_unlock(&lock);
    if (step.action == FAILPOINT_PANIC)
        die(which);
    if (step.action == FAILPOINT_SLEEP)
        sleep_ms(step.sleep_ms);
    if (step.action == FAILPOINT_PRINT)
        fprintf(stderr, "failpoint print: %s\n", names[which]);
    return step.action == FAILPOINT_RETURN;
}

static int failpoint_find(struct slice name, enum failpoint *ret_which)
{
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        if (slice_equal(name, slice_text(names[i]))) {
            *ret_which = (enum failpoint)i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

static void set(enum failpoint which, struct failpoint_terms *t)
{
    pthread_mutex_lock(&lock);
    failpoint_terms_free(terms[which]);
    terms[which] = t;
    atomic_store_explicit(&is_on[which], t != NULL, memory_order_release);
    pthread_mutex_unlock(&lock);
}

int failpoint_enable(struct slice name, struct slice text)
{
    enum failpoint which;
    struct failpoint_terms *t;
    int err = failpoint_find(name, &which);
    if (!err)
        err = failpoint_terms_new(text, &t);
    if (!err)
        set(which, t);
    return err;
}

int failpoint_disable(struct slice name)
{
    enum failpoint which;
    int err = failpoint_find(name, &which);
    if (!err && !atomic_load(&is_on[which]))
        err = ERR_INVALID;
    if (!err)
        set(which, NULL);
    return err;
}

int failpoint_status(struct slice name, struct buf *ret_terms, uint64_t *ret_count)
{
    enum failpoint which;
    int err = failpoint_find(name, &which);
    if (err)
        return err;
    pthread_mutex_lock(&lock);
    if (terms[which]) {
        buf_add_slice(ret_terms, failpoint_terms_text(terms[which]));
        *ret_count = failpoint_terms_count(terms[which]);
    } else {
        err = ERR_INVALID;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void failpoint_list(struct buf *out)
{
    const char *sorted[FAILPOINT_COUNT];
    uint64_t count;
    memcpy(sorted, names, sizeof names);
    qsort(sorted, FAILPOINT_COUNT, sizeof *sorted, by_name);
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        buf_addf(out, "%s=", sorted[i]);
        if (failpoint_status(slice_text(sorted[i]), out, &count) != OK)
            count = 0; /* it is disabled: nothing behind the '=' */
        buf_add_byte(out, '\n');
    }
}

int failpoint_load(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ";"), name = strcspn(text, "=;");
        if (n) {
            if (name == n)
                return ERR_MALFORMED;
            int err = failpoint_enable(slice_of(text, name), slice_of(text + name + 1, n - name - 1));
            if (err && err != ERR_NOT_FOUND)
                return err;
        }
        text += n + (text[n] == ';');
    }
    return OK;
}

void failpoint_hold_panics(void)
{
    pthread_mutex_lock(&panic_lock);
}

void failpoint_let_panics(void)
{
    pthread_mutex_unlock(&panic_lock);
}
#else
/* A translation unit must not be empty. */
extern const int failpoints_are_absent;
const int failpoints_are_absent = 1;
#endif
