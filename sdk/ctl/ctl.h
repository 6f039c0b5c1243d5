/* SPDX-License-Identifier: Apache-2.0
 * One run of cairnctl: the command line, the endpoints, the output. Each handler of a command gets it and
 * returns the exit code.
 *
 * `out` collects the output; ctl_flush and the end of the run write it. ctl_fail reports an error in one
 * sentence: what failed, at which endpoint, what to try. */
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
    const char *text; /* as the user wrote it; output uses this text */
    char host[256];
    uint16_t port;
    bool is_tls;
    struct http_client *client; /* NULL = not connected yet */
};

struct ctl {
    struct ctl_command_line line;
    const char *side; /* "from-" or "to-": its flags for access begin so; NULL = they are the global ones */
    enum ctl_form form;
    bool is_hex;
    const char *refused_form; /* the command is done, but has no such output form: an error at the end */
    bool has_terminal;        /* standard output is a terminal */
    bool has_colour;
    int64_t dial_ms, command_ms;
    struct ctl_endpoint endpoints[CTL_ENDPOINTS_MAX];
    size_t endpoint_count;
    bool is_pinned; /* only the endpoint `at` is used */
    size_t at;      /* the endpoint that responded last: tried first */
    struct tls_context *tls;
    char why[400];      /* the error of the last failed attempt */
    bool was_sent;      /* the failed request was a write and was sent: it may have been done */
    char *token;        /* NULL = none */
    struct arena arena; /* lives until the end of the run */
    struct buf out;
    int stop_fd; /* readable after SIGINT, SIGTERM or SIGHUP */
    int stop_writer;
};

#define CTL_GROUP(...)
#define CTL_COMMAND(id, ...) enum ctl_exit ctl_##id(struct ctl *c);
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG

enum ctl_exit ctl_defrag_folder(struct ctl *c); /* `defrag --data-dir` (offline.c) */

/* --- a run (session.c) ---------------------------------------------------------------------------------- */
/* Adds environment and context to the command line. CTL_DONE, or the exit code after a reported error. */
enum ctl_exit ctl_open(struct ctl *c);
void ctl_done(struct ctl *c);
/* Prompts at the terminal without echo; NULL: there is no terminal. The result lives in the arena. */
char *ctl_prompt_secret(struct ctl *c, const char *prompt);
/* Replaces the endpoints by those of the list, whose texts may contain commas. */
enum ctl_exit ctl_set_endpoints(struct ctl *c, const char *const *list, size_t count);
enum ctl_exit
/* uses the endpoints of flags, environment and context, with new connections */
ctl_use_endpoints(struct ctl *c);
/* A second set of connections in the same run: to the global flags' servers ("") or to those of --from or --to ("from-",
 * "to-"). It reports errors, and borrows the command line. ctl_close_side in any case. */
enum ctl_exit ctl_open_side(struct ctl *c, const char *side, struct ctl *ret);
void ctl_close_side(struct ctl *side);
/* Makes c->tls if an endpoint needs it; NULL = no such file. */
enum ctl_exit ctl_open_tls(struct ctl *c, const char *ca, const char *cert, const char *key);
/* Gets a token for all later requests. Without a password, the user is NAME:PASSWORD, or the terminal prompts.
 * No-op if user is NULL. */
enum ctl_exit ctl_log_in(struct ctl *c, const char *user, const char *password);
/* The same with the user of the flags, or of the side's; a token of --auth-jwt-token stays. */
enum ctl_exit ctl_log_in_side(struct ctl *c);
/* Advice for an answer with which etcd's gateway refuses a client for its certificate; NULL = it is another answer. */
const char *ctl_gateway_advice(struct slice answer);
/* Finds endpoints by SRV records (discover.c); at most CTL_ENDPOINTS_MAX, in the arena. */
enum ctl_exit ctl_discover(struct ctl *c, const char *domain, const char **ret_list, size_t *ret_count);
bool ctl_is_stopped(const struct ctl *c);
/* Waits until the run is stopped (true) or the time is over. */
bool ctl_pause(const struct ctl *c, int64_t ms);

/* Writes `out` to standard output; false: its reader has closed it. */
bool ctl_flush(struct ctl *c);
/* Prints "cairnctl config get: WHAT" on standard error, or "Error: WHAT" in etcdctl's grammar; returns
 * `how`. */
enum ctl_exit ctl_fail(struct ctl *c, enum ctl_exit how, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Reports errno of an operation on a file: "cannot open f: ...", or in Go's words "open f: ...". */
enum ctl_exit ctl_fail_errno(struct ctl *c, enum ctl_exit how, const char *verb, const char *path);
void ctl_note(struct ctl *c, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* a line on standard error */
/* Reads a file of at most max bytes. "-" and an absent name are standard input. */
enum ctl_exit ctl_read_file(struct ctl *c, const char *path, size_t max, struct buf *ret_text);
/* Writes a file atomically, through a file beside it and a rename. */
enum ctl_exit ctl_write_file(struct ctl *c, const char *path, struct slice text, unsigned mode);

/* --- contexts (context.c) ------------------------------------------------------------------------------- */
enum ctl_exit ctl_apply_context(struct ctl *c);

/* --- the native API (api.c) ----------------------------------------------------------------------------- */
struct ctl_call {
    const char *method;
    struct buf target; /* built by ctl_path, ctl_segment, ctl_query */
    struct buf fields; /* "Name: value\r\n" */
    struct slice body;
    bool has_body, has_token;
    bool is_read;       /* may be repeated; a GET always may */
    bool is_two_way;    /* a stream: the body is its first piece, more may follow */
    int64_t timeout_ms; /* 0 = --command-timeout; negative = none */
    /* The response. */
    struct buf answer;
    int status;
    const char *endpoint;
};
void ctl_call_done(struct ctl_call *call);
void ctl_path(struct ctl_call *call, const char *text);
void ctl_segment(struct ctl_call *call, const char *name); /* appends "/name", percent-encoded */
void ctl_query(struct ctl_call *call, const char *name, const char *value); /* no-op if value is NULL */
void ctl_query_int(struct ctl_call *call, const char *name, int64_t value);
/* Appends the namespace and group of the flags. */
/* Adds --on-behalf-of, if it is given, to a write that records its author. */
void ctl_query_author(const struct ctl *c, struct ctl_call *call);
void ctl_query_names(const struct ctl *c, struct ctl_call *call);

/* Sends the request to one endpoint after the other until one responds. OK for any status. Errors: those of
 * http_client.h, not reported yet (ctl_fail_reach reports them). A write that may have arrived is not sent
 * again. */
MUST_CHECK int ctl_send(struct ctl *c, struct ctl_call *call);
enum ctl_exit ctl_fail_reach(struct ctl *c, int err);
/* As ctl_send, and reports errors; a status above 299 is an error, reported in the server's words. */
enum ctl_exit ctl_call(struct ctl *c, struct ctl_call *call);
enum ctl_exit ctl_fail_status(struct ctl *c, const struct ctl_call *call);
/* As ctl_call, for a JSON response. The caller frees *ret_doc. */
enum ctl_exit ctl_call_json(struct ctl *c, struct ctl_call *call, json_t **ret_doc);
/* As ctl_call_json, for a list in pages: `continue` of each response leads to the next one. The lists under
 * field are joined in one document. */
enum ctl_exit ctl_call_pages(struct ctl *c, struct ctl_call *call, const char *field, json_t **ret_doc);
/* As ctl_call_pages, for the first `max` items: a page may end before. `continue` stays if there are more.
 * `revision` is that of the first page: the list lacks nothing up to it. */
enum ctl_exit ctl_call_some(struct ctl *c, struct ctl_call *call, const char *field, int64_t max,
                            json_t **ret_doc);
/* Opens a separate connection to an endpoint that responds, for a long response. The caller frees the
 * client. OK with a status other than 200: there is no client, and the response has been read. */
MUST_CHECK int ctl_open_stream(struct ctl *c, struct ctl_call *call, struct http_client **ret_client);
struct http_client *ctl_new_client(struct ctl *c, const struct ctl_endpoint *e);

/* --- events of a stream (events.c) ---------------------------------------------------------------------- */
struct ctl_subscription {
    const char *kind, *labels; /* labels: of the client; NULL = none */
    /* Adds the subscription's parameters; NULL = none. ctl_query_names is not called for it. */
    void (*add)(const struct ctl *c, struct ctl_call *call, void *arg);
    enum ctl_exit (*on_frame)(struct ctl *c, const json_t *frame, void *arg);
    void *arg; /* of both */
};
/* Follows one subscription by Server-Sent Events, at another endpoint when one fails. It ends when the run
 * is stopped or on_frame returns anything but CTL_DONE. Every frame is a JSON object with a type. */
enum ctl_exit ctl_follow(struct ctl *c, const struct ctl_subscription *s);
/* True: the text is a pattern, as in subscriptions: it has a `*` that no backslash precedes. NULL is none. */
bool ctl_is_pattern(const char *text);
/* True: one of the names, --namespace or --group is a pattern. */
bool ctl_is_selection(const struct ctl *c, const char *name);

/* --- child processes (child.c) -------------------------------------------------------------------------- */
struct ctl_child {
    int pid, exit_fd; /* exit_fd is readable after the child has ended */
    int status;       /* its exit code, or 128 + signal */
};
/* Starts a program. words ends with NULL, and so does variables ("NAME=value", NULL = none). Without input
 * the child has our standard input. */
enum ctl_exit ctl_child_start(struct ctl *c, const char *const *words, const struct slice *input,
                              const char *const *variables, struct ctl_child *ret_child);
/* Waits until the child has ended (true) or the time is over. When the run is stopped it ends the child and
 * waits. */
bool ctl_child_wait(struct ctl *c, struct ctl_child *child, int64_t ms);
enum ctl_exit ctl_run(struct ctl *c, const char *const *words, const struct slice *input,
                      const char *const *variables, int *ret_status);

/* Prints a list in the form of --output, by default as a table. */
void ctl_print_rows(struct ctl *c, const json_t *doc, const char *field, const struct ctl_column *columns,
                    size_t column_count);
/* Prints the result of an action: json and yaml show the document, all other forms the sentence. */
void ctl_print_done(struct ctl *c, const json_t *doc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Texts made from the table (help.c). */
void ctl_add_help(struct buf *out, const struct ctl_command_line *t);
void ctl_add_man(struct buf *out);
void ctl_add_options(struct buf *out, const struct ctl_command_line *t); /* the flags of all commands */
/* True if the help of the command shows this flag. A command's flag hides a global one of the same name,
 * and --output hides --write-out. */
bool ctl_shows_flag(const struct ctl_flag *f, enum ctl_command_id id, bool is_etcdctl);
/* Appends a completion script for bash, zsh, fish (complete.c) or powershell (complete_powershell.c); nothing
 * for another shell. */
void ctl_add_completion(struct buf *out, const char *shell, bool is_etcdctl);
void ctl_add_powershell(struct buf *out, bool is_etcdctl);

#endif
