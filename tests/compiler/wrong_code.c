/* SPDX-License-Identifier: Apache-2.0
 * Test of the compiler: its code must not read through a null pointer. check.sh runs it once before the first
 * source is built. gcc 14.2.0-19, Debian 13's, folds `flag ? p->x + 1 : 1` into `flag * p->x + 1` when flag
 * is known to be 0 or 1, and reads p->x always, at -O0 too. Prints one line: "right", "avoided" when only
 * that form is wrong, which the sources do not contain (tests/lint/folds.awk), or "wrong" and the function's
 * name when the form that the sources use instead is wrong too. Each case runs in a process of its own. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct entry {
    int64_t main, version;
    struct entry *next;
};
struct compiled {
    const char *name;
    int64_t (*fn)(const struct entry *e, int64_t k);
    int64_t want; /* with e = NULL and k = 2 */
};
#define NOT_INLINE static __attribute__((noinline))

/* --- the forms that the sources use ---------------------------------------------------------------- */

NOT_INLINE int64_t add_by_if(const struct entry *e, int64_t k)
{
    (void)k;
    bool exists = e && e->version != 0;
    int64_t version = 1;
    if (exists)
        version += e->version;
    return version;
}

NOT_INLINE int64_t add_variable_by_if(const struct entry *e, int64_t k)
{
    bool exists = e && e->version != 0;
    int64_t sum = k;
    if (exists)
        sum = e->version + k;
    return sum;
}

NOT_INLINE int64_t add_in_two_steps(const struct entry *e, int64_t k)
{
    (void)k;
    bool exists = e && e->version != 0;
    int64_t last = exists ? e->next->version : 0;
    return last + 1;
}

NOT_INLINE int64_t select_member(const struct entry *e, int64_t k)
{
    bool exists = e && e->version != 0;
    return exists ? e->version : k;
}

NOT_INLINE int64_t divide_by_if(const struct entry *e, int64_t k)
{
    bool is_known = e && e->version != 0;
    int64_t divisor = k - 2, parts = 1;
    if (is_known)
        parts += k / divisor;
    return parts;
}

/* --- the forms that gcc 14.2.0-19 folds ------------------------------------------------------------ */

NOT_INLINE int64_t folded_plus(const struct entry *e, int64_t k)
{
    (void)k;
    bool exists = e && e->version != 0;
    return exists ? e->version + 1 : 1;
}

NOT_INLINE int64_t folded_or(const struct entry *e, int64_t k)
{
    bool exists = e && e->version != 0;
    return exists ? k | e->next->version : k;
}

NOT_INLINE int64_t folded_bit(const struct entry *e, int64_t k)
{
    return k & 1 ? e->version - 1 : -1;
}

static const struct compiled used[] = {{"add_by_if", add_by_if, 1},
                                       {"add_variable_by_if", add_variable_by_if, 2},
                                       {"add_in_two_steps", add_in_two_steps, 1},
                                       {"select_member", select_member, 2},
                                       {"divide_by_if", divide_by_if, 1}};
static const struct compiled folded[] = {
    {"folded_plus", folded_plus, 1}, {"folded_or", folded_or, 2}, {"folded_bit", folded_bit, -1}};

static bool is_right(const struct compiled *c)
{
    static const struct entry *volatile none;
    static volatile int64_t two = 2;
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(STDERR_FILENO); /* a sanitizer's report */
        _exit(c->fn(none, two) == c->want ? 0 : 1);
    }
    int status = 1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(void)
{
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        if (!is_right(&used[i])) {
            printf("wrong %s\n", used[i].name);
            return 1;
        }
    for (size_t i = 0; i < sizeof folded / sizeof *folded; i++)
        if (!is_right(&folded[i])) {
            printf("avoided %s\n", folded[i].name);
            return 0;
        }
    printf("right\n");
    return 0;
}
