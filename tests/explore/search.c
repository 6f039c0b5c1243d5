/* SPDX-License-Identifier: Apache-2.0
 * The search through the states of a scope. A state is stored as 8 bytes (its parent and the parent's action
 * that led here) and 8 bytes of hash in a table. The search makes a state again from the beginning before it
 * continues there. It visits states in the order in which it discovered them, so neighbours share nearly all
 * of their path, and the search keeps the worlds of the last path. Two states with equal 64-bit hashes count
 * as one: with 10 million states the probability of losing one is 1 in 400,000. */
#include "tests/explore/search.h"

#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

/* --- failed assertions of the core are violations, too --- */
static jmp_buf on_assert;
static char assert_text[160];

_Noreturn void __assert_fail(const char *what, const char *file, unsigned line, const char *function)
{
    const char *name = strrchr(file, '/');
    snprintf(assert_text, sizeof assert_text, "%s:%u %s: %s", name ? name + 1 : file, line, function, what);
    longjmp(on_assert, 1);
}

static void on_signal(int number)
{
    snprintf(assert_text, sizeof assert_text, "signal %d", number);
    longjmp(on_assert, 1);
}

static void catch_signals(void)
{
    /* The signal is not blocked while the handler runs, so a plain longjmp out of it is enough. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
}

/* A world that failed inside may be half changed, so it is not freed. */
static bool act(struct world **w, const struct action *a)
{
    static struct world *kept; /* volatile over the jump */
    kept = *w;
    if (setjmp(on_assert)) {
        *w = kept;
        world_break(*w, "Assertion", "%s", assert_text);
        return true;
    }
    return world_act(*w, a);
}

/* Two futures of a state: its leaders alone for ever; everything healed. */
static void heal(struct world **w)
{
    static struct world *kept;
    kept = *w;
    if (setjmp(on_assert)) {
        *w = kept;
        world_break(*w, "Assertion", "%s", assert_text);
        return;
    }
    struct world *alone = world_copy(*w);
    world_isolate(alone);
    if (alone->broken)
        world_break(*w, alone->broken, "%s", alone->detail);
    else
        world_heal(*w);
    world_free(alone);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- shortening --- */
/* Runs the possible actions of the path; true when the same rule breaks. */
static bool replay(const struct scope *scope, const struct path *path, const char *rule, uint32_t *ret_used)
{
    struct world *w = world_new(scope);
    uint32_t i = 0;
    while (i < path->count && !w->broken)
        (void)act(&w, &path->action[i++]);
    *ret_used = i;
    if (!w->broken)
        heal(&w);
    bool same = w->broken && strcmp(w->broken, rule) == 0;
    if (!w->broken || strcmp(w->broken, "Assertion") != 0)
        world_free(w);
    return same;
}

static void shorten(const struct scope *scope, struct path *path, const char *rule)
{
    for (uint32_t size = path->count / 2 ? path->count / 2 : 1; size > 0; size /= 2) {
        for (uint32_t at = 0; at + size <= path->count;) {
            struct path *less = mem_copy(path, sizeof *path);
            uint32_t used;
            memmove(less->action + at, less->action + at + size,
                    (less->count - at - size) * sizeof less->action[0]);
            less->count -= size;
            if (replay(scope, less, rule, &used)) {
                *path = *less;
                path->count = used;
            } else {
                at += size;
            }
            mem_free(less);
        }
    }
}

static void report(const struct scope *scope, const struct world *w, struct search_result *result)
{
    result->broken = true;
    snprintf(result->rule, sizeof result->rule, "%s", w->broken);
    snprintf(result->detail, sizeof result->detail, "%s", w->detail);
    shorten(scope, &result->path, result->rule);
}

/* --- the table of visited states: open addressing, 0 = empty --- */
struct seen {
    uint64_t *slot;
    uint64_t size, count;
};

static bool seen_put(struct seen *s, uint64_t hash)
{
    uint64_t at = hash & (s->size - 1);
    for (; s->slot[at]; at = (at + 1) & (s->size - 1))
        if (s->slot[at] == hash)
            return false;
    s->slot[at] = hash;
    s->count++;
    return true;
}

static bool seen_add(struct seen *s, uint64_t hash)
{
    hash += hash == 0;
    if (s->count * 4 >= s->size * 3) {
        struct seen larger = {.size = s->size ? s->size * 2 : 1024};
        larger.slot = mem_new(larger.size * sizeof *larger.slot);
        for (uint64_t i = 0; i < s->size; i++)
            if (s->slot[i])
                (void)seen_put(&larger, s->slot[i]);
        mem_free(s->slot);
        *s = larger;
    }
    return seen_put(s, hash);
}

/* --- breadth first --- */
struct found {
    uint32_t parent;
    uint16_t action; /* its place in the parent's list */
};

struct search {
    const struct scope *scope;
    const struct search_limits *limits;
    struct search_result *result;
    struct seen seen;
    struct found *found;
    uint64_t count, capacity;
    /* The path to the current state: the state and its world at each depth. */
    uint32_t id[EXPLORE_PATH];
    struct world *world[EXPLORE_PATH];
    struct action *taken; /* world[d] -> world[d + 1] */
    uint32_t depth;
};

static void keep(struct search *s, uint32_t parent, uint32_t action)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 1024;
        s->found = mem_resize(s->found, s->capacity * sizeof *s->found);
    }
    s->found[s->count++] = (struct found){parent, (uint16_t)action};
}

/* Makes world[depth] the state `id`, which lies at that depth. */
static struct world *reach(struct search *s, uint32_t id, uint32_t depth)
{
    uint32_t way[EXPLORE_PATH], at = id;
    for (uint32_t d = depth + 1; d-- > 0; at = s->found[at].parent)
        way[d] = at;
    uint32_t same = 0;
    while (same < s->depth && same < depth && s->id[same + 1] == way[same + 1])
        same++;
    while (s->depth > same)
        world_free(s->world[s->depth--]);
    for (uint32_t d = same; d < depth; d++) {
        struct action list[EXPLORE_ACTIONS];
        (void)world_actions(s->world[d], list);
        s->taken[d] = list[s->found[way[d + 1]].action];
        s->world[d + 1] = world_copy(s->world[d]);
        (void)act(&s->world[d + 1], &s->taken[d]);
        s->id[d + 1] = way[d + 1];
        s->depth = d + 1;
    }
    return s->world[depth];
}

static void found_violation(struct search *s, const struct world *w, uint32_t depth,
                            const struct action *last)
{
    struct path *p = &s->result->path;
    memcpy(p->action, s->taken, depth * sizeof p->action[0]);
    p->count = depth;
    if (last)
        p->action[p->count++] = *last;
    report(s->scope, w, s->result);
}

/* One state in heal_every, chosen by its hash. False on a violation. */
static bool check_progress(struct search *s, struct world *w, uint64_t hash, uint32_t depth,
                           const struct action *last)
{
    if (!s->limits->heal_every || hash % s->limits->heal_every)
        return true;
    struct world *healed = world_copy(w);
    s->result->healed++;
    heal(&healed);
    bool fine = !healed->broken;
    if (!fine)
        found_violation(s, healed, depth, last);
    else
        world_free(healed);
    return fine;
}

/* False on a violation. */
static bool expand(struct search *s, uint32_t id, uint32_t depth)
{
    struct action list[EXPLORE_ACTIONS];
    struct world *from = reach(s, id, depth);
    uint32_t count = world_actions(from, list);
    for (uint32_t i = 0; i < count; i++) {
        struct world *to = world_copy(from);
        (void)act(&to, &list[i]);
        s->result->steps++;
        if (to->broken) {
            found_violation(s, to, depth, &list[i]);
            return false;
        }
        uint64_t hash = world_hash(to);
        if (seen_add(&s->seen, hash)) {
            keep(s, id, i);
            if (!check_progress(s, to, hash, depth, &list[i]))
                return false;
        }
        world_free(to);
    }
    return true;
}

static bool within_limits(const struct search *s, double deadline)
{
    return s->count < s->limits->states && s->count < UINT32_MAX - 1 && (deadline == 0 || now() < deadline);
}

static void search_levels(struct search *s)
{
    uint32_t depth_max = s->scope->depth ? s->scope->depth : EXPLORE_PATH - 1;
    double deadline = s->limits->seconds > 0 ? now() + s->limits->seconds : 0;
    uint64_t level = 0;
    for (uint32_t depth = 0; depth < depth_max; depth++) {
        uint64_t end = s->count;
        for (uint64_t id = level; id < end; id++) {
            if (!expand(s, (uint32_t)id, depth))
                return;
            if (!within_limits(s, deadline))
                return;
        }
        s->result->depth = depth + 1;
        level = end;
        if (level == s->count) {
            s->result->exhausted = true;
            return;
        }
    }
}

void search_all(const struct scope *scope, const struct search_limits *limits,
                struct search_result *ret_result)
{
    *ret_result = (struct search_result){0};
    catch_signals();
    struct search s = {.scope = scope, .limits = limits, .result = ret_result};
    s.taken = mem_new(EXPLORE_PATH * sizeof *s.taken);
    s.world[0] = world_new(scope);
    (void)seen_add(&s.seen, world_hash(s.world[0]));
    keep(&s, 0, 0);
    if (s.world[0]->broken)
        found_violation(&s, s.world[0], 0, NULL);
    else
        search_levels(&s);
    ret_result->states = s.count;
    for (uint32_t d = 0; d <= s.depth; d++)
        world_free(s.world[d]);
    mem_free(s.seen.slot);
    mem_free(s.found);
    mem_free(s.taken);
}

/* --- at random --- */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* It draws the kind first, then one action of it: otherwise messages would suppress rare actions. */
static const struct action *draw(const struct action *list, uint32_t count, uint64_t *random)
{
    static const uint8_t weight[ACTION_KINDS] = {
        [ACTION_DISK] = 30,   [ACTION_APPLY] = 25,  [ACTION_DELIVER] = 60, [ACTION_PROPOSE] = 8,
        [ACTION_TIMEOUT] = 5, [ACTION_EXPIRE] = 5,  [ACTION_BEAT] = 6,     [ACTION_DUPLICATE] = 6,
        [ACTION_DROP] = 3,    [ACTION_CRASH] = 4,   [ACTION_CHANGE] = 6,   [ACTION_TRANSFER] = 3,
        [ACTION_READ] = 8,    [ACTION_COMPACT] = 3,
    };
    uint32_t of_kind[ACTION_KINDS] = {0}, total = 0;
    for (uint32_t i = 0; i < count; i++)
        of_kind[list[i].kind]++;
    for (uint32_t k = 0; k < ACTION_KINDS; k++)
        total += of_kind[k] ? weight[k] : 0;
    uint32_t at = (uint32_t)(next_random(random) % total), kind = 0;
    for (; kind < ACTION_KINDS; kind++) {
        uint32_t share = of_kind[kind] ? weight[kind] : 0;
        if (at < share)
            break;
        at -= share;
    }
    uint32_t nth = (uint32_t)(next_random(random) % of_kind[kind]);
    for (uint32_t i = 0;; i++)
        if (list[i].kind == (enum action_kind)kind && nth-- == 0)
            return &list[i];
}

/* False on a violation. */
static bool walk(const struct scope *scope, const struct search_limits *limits, uint64_t seed,
                 struct search_result *result)
{
    struct world *w = world_new(scope);
    uint64_t random = seed;
    uint32_t depth = scope->depth && scope->depth < EXPLORE_PATH ? scope->depth : EXPLORE_PATH - 1;
    result->path.count = 0;
    for (uint32_t d = 0; d < depth && !w->broken; d++) {
        struct action list[EXPLORE_ACTIONS];
        uint32_t count = world_actions(w, list);
        if (count == 0)
            break;
        const struct action *a = draw(list, count, &random);
        result->path.action[result->path.count++] = *a;
        (void)act(&w, a);
        result->steps++;
    }
    if (!w->broken && limits->heal_every) {
        result->healed++;
        heal(&w);
    }
    if (w->broken) {
        report(scope, w, result);
        return false;
    }
    world_free(w);
    return true;
}

void search_random(const struct scope *scope, const struct search_limits *limits, uint64_t seed,
                   uint64_t walks, struct search_result *ret_result)
{
    *ret_result = (struct search_result){0};
    catch_signals();
    double deadline = limits->seconds > 0 ? now() + limits->seconds : 0;
    for (uint64_t i = 0; i < walks && (deadline == 0 || now() < deadline); i++) {
        ret_result->states = i + 1;
        if (!walk(scope, limits, explore_mix(explore_mix(7, seed), i), ret_result))
            return;
    }
}
