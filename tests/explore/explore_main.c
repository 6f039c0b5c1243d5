/* SPDX-License-Identifier: Apache-2.0
 * The explorer's program: it explores the named scopes, all of scopes.def, or one scope given by options
 * (README.md). It exits with 1 on a violation.
 *
 *     explore [--states N] [--seconds N] [--heal N] [--walks N] [--seed N] [--mutant NAME] [--story FILE]
 *             [SCOPE | OPTIONS]... */
#include "base/mutant.h"
#include "tests/explore/search.h"
#include "tests/scenario/render.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static const char *budget_names[ACTION_KINDS] = {
#define ACTION(name, text) [ACTION_##name] = text,
#include "tests/explore/action.def"
#undef ACTION
};

static const struct {
    const char *name, *what, *options;
    bool wide;
} scopes[] = {
#define SCOPE(name, what, options) {name, what, options, false},
#define WIDE(name, what, options)  {name, what, options, true},
#include "tests/explore/scopes.def"
#undef SCOPE
#undef WIDE
};

struct settings {
    struct search_limits limits;
    uint64_t walks, seed;
    const char *story;
    bool walks_only;
};

/* Totals of all scopes, for the last line. */
static struct {
    uint64_t scopes, states, walks, steps;
} total;

/* --- options of a scope --- */
static uint32_t read_bits(const char *value)
{
    uint32_t bits = 0;
    for (const char *p = value; *p; p++)
        if (*p >= '1' && *p < '1' + EXPLORE_MEMBERS)
            bits |= UINT32_C(1) << (*p - '1');
    return bits;
}

/* "v3,r2": the parts of one change; "leave": a change without parts, which leaves a joint configuration. */
static bool read_parts(const char *value, char *text, size_t size, struct raft_conf_change *ret)
{
    struct buf error = {0};
    snprintf(text, size, "%s", strcmp(value, "leave") == 0 ? "" : value);
    for (char *p = text; *p; p++)
        if (*p == ',')
            *p = ' ';
    bool ok = parse_changes(text, ret, &error);
    buf_done(&error);
    return ok;
}

static bool read_change(struct scope *s, const char *value)
{
    if (s->change_count == EXPLORE_CHANGES)
        return false;
    uint32_t at = s->change_count++;
    return read_parts(value, s->change_text[at], sizeof s->change_text[at], &s->change[at]);
}

static bool read_joint(struct scope *s, const char *value)
{
    s->joint.transition = RAFT_TRANSITION_JOINT_EXPLICIT;
    return read_parts(value, s->joint_text, sizeof s->joint_text, &s->joint);
}

static bool read_number(struct scope *s, const char *key, const char *value)
{
    uint32_t number = (uint32_t)strtoul(value, NULL, 10);
    if (strcmp(key, "members") == 0)
        s->members = number;
    else if (strcmp(key, "leader") == 0)
        s->leader = number;
    else if (strcmp(key, "depth") == 0)
        s->depth = number;
    else {
        for (uint32_t k = 0; k < ACTION_KINDS; k++) {
            if (strcmp(budget_names[k], key) == 0) {
                s->budget[k] = (uint8_t)number;
                return true;
            }
        }
        return false;
    }
    return true;
}

static bool read_option(struct scope *s, char *word)
{
    char *value = strchr(word, '=');
    if (value)
        *value++ = 0;
    if (!value && strcmp(word, "lag") == 0)
        s->lag = UINT32_MAX;
    else if (value && strcmp(word, "lag") == 0)
        s->lag = read_bits(value);
    else if (!value && strcmp(word, "single") == 0)
        s->single = true;
    else if (!value && strcmp(word, "lazy") == 0)
        s->lazy = true;
    else if (!value && strcmp(word, "pre-vote") == 0)
        s->pre_vote = true;
    else if (!value && strcmp(word, "check-quorum") == 0)
        s->check_quorum = true;
    else if (!value && strcmp(word, "early-votes") == 0)
        s->early_votes = true;
    else if (!value)
        return false;
    else if (strcmp(word, "voters") == 0)
        s->voters = read_bits(value);
    else if (strcmp(word, "learners") == 0)
        s->learners = read_bits(value);
    else if (strcmp(word, "change") == 0)
        return read_change(s, value);
    else if (strcmp(word, "joint") == 0)
        return read_joint(s, value);
    else
        return read_number(s, word, value);
    return true;
}

static bool read_scope(struct scope *s, const char *name, const char *options)
{
    *s = (struct scope){.members = 3};
    snprintf(s->name, sizeof s->name, "%s", name);
    char text[512], *rest = text;
    snprintf(text, sizeof text, "%s", options);
    for (char *word; (word = strsep(&rest, " "));) {
        if (*word && !read_option(s, word)) {
            fprintf(stderr, "explore: unknown option %s\n", word);
            return false;
        }
    }
    if (s->members == 0 || s->members > EXPLORE_MEMBERS || s->leader > s->members) {
        fprintf(stderr, "explore: 1 to %d members\n", EXPLORE_MEMBERS);
        return false;
    }
    if (!s->voters)
        s->voters = (UINT32_C(1) << s->members) - 1;
    s->voters &= ~s->learners;
    return true;
}

/* --- one scope --- */
static void say_violation(const struct settings *set, const struct scope *s, const struct search_result *r)
{
    struct buf story = {0};
    printf("  VIOLATION of %s after %u actions: %s\n", r->rule, r->path.count, r->detail);
    buf_addf(&story, "# %s is broken: %s\n# Found by explore in scope %s.\n", r->rule, r->detail, s->name);
    story_print(s, &r->path, &story);
    FILE *f = set->story ? fopen(set->story, "w") : stdout;
    if (f) {
        fprintf(f, "%s", buf_text(&story));
        if (f != stdout)
            fclose(f);
    }
    buf_done(&story);
}

static bool run_scope(const struct settings *set, const struct scope *s, bool at_random)
{
    static struct search_result r;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (at_random)
        search_random(s, &set->limits, set->seed, set->walks, &r);
    else
        search_all(s, &set->limits, &r);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("  %-12s %9llu %s %10llu steps %6llu healed  depth %3u%s %6.1f s %5ld MiB\n", s->name,
           (unsigned long long)r.states, at_random ? "walks " : "states", (unsigned long long)r.steps,
           (unsigned long long)r.healed, r.depth, r.exhausted ? " all" : "    ", seconds,
           usage.ru_maxrss / 1024);
    fflush(stdout);
    total.scopes++;
    *(at_random ? &total.walks : &total.states) += r.states;
    total.steps += r.steps;
    if (r.broken)
        say_violation(set, s, &r);
    return !r.broken;
}

static bool run_named(const struct settings *set, const char *name)
{
    struct scope s;
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++) {
        bool at_random = scopes[i].wide || (name && set->walks_only);
        bool meant = !name || strcmp(scopes[i].name, name) == 0;
        if (meant && (!read_scope(&s, scopes[i].name, scopes[i].options) || !run_scope(set, &s, at_random)))
            return false;
    }
    return true;
}

static bool is_named(const char *name)
{
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++)
        if (strcmp(scopes[i].name, name) == 0)
            return true;
    return false;
}

static bool set_plant(const char *name)
{
#ifdef MUTANTS
    mutant_active = mutant_find(name);
    if (mutant_active != MUTANT_COUNT)
        return true;
    fprintf(stderr, "explore: no mutant %s\n", name);
#else
    fprintf(stderr, "explore: built without mutants (%s)\n", name);
#endif
    return false;
}

static bool read_setting(struct settings *set, const char *name, const char *value)
{
    if (strcmp(name, "--states") == 0)
        set->limits.states = strtoull(value, NULL, 10);
    else if (strcmp(name, "--seconds") == 0)
        set->limits.seconds = strtod(value, NULL);
    else if (strcmp(name, "--heal") == 0)
        set->limits.heal_every = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(name, "--walks") == 0)
        set->walks = strtoull(value, NULL, 10), set->walks_only = true;
    else if (strcmp(name, "--seed") == 0)
        set->seed = strtoull(value, NULL, 10);
    else if (strcmp(name, "--story") == 0)
        set->story = value;
    else if (strcmp(name, "--mutant") == 0)
        return set_plant(value);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct settings set = {.limits = {.states = 2000000, .heal_every = 256}, .seed = 1, .walks = 2000};
    struct buf options = {0};
    bool named = false, fine = true;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && (i + 1 == argc || !read_setting(&set, argv[i], argv[i + 1])))
            return 2;
        i += argv[i][0] == '-';
    }
    for (int i = 1; i < argc && fine; i++) {
        if (argv[i][0] == '-') {
            i++;
        } else if (is_named(argv[i])) {
            named = true;
            fine = run_named(&set, argv[i]);
        } else {
            buf_addf(&options, "%s ", argv[i]);
        }
    }
    struct scope s;
    if (options.size) {
        if (!read_scope(&s, "given", buf_text(&options)))
            return 2;
        fine = fine && run_scope(&set, &s, set.walks_only);
    } else if (!named) {
        fine = run_named(&set, NULL);
    }
    buf_done(&options);
    printf("explore: %llu scopes, %llu states, %llu walks, %llu steps: %s\n",
           (unsigned long long)total.scopes, (unsigned long long)total.states,
           (unsigned long long)total.walks, (unsigned long long)total.steps,
           fine ? "no violation" : "a violation");
    return fine ? 0 : 1;
}
