/* SPDX-License-Identifier: Apache-2.0
 * The simulator's program. One seed, readable:   sim --seed 7 [--trace] [--raft]
 * Many, on all cores:                            sim --seeds 1000 [--first 1] [--jobs 2] [--seconds 60]
 *                                                [--stop] at the first violation
 * Both: --set name=value (a line of plan.def), --calm, --seconds-virtual N, --mutant NAME, --corpus FILE.
 * Ends with 0 passed, 1 violated, 3 void, 2 for wrong arguments. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mutant.h"
#include "tests/sim/cluster/run.h"

enum { EXIT_VOID = 3, EXIT_USAGE = 2, JOBS_MAX = 64, SEEDS_KEPT = 64, TWICE_EVERY = 32, CORPUS_MAX = 512 };

struct arguments {
    uint64_t seed, seeds, first, jobs, seconds;
    bool has_seed, is_calm, is_twice, is_quiet, stops;
    const char *corpus;
    struct world_options world;
    struct buf settings; /* as given, for the line that replays */
    struct {
        const char *name;
        uint64_t value;
    } sets[64];
    size_t set_count;
    uint64_t list[CORPUS_MAX]; /* seeds of a corpus */
    size_t list_count;
};

/* Reports of the jobs; shared memory. */
struct board {
    uint64_t next, last;
    uint64_t passed, violated, empty, events, virtual_ms, acknowledged, faults;
    uint64_t bad[SEEDS_KEPT];
    uint64_t bad_count;
    uint64_t at[JOBS_MAX]; /* the seed each job is at, 0 = none */
};

static uint64_t seed_under_way;
static const char *settings_given = "";

static void print_replay(uint64_t seed)
{
    printf("  replay: make sim SEED=%" PRIu64 "%s%s%s\n", seed, settings_given[0] ? " SIM_FLAGS='" : "",
           settings_given, settings_given[0] ? "'" : "");
}

/* A failed assertion or a signal: it counts as a violation. */
static void on_death(int number)
{
    printf("seed %" PRIu64 ": VIOLATED: no_abort: the process got signal %d\n", seed_under_way, number);
    print_replay(seed_under_way);
    fflush(stdout);
    _exit(RUN_VIOLATED);
}

static int usage(void)
{
    fprintf(stderr, "sim --seed S | --seeds N [--first S] [--jobs N] [--seconds N] [--corpus FILE]\n"
                    "    [--trace] [--raft] [--calm] [--twice] [--quiet] [--stop] [--set name=value] "
                    "[--seconds-virtual N]\n"
                    "    [--mutant NAME]\n");
    return EXIT_USAGE;
}

static bool set_plant(const char *name)
{
#ifdef MUTANTS
    for (int i = 0; i < MUTANT_COUNT; i++) {
        if (strcmp(mutant_name((enum mutant)i), name) == 0) {
            mutant_active = (enum mutant)i;
            return true;
        }
    }
#endif
    fprintf(stderr, "no mutant %s in this build\n", name);
    return false;
}

static bool add_setting(struct arguments *a, char *text)
{
    struct plan probe = {0};
    char *equals = strchr(text, '=');
    if (!equals || a->set_count == sizeof a->sets / sizeof *a->sets)
        return false;
    *equals = 0;
    a->sets[a->set_count].name = text;
    a->sets[a->set_count].value = strtoull(equals + 1, NULL, 0);
    buf_addf(&a->settings, "%s--set %s=%s", a->settings.size ? " " : "", text, equals + 1);
    if (!plan_set(&probe, text, 0)) {
        fprintf(stderr, "no line %s in the plan\n", text);
        return false;
    }
    a->set_count++;
    return true;
}

static bool read_flag(struct arguments *a, const char *flag)
{
    if (strcmp(flag, "--trace") == 0)
        a->world.is_verbose = true;
    else if (strcmp(flag, "--raft") == 0)
        a->world.is_verbose = a->world.shows_raft = true;
    else if (strcmp(flag, "--calm") == 0)
        a->is_calm = true;
    else if (strcmp(flag, "--twice") == 0)
        a->is_twice = true;
    else if (strcmp(flag, "--quiet") == 0)
        a->is_quiet = true;
    else if (strcmp(flag, "--stop") == 0)
        a->stops = true;
    else
        return false;
    return true;
}

static bool read_value(struct arguments *a, const char *flag, char *value)
{
    uint64_t number = strtoull(value, NULL, 0);
    if (strcmp(flag, "--seed") == 0) {
        a->seed = number;
        a->has_seed = true;
    } else if (strcmp(flag, "--seeds") == 0) {
        a->seeds = number;
    } else if (strcmp(flag, "--first") == 0) {
        a->first = number;
    } else if (strcmp(flag, "--jobs") == 0) {
        a->jobs = number < JOBS_MAX ? number : JOBS_MAX;
    } else if (strcmp(flag, "--seconds") == 0) {
        a->seconds = number;
    } else if (strcmp(flag, "--corpus") == 0) {
        a->corpus = value;
    } else if (strcmp(flag, "--seconds-virtual") == 0) {
        char text[48];
        snprintf(text, sizeof text, "safety_ms=%" PRIu64, number * 1000);
        return add_setting(a, strdup(text));
    } else if (strcmp(flag, "--mutant") == 0) {
        a->world.mutant = value;
        buf_addf(&a->settings, "%s--mutant %s", a->settings.size ? " " : "", value);
        return set_plant(value);
    } else if (strcmp(flag, "--set") == 0) {
        return add_setting(a, value);
    } else {
        return false;
    }
    return true;
}

static bool read_arguments(struct arguments *a, int argc, char **argv)
{
    a->first = 1;
    a->jobs = 2;
    for (int i = 1; i < argc; i++) {
        if (read_flag(a, argv[i]))
            continue;
        if (i + 1 == argc || !read_value(a, argv[i], argv[i + 1]))
            return false;
        i++;
    }
    settings_given = buf_text(&a->settings);
    return a->has_seed || a->seeds || a->corpus;
}

static void make_plan(const struct arguments *a, uint64_t seed, struct plan *ret_plan)
{
    plan_draw(ret_plan, seed);
    if (a->is_calm)
        plan_calm(ret_plan);
    for (size_t i = 0; i < a->set_count; i++)
        (void)plan_set(ret_plan, a->sets[i].name, a->sets[i].value);
}

static void print_result(uint64_t seed, struct run_result *r)
{
    static const char *const verdicts[] = {"passed", "VIOLATED", "void"};
    printf("seed %" PRIu64 ": %s%s%s\n", seed, verdicts[r->verdict], r->text.size ? ": " : "",
           r->text.size ? buf_text(&r->text) : "");
    printf("  %" PRIu64 " ms, %" PRIu64 " events; %" PRIu64 " acknowledged, %" PRIu64 " failed, %" PRIu64
           " unknown; %" PRIu64 " watch events; %" PRIu64 " faults, %" PRIu64 " leaders, %" PRIu64
           " entries; messages %" PRIu64 " sent, %" PRIu64 " lost, %" PRIu64 " refused; hash %016" PRIx64
           "\n",
           r->virtual_ms, r->events, r->load.acknowledged, r->load.failed, r->load.unknown, r->load.events,
           r->faults, r->leaders, r->commits, r->network.sent, r->network.lost, r->network.refused, r->hash);
    if (r->verdict == RUN_VIOLATED)
        print_replay(seed);
}

/* --- one seed ------------------------------------------------------------------------------------------ */

static int run_one(const struct arguments *a)
{
    struct plan plan;
    struct run_result r, again;
    make_plan(a, a->seed, &plan);
    seed_under_way = a->seed;
    if (!a->is_quiet) {
        struct buf b = {0};
        plan_print(&plan, &b);
        fwrite(b.data, 1, b.size, stdout);
        buf_done(&b);
    }
    run_seed(&plan, &a->world, &r);
    print_result(a->seed, &r);
    buf_done(&r.text);
    if (!a->is_twice)
        return r.verdict == RUN_VOID ? EXIT_VOID : (int)r.verdict;
    run_seed(&plan, &a->world, &again);
    buf_done(&again.text);
    bool is_same = r.hash == again.hash && r.events == again.events;
    printf("the same again: %s\n", is_same ? "yes" : "NO");
    return is_same ? 0 : RUN_VIOLATED;
}

/* --- many ---------------------------------------------------------------------------------------------- */

/* The same seed must give the same run on another heap, so that an order of pointers would show. Memory that
 * grows once and stays has grown by then: the second run must free all memory that it allocated. */
static void run_again(const struct arguments *a, const struct plan *plan, struct run_result *r)
{
    struct run_result again;
    int64_t before = hooks_live_blocks;
    run_seed(plan, &a->world, &again);
    buf_done(&again.text);
    int64_t after = hooks_live_blocks;
    if (r->verdict == RUN_VIOLATED || (again.hash == r->hash && after <= before))
        return;
    r->verdict = RUN_VIOLATED;
    if (again.hash != r->hash)
        buf_addf(&r->text, "same_run: the second run ended with hash %016" PRIx64, again.hash);
    else
        buf_addf(&r->text, "no_leaks: the run has kept %" PRId64 " blocks of memory", after - before);
}

static void work(const struct arguments *a, struct board *b, unsigned job)
{
    for (;;) {
        uint64_t at = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED);
        if (at > b->last)
            break;
        uint64_t seed = a->list_count ? a->list[at] : at;
        struct plan plan;
        struct run_result r;
        make_plan(a, seed, &plan);
        b->at[job] = seed_under_way = seed;
        run_seed(&plan, &a->world, &r);
        if (seed % TWICE_EVERY == 0)
            run_again(a, &plan, &r);
        uint64_t *count = r.verdict == RUN_PASSED ? &b->passed
                          : r.verdict == RUN_VOID ? &b->empty
                                                  : &b->violated;
        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&b->events, r.events, __ATOMIC_RELAXED);
        __atomic_fetch_add(&b->virtual_ms, r.virtual_ms, __ATOMIC_RELAXED);
        __atomic_fetch_add(&b->acknowledged, r.load.acknowledged, __ATOMIC_RELAXED);
        __atomic_fetch_add(&b->faults, r.faults, __ATOMIC_RELAXED);
        if (r.verdict == RUN_VIOLATED && a->stops)
            __atomic_store_n(&b->last, 0, __ATOMIC_RELAXED);
        if (r.verdict == RUN_VIOLATED) {
            uint64_t bad = __atomic_fetch_add(&b->bad_count, 1, __ATOMIC_RELAXED);
            if (bad < SEEDS_KEPT)
                b->bad[bad] = seed;
            print_result(seed, &r);
            fflush(stdout);
        }
        buf_done(&r.text);
        b->at[job] = 0;
    }
}

static pid_t start_job(const struct arguments *a, struct board *b, unsigned job)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        work(a, b, job);
        fflush(stdout);
        _exit(0);
    }
    return pid;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_board(const struct board *b, double seconds, bool is_last)
{
    uint64_t done = b->passed + b->violated + b->empty;
    printf("%s%" PRIu64 " seeds: %" PRIu64 " passed, %" PRIu64 " VIOLATED, %" PRIu64 " void; %" PRIu64
           " s virtual, %" PRIu64 " events, %" PRIu64 " acknowledged, %" PRIu64
           " faults; %.0f s, %.1f seeds/s%s",
           is_last ? "" : "\r", done, b->passed, b->violated, b->empty, b->virtual_ms / 1000, b->events,
           b->acknowledged, b->faults, seconds, (double)done / (seconds > 0 ? seconds : 1),
           is_last ? "\n" : "  ");
    fflush(stdout);
}

/* A job that died left its seed in the shared memory; another job replaces it. */
static int run_many(const struct arguments *a, uint64_t first, uint64_t last, struct board *b)
{
    pid_t jobs[JOBS_MAX];
    double start = now_s(), told = start;
    bool is_terminal = isatty(STDOUT_FILENO);
    b->next = first;
    b->last = last;
    for (unsigned i = 0; i < a->jobs; i++)
        jobs[i] = start_job(a, b, i);
    unsigned running = (unsigned)a->jobs;
    while (running) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            usleep(20000);
            if (a->seconds && now_s() - start > (double)a->seconds)
                __atomic_store_n(&b->last, 0, __ATOMIC_RELAXED);
            if (is_terminal && now_s() - told > 1) {
                told = now_s();
                print_board(b, told - start, false);
            }
            continue;
        }
        for (unsigned i = 0; i < a->jobs; i++) {
            if (jobs[i] != pid)
                continue;
            running--;
            jobs[i] = 0;
            if (!b->at[i])
                continue;
            b->violated++;
            if (a->stops)
                b->last = 0;
            if (b->bad_count < SEEDS_KEPT)
                b->bad[b->bad_count] = b->at[i];
            b->bad_count++;
            b->at[i] = 0;
            jobs[i] = start_job(a, b, i);
            running++;
        }
    }
    print_board(b, now_s() - start, true);
    for (uint64_t i = 0; i < b->bad_count && i < SEEDS_KEPT; i++)
        print_replay(b->bad[i]);
    return b->violated ? RUN_VIOLATED : b->passed ? RUN_PASSED : EXIT_VOID;
}

/* Lines of a corpus: a seed, then anything. */
static int run_corpus(const struct arguments *a, struct board *b)
{
    static struct arguments with;
    char line[512];
    FILE *f = fopen(a->corpus, "r");
    if (!f)
        return usage();
    with = *a;
    while (fgets(line, sizeof line, f) && with.list_count < CORPUS_MAX) {
        uint64_t seed = strtoull(line, NULL, 10);
        if (seed) /* else a comment */
            with.list[with.list_count++] = seed;
    }
    fclose(f);
    if (!with.list_count)
        return 0;
    printf("corpus: ");
    fflush(stdout);
    int code = run_many(&with, 0, with.list_count - 1, b);
    return code == EXIT_VOID ? 0 : code;
}

int main(int argc, char **argv)
{
    static struct arguments a;
    if (!read_arguments(&a, argc, argv))
        return usage();
    log_set_level(a.world.is_verbose ? LOG_INFO : LOG_FATAL);
    const int deaths[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++)
        signal(deaths[i], on_death);
    if (a.has_seed)
        return run_one(&a);
    struct board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        return EXIT_USAGE;
    int code = a.corpus ? run_corpus(&a, b) : 0;
    if (a.seeds) {
        memset(b, 0, sizeof *b);
        int more = run_many(&a, a.first, a.first + a.seeds - 1, b);
        code = code ? code : more;
    }
    return code;
}
