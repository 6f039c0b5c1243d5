/* SPDX-License-Identifier: Apache-2.0
 * One query to one member; see ask.h. */
#include "tests/chaos/ask.h"

#include <stdio.h>

#include "proto/rpc.pb-c.h"

struct question {
    struct connection connection;
    struct call call;
    struct buf answer;
    int status;
    char text[160];
    bool is_over;
};

static void on_answer(struct call *call, struct slice message)
{
    struct question *q = call->arg;
    buf_clear(&q->answer);
    buf_add_slice(&q->answer, message);
}

static void on_answer_end(struct call *call, int status, const char *text)
{
    struct question *q = call->arg;
    q->status = status;
    q->is_over = true;
    snprintf(q->text, sizeof q->text, "%s", text);
}

/* False: no response within three seconds, or an error (in status and text). The caller frees the response.
 */
/* The caller takes the response's buffer, or it is freed. */
bool ask(const struct endpoint *endpoint, const char *path, const ProtobufCMessage *m, struct buf *ret_answer,
         char text[160])
{
    struct question q = {.call = {.on_message = on_answer, .on_end = on_answer_end}};
    uint64_t until = client_now_ms() + 3000;
    q.call.arg = &q;
    connection_open(&q.connection, endpoint);
    while (q.connection.state == CONNECTION_CONNECTING && client_now_ms() < until)
        client_wait(10);
    snprintf(q.text, sizeof q.text, "cannot connect, or no answer in time");
    if (q.connection.state == CONNECTION_UP) {
        call_start(&q.connection, &q.call, path, m, true, false);
        while (!q.is_over && client_now_ms() < until)
            client_wait(10);
        call_drop(&q.call);
    }
    connection_close(&q.connection, "asked");
    snprintf(text, 160, "%s", q.text);
    if (q.is_over && q.status == STATUS_OK) {
        *ret_answer = q.answer;
        return true;
    }
    buf_done(&q.answer);
    return false;
}

bool ask_status(const struct endpoint *endpoint, struct member_status *ret_status)
{
    Etcdserverpb__StatusRequest m = ETCDSERVERPB__STATUS_REQUEST__INIT;
    struct buf answer = {0};
    char text[160];
    if (!ask(endpoint, "/etcdserverpb.Maintenance/Status", &m.base, &answer, text))
        return false;
    Etcdserverpb__StatusResponse *r = etcdserverpb__status_response__unpack(NULL, answer.size, answer.data);
    buf_done(&answer);
    if (!r || !r->header) {
        etcdserverpb__status_response__free_unpacked(r, NULL);
        return false;
    }
    *ret_status = (struct member_status){.member_id = r->header->member_id,
                                         .leader = r->leader,
                                         .term = r->raftterm,
                                         .index = r->raftindex,
                                         .applied = r->raftappliedindex,
                                         .revision = r->header->revision,
                                         .is_learner = r->islearner};
    etcdserverpb__status_response__free_unpacked(r, NULL);
    return true;
}
