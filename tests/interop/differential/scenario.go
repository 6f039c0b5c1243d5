// SPDX-License-Identifier: Apache-2.0

// Directed scenarios, which random requests do not reach because they need size, time, alarms or broken messages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

var scenarioTable = []struct {
	name string
	run  func(r *runner) error
}{
	{"hashkv", (*runner).hashKV},
	{"lease expiry", (*runner).leaseExpiry},
	{"large values", (*runner).largeValues},
	{"many keys", (*runner).manyKeys},
	{"watch: fragments", (*runner).watchFragments},
	{"watch: thousands of revisions", (*runner).watchFar},
	{"watch: leases and moves", (*runner).watchLeases},
	{"alarm NOSPACE", func(r *runner) error { return r.alarm(pb.AlarmType_NOSPACE) }},
	{"alarm CORRUPT", func(r *runner) error { return r.alarm(pb.AlarmType_CORRUPT) }},
	{"limits of a txn", (*runner).txnLimits},
	{"gRPC: odd messages", (*runner).oddMessages},
	{"gRPC: metadata", (*runner).oddMetadata},
	{"health", (*runner).healthWatch},
	{"cluster errors", (*runner).clusterErrors},
	{"auth is off", (*runner).authOff},
	{"lock service", (*runner).lockService},
	{"lock: waiting", func(r *runner) error { return r.tell(lockStory) }},
	{"election service", (*runner).electionService},
	{"election: waiting", func(r *runner) error { return r.tell(electionStory) }},
}

// Returns how many differ. A method that b does not serve at all is named, and does not count as a difference.
func (r *runner) scenarios() int {
	failed := 0
	for _, s := range scenarioTable {
		if *flagOnly != "" && s.name != *flagOnly {
			continue
		}
		r.number, r.rng, r.absent = 0, rand.New(rand.NewSource(1)), nil
		err := r.reset()
		if err == nil {
			err = s.run(r)
		}
		for _, p := range r.pairs {
			p.close()
		}
		r.pairs = nil
		switch {
		case err != nil:
			failed++
			fmt.Printf("  FAIL   %s: %v\n", s.name, err)
		case len(r.absent) > 0:
			fmt.Printf("  absent %s: %s\n", s.name, strings.Join(r.absent, ", "))
		default:
			fmt.Printf("  ok     %s\n", s.name)
		}
	}
	return failed
}

// The calls of a scenario, one after the other, until one differs.
func (r *runner) all(calls ...any) error {
	for i := 0; i < len(calls); i += 2 {
		r.number++
		if err := r.simple(calls[i].(*method), calls[i+1].(proto.Message)); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) watch(requests ...*pb.WatchCreateRequest) (*watchPair, error) {
	p, err := r.openPair(false)
	if err != nil {
		return nil, err
	}
	r.pairs = append(r.pairs, p)
	for _, q := range requests {
		m, err := p.ask(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
		if err != nil {
			return nil, err
		}
		p.live[m.WatchId] = true
	}
	return p, nil
}

func everything() (key, end []byte) { return []byte{0}, []byte{0} }

func watchAll(rev int64) *pb.WatchCreateRequest {
	key, end := everything()
	return &pb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: rev, PrevKv: true}
}

// HashKV after puts, deletes, transactions and compactions; now and then no key is left. Leases have ids of ours: the
// hash covers them.
func (r *runner) hashKV() error {
	if err := r.all(mGrant, &pb.LeaseGrantRequest{ID: 7, TTL: 1000}); err != nil {
		return err
	}
	key := func() string { return fmt.Sprintf("k%d", r.rng.Intn(12)) }
	for i := 0; i < 400; i++ {
		var calls []any
		switch n := r.rng.Intn(100); {
		case n < 45:
			calls = []any{mPut, put(key(), fmt.Sprint(i), int64(r.rng.Intn(2))*7)}
		case n < 70:
			calls = []any{mDelete, &pb.DeleteRangeRequest{Key: []byte(key())}}
		case n < 73:
			from, to := everything()
			calls = []any{mDelete, &pb.DeleteRangeRequest{Key: from, RangeEnd: to}}
		case n < 85:
			calls = []any{mTxn, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a", fmt.Sprint(i)), putOp("b", "")}}}
		case n < 92 && r.rev > r.compact+2:
			at := r.compact + 1 + r.rng.Int63n(r.rev-r.compact-1)
			r.compact, r.compacted[at] = at, true
			calls = []any{mCompact, &pb.CompactionRequest{Revision: at, Physical: true}}
		}
		from := max(r.compact+1, r.rev-5)
		calls = append(calls, mHashKV, &pb.HashKVRequest{}, mHashKV, &pb.HashKVRequest{Revision: from + r.rng.Int63n(6)})
		if err := r.all(calls...); err != nil {
			return err
		}
	}
	return nil
}

func put(key string, value string, lease int64) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}
}

func (r *runner) leaseExpiry() error {
	r.brief[7] = true
	p, err := r.watch(watchAll(0))
	if err != nil {
		return err
	}
	err = r.all(mGrant, &pb.LeaseGrantRequest{ID: 7, TTL: 1}, mPut, put("c", "1", 7), mPut, put("a", "2", 7), mPut, put("b", "3", 7),
		mPut, put("b", "4", 0), mPut, put("d", "5", 7), mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
	if err != nil {
		return err
	}
	r.rev++ // all three keys go in one revision
	for _, w := range p.ends() {
		if !w.wait(10*time.Second, func() bool { return w.lastRev[0] >= r.rev }) {
			return fmt.Errorf("%s: the lease did not expire", w.side.name)
		}
	}
	if err := p.settle(r.rev); err != nil {
		return err
	}
	key, end := everything()
	return r.all(mRange, &pb.RangeRequest{Key: key, RangeEnd: end}, mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true},
		mKeepAlive, &pb.LeaseKeepAliveRequest{ID: 7}, mRevoke, &pb.LeaseRevokeRequest{ID: 7}, mPut, put("e", "6", 7),
		mLeases, &pb.LeaseLeasesRequest{}, mGrant, &pb.LeaseGrantRequest{ID: 7, TTL: 10000})
}

func (r *runner) largeValues() error {
	text := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	key, end := everything()
	for i := range 6 {
		if err := r.all(mPut, put(fmt.Sprint("big", i), text, 0)); err != nil {
			return err
		}
	}
	return r.all(mRange, &pb.RangeRequest{Key: key, RangeEnd: end}, mRange, &pb.RangeRequest{Key: key, RangeEnd: end, KeysOnly: true},
		mRangeStream, &pb.RangeRequest{Key: key, RangeEnd: end}, mRangeStream, &pb.RangeRequest{Key: key, RangeEnd: end, Limit: 4},
		mPut, put("b", text+text[:512<<10-4096], 0), mPut, put("b", text+text[:600<<10], 0), mPut, put("b", text+text[:900<<10], 0),
		mPut, put("b", text+text, 0), mPut, put("b", text+text+text, 0), mPut, put(text, "v", 0),
		mTxn, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("x", text), putOp("y", text)}},
		mTxn, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("x", text[:700<<10]), putOp("y", text[:700<<10])}},
		mDelete, &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: true})
}

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put(key, value, 0)}}
}

func (r *runner) manyKeys() error {
	const n = 6400
	for i := 0; i < n; {
		t := &pb.TxnRequest{}
		for range 128 {
			t.Success = append(t.Success, putOp(fmt.Sprintf("k%05d", i*7919%n), fmt.Sprintf("value %d of many", i*104729%n)))
			i++
		}
		if err := r.all(mTxn, t); err != nil {
			return err
		}
	}
	from, to := []byte("k"), []byte("l")
	calls := []any{mRange, &pb.RangeRequest{Key: from, RangeEnd: to, CountOnly: true}, mRange, &pb.RangeRequest{Key: from, RangeEnd: to},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, Limit: 1000}, mRange, &pb.RangeRequest{Key: []byte("k03000"), RangeEnd: []byte{0}, Limit: 500},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, SortOrder: pb.RangeRequest_DESCEND, Limit: 300},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_ASCEND, Limit: 300},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_DESCEND},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, SortTarget: pb.RangeRequest_VALUE, Limit: 300},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, Revision: r.rev - 20}, mRange, &pb.RangeRequest{Key: from, RangeEnd: to, MinModRevision: r.rev - 3, Limit: 100},
		mRange, &pb.RangeRequest{Key: from, RangeEnd: to, KeysOnly: true}}
	for _, q := range []*pb.RangeRequest{{}, {Limit: 10}, {Limit: 11}, {Limit: 5000}, {Revision: r.rev - 20}, {Revision: r.rev - 20, Limit: 777}, {CountOnly: true}, {KeysOnly: true}, {KeysOnly: true, Limit: 2000}} {
		q.Key, q.RangeEnd = from, to
		if !*flagNoStream {
			calls = append(calls, mRangeStream, q)
		}
	}
	calls = append(calls, mCompact, &pb.CompactionRequest{Revision: r.rev - 5, Physical: true}, mRange, &pb.RangeRequest{Key: from, RangeEnd: to, Revision: r.rev - 5},
		mDelete, &pb.DeleteRangeRequest{Key: []byte("k01000"), RangeEnd: []byte("k03000"), PrevKv: true}, mRange, &pb.RangeRequest{Key: from, RangeEnd: to, CountOnly: true},
		mDelete, &pb.DeleteRangeRequest{Key: from, RangeEnd: to})
	return r.all(calls...)
}

// More than a response may hold: cut for the one that asked for fragments, in one piece for the other.
func (r *runner) watchFragments() error {
	text := strings.Repeat("0123456789abcdef", 900<<6)
	start := r.rev + 1
	for i := range 7 {
		if err := r.all(mPut, put(fmt.Sprint("key", i%3), text[i:], 0)); err != nil {
			return err
		}
	}
	a, b := watchAll(start), watchAll(start)
	a.Fragment, a.WatchId = true, 11
	b.WatchId = 12
	p, err := r.watch(a, b)
	if err == nil {
		err = p.settle(r.rev)
	}
	return err
}

func (r *runner) watchFar() error {
	start := r.rev + 1
	for i := range 2600 {
		if err := r.all(mPut, put(fmt.Sprint("key", i%7), fmt.Sprint("v", i), 0)); err != nil {
			return err
		}
	}
	odd := watchAll(start + 1300)
	odd.Key, odd.RangeEnd = []byte("key3"), nil
	p, err := r.watch(watchAll(start), watchAll(r.rev-1000), odd)
	if err == nil {
		err = p.settle(r.rev)
	}
	return err
}

func (r *runner) watchLeases() error {
	p, err := r.watch(watchAll(0))
	if err == nil {
		err = r.all(mGrant, &pb.LeaseGrantRequest{ID: 5, TTL: 10000}, mGrant, &pb.LeaseGrantRequest{ID: 6, TTL: 20000},
			mPut, put("z", "1", 5), mPut, put("y", "2", 5), mPut, put("x", "3", 5), mPut, put("y", "4", 6), mPut, put("x", "5", 0),
			mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true}, mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 6, Keys: true},
			mPut, &pb.PutRequest{Key: []byte("y"), Value: []byte("6"), IgnoreLease: true},
			mPut, &pb.PutRequest{Key: []byte("y"), Lease: 5, IgnoreValue: true},
			mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true}, mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 6, Keys: true},
			mDelete, &pb.DeleteRangeRequest{Key: []byte("z")}, mTimeToLive, &pb.LeaseTimeToLiveRequest{ID: 5, Keys: true},
			mRevoke, &pb.LeaseRevokeRequest{ID: 5}, mRevoke, &pb.LeaseRevokeRequest{ID: 6}, mRevoke, &pb.LeaseRevokeRequest{ID: 6})
	}
	if err == nil {
		err = p.settle(r.rev)
	}
	return err
}

func (r *runner) alarm(kind pb.AlarmType) error {
	member := map[*side]uint64{r.a: r.a.memberID, r.b: r.b.memberID}
	set := func(action pb.AlarmRequest_AlarmAction) error {
		var answers []*answer
		for _, s := range []*side{r.a, r.b} {
			a := s.ask(&call{method: mAlarm, requests: []proto.Message{&pb.AlarmRequest{Action: action, Alarm: kind, MemberID: member[s]}}})
			for _, m := range a.messages {
				s.normalise(m)
			}
			answers = append(answers, a)
		}
		if !answers[0].equal(answers[1]) {
			return fmt.Errorf("alarm %s\n--- a\n%s--- b\n%s", action, answers[0], answers[1])
		}
		return nil
	}
	probe := func() error {
		read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}
		remove := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("q")}}}
		return r.all(mAlarm, &pb.AlarmRequest{}, mAlarm, &pb.AlarmRequest{Alarm: kind}, mStatus, &pb.StatusRequest{},
			mPut, put("a", "1", 0), mPut, put("", "1", 0), mPut, put("a", "1", 12345), mRange, &pb.RangeRequest{Key: []byte("a")},
			mRange, &pb.RangeRequest{Key: []byte("a"), Serializable: true}, mTxn, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a", "2")}},
			mTxn, &pb.TxnRequest{Success: []*pb.RequestOp{read}}, mTxn, &pb.TxnRequest{Success: []*pb.RequestOp{remove}},
			mTxn, &pb.TxnRequest{Failure: []*pb.RequestOp{putOp("a", "2")}, Success: []*pb.RequestOp{read}},
			mDelete, &pb.DeleteRangeRequest{Key: []byte("a")}, mGrant, &pb.LeaseGrantRequest{ID: 9, TTL: 10000},
			mRevoke, &pb.LeaseRevokeRequest{ID: 9}, mCompact, &pb.CompactionRequest{Revision: r.rev}, mHashKV, &pb.HashKVRequest{},
			mMemberList, &pb.MemberListRequest{Linearizable: true}, mLeases, &pb.LeaseLeasesRequest{}, mHealth, &grpc_health_v1.HealthCheckRequest{})
	}
	if err := r.all(mPut, put("a", "0", 0)); err != nil {
		return err
	}
	if err := set(pb.AlarmRequest_ACTIVATE); err != nil {
		return err
	}
	err := probe()
	if err == nil {
		err = set(pb.AlarmRequest_ACTIVATE) // once more
	}
	return errors.Join(err, set(pb.AlarmRequest_DEACTIVATE), set(pb.AlarmRequest_DEACTIVATE), probe())
}

func (r *runner) txnLimits() error {
	nest := func(depth int, leaf ...*pb.RequestOp) *pb.TxnRequest {
		t := &pb.TxnRequest{Success: leaf}
		for range depth {
			t = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}}}
		}
		return t
	}
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}
	var calls []any
	for _, n := range []int{127, 128, 129} {
		t := &pb.TxnRequest{}
		for i := range n {
			t.Success = append(t.Success, putOp(fmt.Sprint("k", i), "v"))
		}
		calls = append(calls, mTxn, t)
		c := &pb.TxnRequest{}
		for range n {
			c.Compare = append(c.Compare, &pb.Compare{Key: []byte("a")})
		}
		calls = append(calls, mTxn, c)
	}
	// Each level leaves fewer operations for the ones inside.
	for _, depth := range []int{1, 5, 30, 60} {
		calls = append(calls, mTxn, nest(depth, read), mTxn, nest(depth, putOp("a", "v")), mTxn, nest(depth, putOp("a", "v"), putOp("a", "w")))
	}
	for _, n := range []int{126, 127, 128} {
		var ops []*pb.RequestOp
		for i := range n {
			ops = append(ops, putOp(fmt.Sprint("n", i), "v"))
		}
		calls = append(calls, mTxn, nest(1, ops...))
	}
	return r.all(calls...)
}

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (rawCodec) Name() string                       { return "proto" }

// Sends whole messages of any content to a method and returns the code and the text, or the answer's size.
func (s *side) raw(path string, messages [][]byte, options ...grpc.CallOption) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := s.conn.NewStream(ctx, desc, path, append(options, grpc.ForceCodec(rawCodec{}))...)
	a := &answer{}
	if err != nil {
		a.fail(err)
		return a.String()
	}
	for _, m := range messages {
		if stream.SendMsg(m) != nil {
			break
		}
	}
	stream.CloseSend()
	for n := 0; ; n++ {
		var reply []byte
		if err := stream.RecvMsg(&reply); errors.Is(err, io.EOF) {
			return fmt.Sprintf("%d answers", n)
		} else if err != nil {
			a.fail(err)
			if a.code == "DeadlineExceeded" { // who noticed first is a matter of chance
				a.text = ""
			}
			return fmt.Sprintf("%d answers, %s: %s", n, a.code, a.text)
		}
	}
}

func (r *runner) oddMessages() error {
	good, _ := proto.Marshal(put("a", "v", 0))
	unknown := append([]byte{0xfa, 0x3f, 2, 1, 2}, good...) // field 1023
	cases := []struct {
		name, path string
		messages   [][]byte
		options    []grpc.CallOption
	}{
		{"cut short", pb.KV_Put_FullMethodName, [][]byte{good[:len(good)-1]}, nil},
		{"no protobuf", pb.KV_Put_FullMethodName, [][]byte{{0xff, 0xff, 0xff}}, nil},
		{"no message", pb.KV_Put_FullMethodName, nil, nil},
		{"two messages", pb.KV_Put_FullMethodName, [][]byte{good, good}, nil},
		{"empty message", pb.KV_Put_FullMethodName, [][]byte{{}}, nil},
		{"unknown field", pb.KV_Put_FullMethodName, [][]byte{unknown}, nil},
		{"gzip", pb.KV_Put_FullMethodName, [][]byte{good}, []grpc.CallOption{grpc.UseCompressor(gzip.Name)}},
		{"watch: no protobuf", pb.Watch_Watch_FullMethodName, [][]byte{{0xff}}, nil},
		{"watch: nothing", pb.Watch_Watch_FullMethodName, nil, nil},
		{"keep alive: no protobuf", pb.Lease_LeaseKeepAlive_FullMethodName, [][]byte{{0xff}}, nil},
		{"keep alive: nothing", pb.Lease_LeaseKeepAlive_FullMethodName, nil, nil},
		{"snapshot: nothing", pb.Maintenance_Snapshot_FullMethodName, nil, nil},
		{"stream: no protobuf", pb.KV_RangeStream_FullMethodName, [][]byte{{0xff}}, nil},
		{"stream: nothing", pb.KV_RangeStream_FullMethodName, nil, nil},
		{"stream: two messages", pb.KV_RangeStream_FullMethodName, [][]byte{good, good}, nil},
		{"malformed path", "/nothing", [][]byte{good}, nil},
		{"lower case", "/etcdserverpb.kv/put", [][]byte{good}, nil},
	}
	var failed []error
	for _, c := range cases {
		a, b := r.a.raw(c.path, c.messages, c.options...), r.b.raw(c.path, c.messages, c.options...)
		if a != b {
			failed = append(failed, fmt.Errorf("%s\n  a: %s\n  b: %s", c.name, a, b))
		}
	}
	return errors.Join(failed...)
}

func (r *runner) oddMetadata() error {
	sets := []metadata.MD{
		metadata.Pairs("hasleader", "true"), metadata.Pairs("hasleader", "false"), metadata.Pairs("client-api-version", "3.7"),
		metadata.Pairs("client-api-version", strings.Repeat("x", 300)), metadata.Pairs("token", "none"), metadata.Pairs("authorization", "Bearer x"),
		metadata.Pairs("some-bin", "\x00\xff"), metadata.Pairs("padding", strings.Repeat("y", 5000)),
	}
	var failed []error
	for _, md := range sets {
		ctx := metadata.NewOutgoingContext(context.Background(), md)
		ask := func(s *side) string {
			a := &answer{}
			reply := &pb.RangeResponse{}
			if err := s.conn.Invoke(ctx, pb.KV_Range_FullMethodName, &pb.RangeRequest{Key: []byte("a")}, reply); err != nil {
				a.fail(err)
			} else {
				s.normalise(reply)
				a.messages = append(a.messages, reply)
			}
			return a.String()
		}
		if a, b := ask(r.a), ask(r.b); a != b {
			failed = append(failed, fmt.Errorf("%v\n  a: %s\n  b: %s", md, a, b))
		}
	}
	return errors.Join(failed...)
}

func (r *runner) healthWatch() error {
	first := func(s *side, service string) string {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		a := &answer{}
		stream, err := grpc_health_v1.NewHealthClient(s.conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err == nil {
			var m *grpc_health_v1.HealthCheckResponse
			if m, err = stream.Recv(); err == nil {
				a.messages = append(a.messages, m)
			}
		}
		if err != nil {
			a.fail(err)
		}
		return a.String()
	}
	for _, service := range []string{"", "nothing"} {
		if a, b := first(r.a, service), first(r.b, service); a != b {
			return fmt.Errorf("health watch of %q\n  a: %s  b: %s", service, a, b)
		}
	}
	return nil
}

// Like all, but a method that b has not at all is noted and passed over; all differences are told, not only the first.
func (r *runner) each(calls ...any) error {
	var failed []error
	missing := map[string]bool{}
	for i := 0; i < len(calls); i += 2 {
		m := calls[i].(*method)
		if missing[m.path] || (len(missing) > 0 && m == mRange) { // what it would show is not there either
			continue
		}
		r.number++
		if err := r.simple(m, calls[i+1].(proto.Message)); err != nil {
			b := r.b.ask(&call{method: m, requests: []proto.Message{calls[i+1].(proto.Message)}})
			if b.code == "Unimplemented" && !*flagStrict {
				missing[m.path] = true
				r.absentCount++
				r.absent = append(r.absent, m.path)
				continue
			}
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func unary[T any, P interface {
	*T
	proto.Message
}](path string) *method {
	return &method{path: path, reply: of[T, P]()}
}

func (r *runner) clusterErrors() error {
	add, remove := unary[pb.MemberAddResponse](pb.Cluster_MemberAdd_FullMethodName), unary[pb.MemberRemoveResponse](pb.Cluster_MemberRemove_FullMethodName)
	update, promote := unary[pb.MemberUpdateResponse](pb.Cluster_MemberUpdate_FullMethodName), unary[pb.MemberPromoteResponse](pb.Cluster_MemberPromote_FullMethodName)
	move, downgrade := unary[pb.MoveLeaderResponse](pb.Maintenance_MoveLeader_FullMethodName), unary[pb.DowngradeResponse](pb.Maintenance_Downgrade_FullMethodName)
	return r.each(add, &pb.MemberAddRequest{}, add, &pb.MemberAddRequest{PeerURLs: []string{"no url"}}, add, &pb.MemberAddRequest{PeerURLs: []string{"http://a/b"}},
		remove, &pb.MemberRemoveRequest{ID: 42}, remove, &pb.MemberRemoveRequest{}, update, &pb.MemberUpdateRequest{ID: 42, PeerURLs: []string{"http://127.0.0.1:1"}},
		update, &pb.MemberUpdateRequest{ID: 42}, promote, &pb.MemberPromoteRequest{ID: 42}, move, &pb.MoveLeaderRequest{TargetID: 42},
		downgrade, &pb.DowngradeRequest{Version: "x"}, downgrade, &pb.DowngradeRequest{Version: "3.7.0"}, downgrade, &pb.DowngradeRequest{Version: "3.4.0"},
		downgrade, &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL}, downgrade, &pb.DowngradeRequest{Action: 9})
}

func (r *runner) authOff() error {
	authenticate := unary[pb.AuthenticateResponse](pb.Auth_Authenticate_FullMethodName)
	userAdd, userGet := unary[pb.AuthUserAddResponse](pb.Auth_UserAdd_FullMethodName), unary[pb.AuthUserGetResponse](pb.Auth_UserGet_FullMethodName)
	userList, userDelete := unary[pb.AuthUserListResponse](pb.Auth_UserList_FullMethodName), unary[pb.AuthUserDeleteResponse](pb.Auth_UserDelete_FullMethodName)
	userGrant, userRevoke := unary[pb.AuthUserGrantRoleResponse](pb.Auth_UserGrantRole_FullMethodName), unary[pb.AuthUserRevokeRoleResponse](pb.Auth_UserRevokeRole_FullMethodName)
	password := unary[pb.AuthUserChangePasswordResponse](pb.Auth_UserChangePassword_FullMethodName)
	roleAdd, roleGet := unary[pb.AuthRoleAddResponse](pb.Auth_RoleAdd_FullMethodName), unary[pb.AuthRoleGetResponse](pb.Auth_RoleGet_FullMethodName)
	roleList, roleDelete := unary[pb.AuthRoleListResponse](pb.Auth_RoleList_FullMethodName), unary[pb.AuthRoleDeleteResponse](pb.Auth_RoleDelete_FullMethodName)
	roleGrant, roleRevoke := unary[pb.AuthRoleGrantPermissionResponse](pb.Auth_RoleGrantPermission_FullMethodName), unary[pb.AuthRoleRevokePermissionResponse](pb.Auth_RoleRevokePermission_FullMethodName)
	enable, disable := unary[pb.AuthEnableResponse](pb.Auth_AuthEnable_FullMethodName), unary[pb.AuthDisableResponse](pb.Auth_AuthDisable_FullMethodName)
	permission := func(key, end string, kind int32) *pb.AuthRoleGrantPermissionRequest {
		return &pb.AuthRoleGrantPermissionRequest{Name: "reader", Perm: newPermission(key, end, kind)}
	}
	return r.each(mAuthStatus, &pb.AuthStatusRequest{}, authenticate, &pb.AuthenticateRequest{Name: "root", Password: "x"},
		disable, &pb.AuthDisableRequest{}, enable, &pb.AuthEnableRequest{}, userList, &pb.AuthUserListRequest{}, roleList, &pb.AuthRoleListRequest{},
		userAdd, &pb.AuthUserAddRequest{}, userAdd, &pb.AuthUserAddRequest{Name: "eve", Password: "secret"}, userAdd, &pb.AuthUserAddRequest{Name: "eve", Password: "again"},
		userAdd, &pb.AuthUserAddRequest{Name: "bob", Options: noPassword()}, userGet, &pb.AuthUserGetRequest{Name: "eve"}, userGet, &pb.AuthUserGetRequest{Name: "nobody"},
		roleAdd, &pb.AuthRoleAddRequest{}, roleAdd, &pb.AuthRoleAddRequest{Name: "reader"}, roleAdd, &pb.AuthRoleAddRequest{Name: "reader"},
		roleGrant, permission("a", "", 0), roleGrant, permission("b", "d", 1), roleGrant, permission("x", "\x00", 2), roleGrant, permission("d", "b", 0),
		roleGrant, permission("a", "", 2), roleGrant, &pb.AuthRoleGrantPermissionRequest{Name: "reader"}, roleGrant, &pb.AuthRoleGrantPermissionRequest{Name: "none", Perm: newPermission("a", "", 0)},
		roleGet, &pb.AuthRoleGetRequest{Role: "reader"}, roleGet, &pb.AuthRoleGetRequest{Role: "none"}, roleGet, &pb.AuthRoleGetRequest{Role: "root"},
		userGrant, &pb.AuthUserGrantRoleRequest{User: "eve", Role: "reader"}, userGrant, &pb.AuthUserGrantRoleRequest{User: "eve", Role: "none"},
		userGrant, &pb.AuthUserGrantRoleRequest{User: "nobody", Role: "reader"}, userGrant, &pb.AuthUserGrantRoleRequest{User: "eve", Role: "reader"},
		userGet, &pb.AuthUserGetRequest{Name: "eve"}, userRevoke, &pb.AuthUserRevokeRoleRequest{Name: "eve", Role: "none"},
		password, &pb.AuthUserChangePasswordRequest{Name: "eve", Password: "new"}, password, &pb.AuthUserChangePasswordRequest{Name: "nobody", Password: "new"},
		mAuthStatus, &pb.AuthStatusRequest{}, userList, &pb.AuthUserListRequest{}, roleList, &pb.AuthRoleListRequest{},
		roleRevoke, &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: []byte("a")}, roleRevoke, &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: []byte("a")},
		userRevoke, &pb.AuthUserRevokeRoleRequest{Name: "eve", Role: "reader"}, roleDelete, &pb.AuthRoleDeleteRequest{Role: "reader"}, roleDelete, &pb.AuthRoleDeleteRequest{Role: "reader"},
		userDelete, &pb.AuthUserDeleteRequest{Name: "eve"}, userDelete, &pb.AuthUserDeleteRequest{Name: "eve"}, userDelete, &pb.AuthUserDeleteRequest{Name: "bob"},
		userList, &pb.AuthUserListRequest{}, mAuthStatus, &pb.AuthStatusRequest{})
}
