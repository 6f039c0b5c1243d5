/* SPDX-License-Identifier: Apache-2.0
 * The scenario runner: it runs scenario files, or all *.txt below a folder.
 *
 *     scenario [--rewrite] PATH...
 *
 * The folder of a file says its kind: quorum, confchange, else a cluster. The runner skips a PATH that does
 * not exist, and prints that it did. */
#include "tests/scenario/interaction.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct {
    bool rewrite;
    unsigned files, failed, skipped, directives;
} run;

static bool is_in_folder(const char *path, const char *folder)
{
    char part[64];
    snprintf(part, sizeof part, "/%s/", folder);
    return strstr(path, part) || strncmp(path, part + 1, strlen(part) - 1) == 0;
}

static struct datadriven_result run_kind(const char *path)
{
    struct datadriven_result result;
    if (is_in_folder(path, "quorum")) {
        result = datadriven_run(path, run.rewrite, quorum_run, NULL);
    } else if (is_in_folder(path, "confchange")) {
        struct confchange *c = confchange_new();
        result = datadriven_run(path, run.rewrite, confchange_run, c);
        confchange_free(c);
    } else {
        struct interaction *env = interaction_new();
        result = datadriven_run(path, run.rewrite, interaction_run, env);
        interaction_free(env);
    }
    return result;
}

static void run_file(const char *path)
{
    struct datadriven_result result = run_kind(path);
    bool failed = result.unreadable || result.differences || result.directives == 0;
    run.files++;
    run.failed += failed;
    run.directives += result.directives;
    if (failed)
        printf("  FAIL %s: %u of %u directives differ\n", path, result.differences, result.directives);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        printf("  SKIPPED %s: not there\n", path);
        run.skipped++;
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    struct dirent **names;
    int count = scandir(path, &names, NULL, by_name);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, name);
        size_t size = strlen(name);
        bool is_text = size > 4 && strcmp(name + size - 4, ".txt") == 0;
        if (name[0] != '.' && (is_text || (stat(child, &st) == 0 && S_ISDIR(st.st_mode))))
            run_path(child);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rewrite") == 0)
            run.rewrite = true;
        else
            run_path(argv[i]);
    }
    printf("scenarios: %u files, %u directives, %u failed, %u skipped\n", run.files, run.directives,
           run.failed, run.skipped);
    return run.failed ? 1 : 0;
}
