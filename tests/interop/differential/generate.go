// SPDX-License-Identifier: Apache-2.0

// The random requests. Few keys and few values, so that they collide; revisions are near the current and the
// compacted one; every option and every wrong value comes up. Values that depend on the state of the servers are
// relative to the revision at which the seed began, so a seed repeats on servers with another history.
package main

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// Twelve, and no more: up to there Go's sort keeps equal elements in place. Deviation sort-ties.
var keys = []string{"a", "ab", "b", "b\x00", "b\xff", "c", "d/1", "d/2", "d/3", "\xff", "\xff\xff", "\x00"}

func (r *runner) chance(percent float64) bool { return r.rng.Float64()*100 < percent }

func pick[T any](r *runner, from ...T) T { return from[r.rng.Intn(len(from))] }

func (r *runner) key() []byte {
	if r.chance(1) {
		return nil
	}
	return []byte(pick(r, keys...))
}

// A key and a range_end of every form.
func (r *runner) span() (key, end []byte) {
	key = r.key()
	switch r.rng.Intn(10) {
	case 0, 1, 2, 3:
		return key, nil
	case 4:
		return key, []byte{0}
	case 5:
		return []byte{0}, []byte{0}
	case 6:
		return []byte("d/"), []byte("d0")
	case 7:
		if len(key) > 0 && key[len(key)-1] < 0xff {
			end = slices.Clone(key)
			end[len(end)-1]++
			return key, end
		}
		return key, key
	default:
		return key, r.key() // may be empty, or the wrong way round
	}
}

func (r *runner) value() []byte {
	r.values++
	switch r.rng.Intn(8) {
	case 0:
		return nil
	case 1, 2:
		return []byte(fmt.Sprintf("v%d", r.values))
	case 3:
		return []byte{0xff, 0, byte(r.rng.Intn(3))}
	default:
		return []byte(fmt.Sprintf("v%d", r.rng.Intn(5)))
	}
}

func (r *runner) revision() int64 {
	switch r.rng.Intn(12) {
	case 0, 1, 2, 3:
		return 0
	case 4:
		return r.rev
	case 5:
		return r.rev + 1 + int64(r.rng.Intn(3))
	case 6:
		return r.compact - 1 + int64(r.rng.Intn(3))
	case 7:
		return pick(r, int64(-1), 1, -1<<63, 1<<63-1)
	default:
		return max(1, r.rev-int64(r.rng.Intn(40)))
	}
}

var fixedLeases = []int64{1001, 1002, 1003, 1004, 1005, 1006}

func (r *runner) lease() int64 {
	if len(r.leases) > 0 && r.chance(70) {
		return pick(r, r.leases...)
	}
	return pick(r, fixedLeases...)
}

func (r *runner) put() *pb.PutRequest {
	p := &pb.PutRequest{Key: r.key(), Value: r.value(), PrevKv: r.chance(30)}
	if r.chance(20) {
		p.Lease = r.lease()
	}
	if r.chance(8) {
		p.IgnoreValue = true
		if r.chance(85) {
			p.Value = nil
		}
	}
	if r.chance(8) {
		p.IgnoreLease = true
		if r.chance(85) {
			p.Lease = 0
		}
	}
	return p
}

func (r *runner) rangeRequest() *pb.RangeRequest {
	q := &pb.RangeRequest{Serializable: r.chance(25), KeysOnly: r.chance(12), CountOnly: r.chance(8)}
	q.Key, q.RangeEnd = r.span()
	if r.chance(35) {
		q.Limit = int64(r.rng.Intn(6))
	}
	if r.chance(1) {
		q.Limit = pick(r, int64(-1), -1<<63, 1<<63-1)
	}
	if r.chance(45) {
		q.Revision = r.revision()
	}
	if r.chance(40) {
		q.SortOrder = pb.RangeRequest_SortOrder(r.rng.Intn(3))
		q.SortTarget = pb.RangeRequest_SortTarget(r.rng.Intn(5))
	}
	if r.chance(1) {
		q.SortOrder = pick(r, pb.RangeRequest_SortOrder(3), -1)
	}
	if r.chance(1) {
		q.SortTarget = pick(r, pb.RangeRequest_SortTarget(5), -1)
	}
	for _, f := range []*int64{&q.MinModRevision, &q.MaxModRevision, &q.MinCreateRevision, &q.MaxCreateRevision} {
		if r.chance(8) {
			*f = r.revision()
		}
	}
	return q
}

func (r *runner) deleteRange() *pb.DeleteRangeRequest {
	d := &pb.DeleteRangeRequest{PrevKv: r.chance(40)}
	d.Key, d.RangeEnd = r.span()
	if len(d.RangeEnd) > 0 && r.chance(60) { // else the space is empty most of the time
		d.RangeEnd = nil
	}
	return d
}

func (r *runner) compare() *pb.Compare {
	c := &pb.Compare{Result: pb.Compare_CompareResult(r.rng.Intn(4)), Target: pb.Compare_CompareTarget(r.rng.Intn(5)), Key: r.key()}
	if r.chance(20) {
		c.Key, c.RangeEnd = r.span()
	}
	if r.chance(0.7) {
		c.Result = 7
	}
	target := c.Target
	if r.chance(2) { // a union that does not fit the target
		target = pb.Compare_CompareTarget(r.rng.Intn(5))
	}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: int64(r.rng.Intn(4))}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: pick(r, 0, r.revision())}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: pick(r, 0, r.revision())}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: r.value()}
	default:
		lease := pick(r, 0, r.lease())
		if lease > 1<<32 && (c.Result == pb.Compare_GREATER || c.Result == pb.Compare_LESS) {
			lease = pick(r, fixedLeases...) // the order of generated ids is each server's own
		}
		c.TargetUnion = &pb.Compare_Lease{Lease: lease}
	}
	if r.chance(0.7) {
		c.TargetUnion = nil
	}
	if r.chance(0.5) {
		c.Target = 9
	}
	return c
}

func (r *runner) op(depth int) *pb.RequestOp {
	switch n := r.rng.Intn(100); {
	case n < 40:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r.put()}}
	case n < 70:
		q := r.rangeRequest()
		if r.chance(70) {
			q.Revision = 0
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: q}}
	case n < 85:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r.deleteRange()}}
	case n < 99 && depth < 3:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r.txn(depth + 1)}}
	case n == 99 && r.chance(40):
		return &pb.RequestOp{}
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("c"), Value: r.value()}}}
	}
}

func (r *runner) ops(depth int) []*pb.RequestOp {
	var ops []*pb.RequestOp
	for range pick(r, 0, 1, 1, 2, 2, 3, 4) {
		ops = append(ops, r.op(depth))
	}
	return ops
}

func (r *runner) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{Success: r.ops(depth), Failure: r.ops(depth)}
	for range pick(r, 0, 0, 1, 1, 2, 3) {
		t.Compare = append(t.Compare, r.compare())
	}
	if r.chance(0.5) {
		for range pick(r, 126, 128, 129) {
			switch r.rng.Intn(3) {
			case 0:
				t.Compare = append(t.Compare, r.compare())
			case 1:
				t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}})
			default:
				t.Failure = append(t.Failure, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("b")}}})
			}
		}
		for len(t.Compare) < 128 && r.chance(99) {
			t.Compare = append(t.Compare, &pb.Compare{Key: []byte("a"), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER})
		}
		if r.chance(50) {
			t.Compare = append(t.Compare, &pb.Compare{Key: []byte("a")})
		}
	}
	return t
}

// A key that a txn deletes with range_end "\0" and puts again with ignore_value or ignore_lease ends etcd with a
// panic (its check of overlaps does not read "\0" as "all that follow"). Deviation txn-panic.
func (r *runner) harmless(t *pb.TxnRequest) *pb.TxnRequest {
	deletes, puts := false, []*pb.PutRequest{}
	var look func(ops []*pb.RequestOp)
	look = func(ops []*pb.RequestOp) {
		for _, op := range ops {
			deletes = deletes || op.GetRequestDeleteRange() != nil
			if p := op.GetRequestPut(); p != nil {
				puts = append(puts, p)
			}
			if t := op.GetRequestTxn(); t != nil {
				look(t.Success)
				look(t.Failure)
			}
		}
	}
	look(t.Success)
	look(t.Failure)
	for _, p := range puts {
		if deletes {
			p.IgnoreValue, p.IgnoreLease = false, false
		}
	}
	return t
}

// One request, or a short group that belongs together.
func (r *runner) step() error {
	kinds := []struct {
		weight float64
		do     func() error
	}{
		{26, func() error { return r.simple(mPut, r.put()) }},
		{21, func() error { return r.simple(mRange, r.rangeRequest()) }},
		{4, r.stepRangeStream},
		{5, func() error { return r.simple(mDelete, r.deleteRange()) }},
		{19, func() error { return r.simple(mTxn, r.harmless(r.txn(1))) }},
		{0.8, r.stepCompact},
		{4, r.stepGrant},
		{2, r.stepRevoke},
		{3, r.stepTimeToLive},
		{1, func() error { return r.simple(mLeases, &pb.LeaseLeasesRequest{}) }},
		{2, r.stepKeepAlive},
		{4, r.stepWatch},
		{1.5, r.stepWatchCancel},
		{1, r.stepWatchProgress},
		{2, func() error { return r.simple(mHashKV, &pb.HashKVRequest{Revision: r.revision()}) }},
		{0.3, func() error { return r.simple(mHash, &pb.HashRequest{}) }},
		{0.5, func() error {
			return r.simple(mAlarm, &pb.AlarmRequest{Action: pick(r, pb.AlarmRequest_GET, pb.AlarmRequest_DEACTIVATE), Alarm: pb.AlarmType(r.rng.Intn(3))})
		}},
		{0.5, func() error { return r.simple(mStatus, &pb.StatusRequest{}) }},
		{0.5, func() error { return r.simple(mMemberList, &pb.MemberListRequest{Linearizable: r.chance(50)}) }},
		{0.3, func() error { return r.simple(mAuthStatus, &pb.AuthStatusRequest{}) }},
		{0.3, func() error {
			return r.simple(mHealth, &grpc_health_v1.HealthCheckRequest{Service: pick(r, "", "etcd", "etcdserverpb.KV")})
		}},
		{0.1, func() error { return r.simple(mSnapshot, &pb.SnapshotRequest{}) }},
		{0.1, func() error { return r.simple(mDefragment, &pb.DefragmentRequest{}) }},
		{0.2, func() error { return r.simple(pick(r, mNoMethod, mNoService), &pb.PutRequest{Key: []byte("a")}) }},
	}
	total := 0.0
	for _, k := range kinds {
		total += k.weight
	}
	at := r.rng.Float64() * total
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			return k.do()
		}
	}
	return nil
}

func (r *runner) simple(m *method, request proto.Message) error {
	_, err := r.one(m, request)
	return err
}

func (r *runner) stepRangeStream() error {
	q := r.rangeRequest()
	if r.chance(80) {
		q.SortOrder, q.SortTarget = 0, 0
		q.MinModRevision, q.MaxModRevision, q.MinCreateRevision, q.MaxCreateRevision = 0, 0, 0, 0
	}
	if *flagNoStream {
		return nil
	}
	return r.simple(mRangeStream, q)
}

// Whether a watch that is still catching up sees what is compacted is a matter of time: let them catch up first.
func (r *runner) stepCompact() error {
	if err := r.settleWatches(); err != nil {
		return fmt.Errorf("request %d, before a compaction: %w", r.number, err)
	}
	rev := r.revision()
	if r.chance(60) {
		rev = r.rev - int64(r.rng.Intn(20))
	}
	a, err := r.one(mCompact, &pb.CompactionRequest{Revision: rev, Physical: r.chance(40)})
	if err == nil && a.code == "" {
		r.compact = rev
		r.compacted[rev] = true
	}
	return err
}

// TTLs are never equal and mostly far apart, so that the order of expiry does not depend on the clock, and long, so that nothing expires.
func (r *runner) stepGrant() error {
	q := &pb.LeaseGrantRequest{TTL: int64(10000*(1+r.rng.Intn(50)) + 4*r.number), ID: pick(r, fixedLeases...)}
	if r.chance(30) {
		q.ID = 0
	}
	if r.chance(3) {
		q.ID = -5
	}
	odd := r.chance(15)
	if odd {
		q.TTL = pick(r, int64(0), -1, 1, 2, 9000000000, 9000000001, 1<<63-1, -1<<63)
	}
	r.nextAuto++
	a, err := r.one(mGrant, q)
	if err != nil || a.code != "" {
		return err
	}
	id := a.messages[0].(*pb.LeaseGrantResponse).ID
	if q.TTL < 10000 { // it would end by itself
		r.brief[id] = true
		err = r.simple(mRevoke, &pb.LeaseRevokeRequest{ID: id})
		delete(r.brief, id)
		return err
	}
	if !slices.Contains(r.leases, id) {
		r.leases = append(r.leases, id)
	}
	return nil
}

func (r *runner) stepRevoke() error {
	id := r.lease()
	if r.chance(5) {
		id = pick(r, int64(0), -1, 77)
	}
	if err := r.simple(mRevoke, &pb.LeaseRevokeRequest{ID: id}); err != nil {
		return err
	}
	if at := slices.Index(r.leases, id); at >= 0 {
		r.leases = slices.Delete(r.leases, at, at+1)
	}
	return nil
}

func (r *runner) stepTimeToLive() error {
	return r.simple(mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: pick(r, r.lease(), r.lease(), 0, 77), Keys: r.chance(60)})
}

func (r *runner) stepKeepAlive() error {
	var requests []proto.Message
	for range 1 + r.rng.Intn(3) {
		requests = append(requests, &pb.LeaseKeepAliveRequest{ID: pick(r, r.lease(), r.lease(), r.lease(), 0, 77)})
	}
	_, err := r.one(mKeepAlive, requests...)
	return err
}

func (r *runner) stepWatch() error {
	at := r.rng.Intn(len(r.pairs))
	p := r.pairs[at]
	w := &pb.WatchCreateRequest{PrevKv: r.chance(40), ProgressNotify: r.chance(20), Fragment: r.chance(20)}
	w.Key, w.RangeEnd = r.span()
	for range pick(r, 0, 0, 0, 0, 1, 2) {
		w.Filters = append(w.Filters, pick(r, pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE, pb.WatchCreateRequest_NODELETE, 7))
	}
	if r.chance(30) {
		w.WatchId = pick(r, int64(1), 2, 3, 5, 7, 1000000, -7)
	}
	if r.chance(60) {
		w.StartRevision = r.revision()
	}
	// etcd never answers progress requests on a stream that has had a watch ended by a compaction.
	if w.StartRevision > 0 && w.StartRevision < r.compact {
		at = len(r.pairs) - 1
		p = r.pairs[at]
	}
	if p.distant {
		if r.chance(20) {
			w.StartRevision = r.rev + 1 + int64(r.rng.Intn(300))
		}
	} else if w.StartRevision > r.rev {
		w.StartRevision = r.rev
	}
	if *flagVerbose {
		fmt.Printf("%d: watch stream %d: create %v\n", r.number, at, w)
	}
	r.counts["/etcdserverpb.Watch/Watch"]++
	m, err := p.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: w}})
	if err != nil {
		return fmt.Errorf("request %d: watch stream %d: create %v\n%w", r.number, at, w, err)
	}
	if w.StartRevision > 0 && w.StartRevision <= r.rev {
		p.late = true
	}
	if !m.Canceled {
		p.live[m.WatchId] = true
	}
	return nil
}

func (r *runner) stepWatchCancel() error {
	at := r.rng.Intn(len(r.pairs))
	p := r.pairs[at]
	// Events on their way when the watch ends may come or not: let them come first.
	if err := p.settle(r.rev); err != nil {
		return fmt.Errorf("request %d, before a cancel: watch stream %d: %w", r.number, at, err)
	}
	ids := []int64{}
	for id := range p.live {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	unknown := len(ids) == 0 || r.chance(15)
	id := int64(4242)
	if !unknown {
		id = pick(r, ids...)
	}
	if *flagVerbose {
		fmt.Printf("%d: watch stream %d: cancel %d\n", r.number, at, id)
	}
	q := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
	if unknown { // there is no answer
		for _, w := range p.ends() {
			if err := w.send(q); err != nil {
				return fmt.Errorf("request %d: watch stream %d: %w", r.number, at, err)
			}
		}
		return nil
	}
	delete(p.live, id)
	if _, err := p.ask(q); err != nil {
		return fmt.Errorf("request %d: watch stream %d: cancel %d\n%w", r.number, at, id, err)
	}
	return nil
}

func (r *runner) stepWatchProgress() error {
	at := r.rng.Intn(len(r.pairs))
	p := r.pairs[at]
	if r.chance(10) { // a request with nothing in it is passed over
		for _, w := range p.ends() {
			if err := w.send(&pb.WatchRequest{}); err != nil {
				return fmt.Errorf("request %d: watch stream %d: %w", r.number, at, err)
			}
		}
	}
	if err := p.settle(r.rev); err != nil {
		return fmt.Errorf("request %d: watch stream %d: %w", r.number, at, err)
	}
	return nil
}
