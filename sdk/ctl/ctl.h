/* SPDX-License-Identifier: Apache-2.0
 * One run of cairnctl: what was typed, whom to ask, what is printed. Handlers of commands get it and return
 * how the program ends.
 *
 * Output is gathered in `out` and written by ctl_flush and at the end. What goes wrong is said by ctl_fail,
 * one sentence: what failed, at which endpoint, what to try. */
#ifndef SDK_CTL_CTL_H
#define SDK_CTL_CTL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "sdk/ctl/parse.h"
#include "sdk/ctl/show.h"

struct http_client;
struct tls_context;

enum { CTL_ENDPOINTS_MAX = 64 };

struct ctl_endpoint {
    const char *text; /* as it was given: that is how it is called in output */
    char host[256];
    uint16_t port;
    bool is_tls;
    struct http_client *client; /* NULL = not asked yet */
};

struct ctl {
    struct ctl_typed typed;
    enum ctl_form form;
    bool is_hex;
    bool has_terminal; /* standard output is one */
    bool has_colour;
    int64_t dial_ms, command_ms;
    struct ctl_endpoint endpoints[CTL_ENDPOINTS_MAX];
    size_t endpoint_count;
    bool is_pinned; /* no other endpoint is asked than that */
    size_t at;      /* the endpoint that answered last: asked first */
    struct tls_context *tls;
    char why[400];      /* of the last try that failed */
    bool was_sent;      /* it was a write, and had been sent: perhaps it was done */
    char *token;        /* NULL = none */
    struct arena arena; /* lives as long as the run */
    struct buf out;
    int stop_fd; /* can be read once SIGINT, SIGTERM or SIGHUP came */
    int stop_writer;
};

#define CTL_GROUP(...)
#define CTL_COMMAND(id, ...) enum ctl_exit ctl_##id(struct ctl *c);
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG

/* --- a run (session.c) -------------------------------------------------------------------------------------
 */
/* Environment and context come to what was typed. CTL_DONE, or how the program ends, with the reason said. */
enum ctl_exit ctl_open(struct ctl *c);
void ctl_done(struct ctl *c);
/* At the terminal, without showing it; NULL: there is none. Lives in the arena. */
char *ctl_prompt_secret(struct ctl *c, const char *question);
/* Endpoints in text, with commas, instead of those there are. */
enum ctl_exit ctl_set_endpoints(struct ctl *c, const char *const *list, size_t count);
enum ctl_exit
ctl_use_endpoints(struct ctl *c); /* those of flags, environment and context, with new connections */
bool ctl_is_stopped(const struct ctl *c);
/* Until it is stopped (true) or the time is over. */
bool ctl_pause(const struct ctl *c, int64_t ms);

/* Writes out; false: nobody reads it any more. */
bool ctl_flush(struct ctl *c);
/* "cairnctl config get: WHAT" on standard error, "Error: WHAT" in etcdctl's grammar; returns how. */
enum ctl_exit ctl_fail(struct ctl *c, enum ctl_exit how, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ctl_note(struct ctl *c, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* a line on standard error */
/* A file, or standard input for "-"; an absent name is standard input too. At most max bytes. */
enum ctl_exit ctl_read_file(struct ctl *c, const char *path, size_t max, struct buf *ret_text);
/* Through a file beside it and a rename: whole or not at all. */
enum ctl_exit ctl_write_file(struct ctl *c, const char *path, struct slice text, unsigned mode);

/* --- contexts (context.c)
 * ------------------------------------------------------------------------------------ */
enum ctl_exit ctl_apply_context(struct ctl *c);

/* --- the native API (api.c)
 * ------------------------------------------------------------------------------------ */
struct ctl_call {
    const char *method;
    struct buf target; /* by ctl_path, ctl_segment, ctl_query */
    struct buf fields; /* "Name: value\r\n" */
    struct slice body;
    bool has_body, has_token;
    bool is_read;       /* may be asked twice; a GET always */
    bool is_two_way;    /* of a stream: the body is its first piece, more may follow */
    int64_t timeout_ms; /* 0 = the command's; negative = none */
    /* The answer. */
    struct buf answer;
    int status;
    const char *endpoint;
};
void ctl_call_done(struct ctl_call *call);
void ctl_path(struct ctl_call *call, const char *text);
void ctl_segment(struct ctl_call *call, const char *name);                  /* "/name", encoded */
void ctl_query(struct ctl_call *call, const char *name, const char *value); /* nothing if value is NULL */
void ctl_query_int(struct ctl_call *call, const char *name, int64_t value);
/* namespace and group of the flags. */
void ctl_query_names(const struct ctl *c, struct ctl_call *call);

/* Asks one endpoint after the other until one answers. OK whatever the status is. Errors: all of what
 * http_client.h names; they are not said yet (ctl_fail_reach says them). A write that may have arrived is not
 * sent again. */
MUST_CHECK int ctl_ask(struct ctl *c, struct ctl_call *call);
enum ctl_exit ctl_fail_reach(struct ctl *c, int err);
/* The same, said, and a status above 299 is an error that is said in the server's words. */
enum ctl_exit ctl_call(struct ctl *c, struct ctl_call *call);
enum ctl_exit ctl_fail_status(struct ctl *c, const struct ctl_call *call);
/* The same, and the answer is JSON. */
enum ctl_exit ctl_call_json(struct ctl *c, struct ctl_call *call, json_t **ret_doc);
/* A GET of a list in pages: `continue` of each answer leads to the next; the lists under field are put
 * together in one document. */
enum ctl_exit ctl_call_pages(struct ctl *c, struct ctl_call *call, const char *field, json_t **ret_doc);
/* The same for the first `max` of the list: a page may end before. `continue` stays when there are more. */
enum ctl_exit ctl_call_some(struct ctl *c, struct ctl_call *call, const char *field, int64_t max,
                            json_t **ret_doc);
/* A connection of its own to an endpoint that answers, for an answer that does not end soon; the caller frees
 * it. OK with a status that is not 200: there is none, and the answer is read. */
MUST_CHECK int ctl_open_stream(struct ctl *c, struct ctl_call *call, struct http_client **ret_client);
struct http_client *ctl_new_client(struct ctl *c, const struct ctl_endpoint *e);

/* --- events of a stream (events.c)
 * -------------------------------------------------------------------------------- */
/* Follows one subscription by Server-Sent Events, on another endpoint when one fails, until stopped or
 * on_frame says not CTL_DONE. query: what comes behind the path. Every frame is a JSON object with a type. */
enum ctl_exit ctl_follow(struct ctl *c, const char *kind, const char *name, const char *labels,
                         enum ctl_exit (*on_frame)(struct ctl *c, const json_t *frame, void *arg), void *arg);

/* --- commands that run beside us (child.c)
 * -------------------------------------------------------------------------- */
struct ctl_child {
    int pid, exit_fd; /* exit_fd can be read when it has ended */
    int status;       /* its exit code, or 128 + signal */
};
/* words ends with NULL, variables ("NAME=value", NULL = none) too; without input its standard input is ours.
 */
enum ctl_exit ctl_child_start(struct ctl *c, const char *const *words, const struct slice *input,
                              const char *const *variables, struct ctl_child *ret_child);
/* Until it has ended (true) or the time is over. When we are stopped it is told, and waited for. */
bool ctl_child_wait(struct ctl *c, struct ctl_child *child, int64_t ms);
enum ctl_exit ctl_run(struct ctl *c, const char *const *words, const struct slice *input,
                      const char *const *variables, int *ret_status);

/* Prints a list; the form is the one asked for, else a table. */
void ctl_print_rows(struct ctl *c, const json_t *doc, const char *field, const struct ctl_column *columns,
                    size_t column_count);
/* "done" in the asked form: json and yaml show the document, all others the sentence. */
void ctl_print_done(struct ctl *c, const json_t *doc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Texts out of the table (help.c). */
void ctl_add_help(struct buf *out, const struct ctl_typed *t);
void ctl_add_man(struct buf *out);
/* Of a flag that a command has as well as all commands, the command's is shown; --write-out gives way to
 * --output. */
bool ctl_shows_flag(const struct ctl_flag *f, enum ctl_command_id id, bool is_etcdctl);
/* A script for bash, zsh or fish (complete.c); nothing for an unknown shell. */
void ctl_add_completion(struct buf *out, const char *shell, bool is_etcdctl);

#endif
