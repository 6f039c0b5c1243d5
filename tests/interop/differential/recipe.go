// SPDX-License-Identifier: Apache-2.0

// Locks and elections: single requests, compared one by one, and stories of several callers, of whom some wait. A story runs
// on each server by itself; the results are compared as text.
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func (r *runner) lockService() error {
	lock, unlock := unary[v3lockpb.LockResponse]("/v3lockpb.Lock/Lock"), unary[v3lockpb.UnlockResponse]("/v3lockpb.Lock/Unlock")
	return r.each(mGrant, &pb.LeaseGrantRequest{ID: 51, TTL: 10000}, lock, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 51}, lock, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 51},
		mRange, &pb.RangeRequest{Key: []byte("l"), RangeEnd: []byte("m")}, lock, &v3lockpb.LockRequest{Name: []byte("l"), Lease: 99}, unlock, &v3lockpb.UnlockRequest{Key: []byte("l/33")},
		unlock, &v3lockpb.UnlockRequest{Key: []byte("l/33")}, unlock, &v3lockpb.UnlockRequest{}, mRange, &pb.RangeRequest{Key: []byte("l"), RangeEnd: []byte("m")})
}

func (r *runner) electionService() error {
	const service = "/v3electionpb.Election/"
	campaign, proclaim := unary[v3electionpb.CampaignResponse](service+"Campaign"), unary[v3electionpb.ProclaimResponse](service+"Proclaim")
	leader, resign := unary[v3electionpb.LeaderResponse](service+"Leader"), unary[v3electionpb.ResignResponse](service+"Resign")
	key := &v3electionpb.LeaderKey{Name: []byte("e"), Key: []byte("e/33"), Rev: r.rev + 1, Lease: 51}
	stale := &v3electionpb.LeaderKey{Name: []byte("e"), Key: []byte("e/33"), Rev: 1, Lease: 51}
	return r.each(mGrant, &pb.LeaseGrantRequest{ID: 51, TTL: 10000}, leader, &v3electionpb.LeaderRequest{Name: []byte("e")},
		campaign, &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: 51, Value: []byte("me")}, leader, &v3electionpb.LeaderRequest{Name: []byte("e")},
		proclaim, &v3electionpb.ProclaimRequest{Leader: key, Value: []byte("still me")}, proclaim, &v3electionpb.ProclaimRequest{Leader: stale, Value: []byte("x")},
		proclaim, &v3electionpb.ProclaimRequest{}, leader, &v3electionpb.LeaderRequest{Name: []byte("e")}, mRange, &pb.RangeRequest{Key: []byte("e"), RangeEnd: []byte("f")},
		resign, &v3electionpb.ResignRequest{}, resign, &v3electionpb.ResignRequest{Leader: stale}, resign, &v3electionpb.ResignRequest{Leader: key},
		resign, &v3electionpb.ResignRequest{Leader: key}, leader, &v3electionpb.LeaderRequest{Name: []byte("e")})
}

// One server's run of a story.
type teller struct {
	s    *side
	ctx  context.Context
	text strings.Builder
}

func (r *runner) tell(story func(t *teller) error) error {
	var texts [2]string
	for i, s := range []*side{r.a, r.b} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*callTimeout)
		t := &teller{s: s, ctx: ctx}
		err := story(t)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w, after\n%s", s.name, err, t.text.String())
		}
		texts[i] = t.text.String()
	}
	if texts[0] != texts[1] {
		return fmt.Errorf("%w\n--- a\n%s--- b\n%s", errDiffer, texts[0], texts[1])
	}
	return nil
}

func (t *teller) answer(what string, m proto.Message, err error) {
	a := &answer{}
	if err != nil {
		a.fail(err)
		if a.code == codes.DeadlineExceeded.String() {
			a.text = "" // the client's error or the server's, whichever came first
		}
	} else {
		t.s.normalise(m)
		a.messages = append(a.messages, m)
	}
	fmt.Fprintf(&t.text, "%s: %s", what, a)
}

func (t *teller) grant(ids ...int64) error {
	for _, id := range ids {
		if _, err := pb.NewLeaseClient(t.s.conn).LeaseGrant(t.ctx, &pb.LeaseGrantRequest{ID: id, TTL: 10000}); err != nil {
			return err
		}
	}
	return nil
}

// Until the keys that begin with prefix are these.
func (t *teller) keys(prefix string, want ...string) error {
	for {
		all, err := pb.NewKVClient(t.s.conn).Range(t.ctx, &pb.RangeRequest{Key: []byte(prefix), RangeEnd: append([]byte(prefix), 0xff), KeysOnly: true})
		if err != nil {
			return fmt.Errorf("waits for keys %v: %w", want, err)
		}
		var got []string
		for _, kv := range all.Kvs {
			got = append(got, string(kv.Key))
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			fmt.Fprintf(&t.text, "keys %v at %d\n", got, all.Header.Revision)
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A call that waits: done is closed when it has reported its end; cancel disconnects its client.
type waiting struct {
	message proto.Message
	err     error
	done    chan struct{}
	cancel  context.CancelFunc
}

func (t *teller) begin(call func(ctx context.Context) (proto.Message, error)) *waiting {
	ctx, cancel := context.WithCancel(t.ctx)
	w := &waiting{done: make(chan struct{}), cancel: cancel}
	go func() {
		w.message, w.err = call(ctx)
		close(w.done)
	}()
	return w
}

func (t *teller) end(what string, w *waiting) {
	<-w.done
	t.answer(what, w.message, w.err)
}

func (t *teller) still(what string, w *waiting) {
	select {
	case <-w.done:
		t.end(what+" ended too early", w)
	case <-time.After(100 * time.Millisecond):
		fmt.Fprintf(&t.text, "%s still waits\n", what)
	}
}

func lockStory(t *teller) error {
	c := v3lockpb.NewLockClient(t.s.conn)
	lock := func(lease int64) func(ctx context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			return c.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("w"), Lease: lease})
		}
	}
	if err := t.grant(0x61, 0x62, 0x63, 0x64); err != nil {
		return err
	}
	t.end("first", t.begin(lock(0x61)))
	second := t.begin(lock(0x62))
	if err := t.keys("w/", "w/61", "w/62"); err != nil {
		return err
	}
	third := t.begin(lock(0x63))
	if err := t.keys("w/", "w/61", "w/62", "w/63"); err != nil {
		return err
	}
	second.cancel() // its key goes with it
	t.end("second", second)
	if err := t.keys("w/", "w/61", "w/63"); err != nil {
		return err
	}
	t.still("third", third)
	short, cancel := context.WithTimeout(t.ctx, 300*time.Millisecond)
	_, err := lock(0x64)(short)
	cancel()
	t.answer("fourth", nil, err)
	if err := t.keys("w/", "w/61", "w/63"); err != nil {
		return err
	}
	gone, err := c.Unlock(t.ctx, &v3lockpb.UnlockRequest{Key: []byte("w/61")})
	t.answer("unlock", gone, err)
	t.end("third", third)
	again := t.begin(lock(0x61)) // behind the third now
	if err := t.keys("w/", "w/61", "w/63"); err != nil {
		return err
	}
	_, err = pb.NewLeaseClient(t.s.conn).LeaseRevoke(t.ctx, &pb.LeaseRevokeRequest{ID: 0x63})
	t.end("after the holder's lease has ended", again)
	return err
}

func electionStory(t *teller) error {
	c := v3electionpb.NewElectionClient(t.s.conn)
	campaign := func(lease int64, value string) func(ctx context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			return c.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte("v"), Lease: lease, Value: []byte(value)})
		}
	}
	observe := func() (v3electionpb.Election_ObserveClient, error) {
		return c.Observe(t.ctx, &v3electionpb.LeaderRequest{Name: []byte("v")})
	}
	seen := func(stream v3electionpb.Election_ObserveClient) {
		m, err := stream.Recv()
		t.answer("observed", m, err)
	}
	if err := t.grant(0x61, 0x62, 0x63); err != nil {
		return err
	}
	t.end("first", t.begin(campaign(0x61, "one")))
	early, err := observe()
	if err != nil {
		return err
	}
	seen(early)
	second := t.begin(campaign(0x62, "two"))
	if err := t.keys("v/", "v/61", "v/62"); err != nil {
		return err
	}
	third := t.begin(campaign(0x63, "three"))
	if err := t.keys("v/", "v/61", "v/62", "v/63"); err != nil {
		return err
	}
	t.still("second", second)
	all, err := pb.NewKVClient(t.s.conn).Range(t.ctx, &pb.RangeRequest{Key: []byte("v/61")})
	if err != nil {
		return err
	}
	leader := &v3electionpb.LeaderKey{Name: []byte("v"), Key: []byte("v/61"), Rev: all.Kvs[0].CreateRevision, Lease: 0x61}
	said, err := c.Proclaim(t.ctx, &v3electionpb.ProclaimRequest{Leader: leader, Value: []byte("one more")})
	t.answer("proclaimed", said, err)
	seen(early)
	resigned, err := c.Resign(t.ctx, &v3electionpb.ResignRequest{Leader: leader})
	t.answer("resigned", resigned, err)
	t.end("second", second)
	seen(early)
	third.cancel()
	t.end("third", third)
	if err := t.keys("v/", "v/62"); err != nil {
		return err
	}
	late, err := observe()
	if err != nil {
		return err
	}
	seen(late)
	if _, err = pb.NewLeaseClient(t.s.conn).LeaseRevoke(t.ctx, &pb.LeaseRevokeRequest{ID: 0x62}); err != nil {
		return err
	}
	none, err := c.Leader(t.ctx, &v3electionpb.LeaderRequest{Name: []byte("v")})
	t.answer("leader", none, err)
	t.end("from nobody", t.begin(campaign(0x61, "again")))
	seen(early)
	seen(late)
	return nil
}
