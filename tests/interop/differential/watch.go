// SPDX-License-Identifier: Apache-2.0

// Watch streams on both servers. For each watch id the test compares the sequence of its responses: created,
// each event, canceled with its reason. How events are cut into responses may differ, but not freely: a revision
// is never split (unless fragments were asked for), events come in order, and nothing that a progress response
// has vouched for comes after it. Those rules are checked on each side for itself.
package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// One server's end of one stream.
type watchEnd struct {
	side   *side
	stream pb.Watch_WatchClient
	cancel context.CancelFunc

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when anything arrives
	replies  []*pb.WatchResponse
	history  map[int64][]string
	lastRev  map[int64]int64 // the revision of the last event
	open     map[int64]bool  // the last response was a fragment with more to come
	prefix   map[int64]bool  // asked for fragments
	over     map[int64]bool  // canceled
	progress []int64
	vouched  map[int64]int64 // by watch: the progress it has been promised to have reached
	broken   error           // a rule of watching that this server broke by itself
	ended    string
}

// The same stream on both.
type watchPair struct {
	a, b    *watchEnd
	live    map[int64]bool
	distant bool // has watches of the future or of compacted revisions: progress requests stay unanswered
	late    bool // and watches from the past that may still catch up
}

func openWatch(s *side) (*watchEnd, error) {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &watchEnd{side: s, stream: stream, cancel: cancel, changed: make(chan struct{}), history: map[int64][]string{},
		lastRev: map[int64]int64{}, open: map[int64]bool{}, prefix: map[int64]bool{}, vouched: map[int64]int64{}, over: map[int64]bool{}}
	go w.read()
	return w, nil
}

func (w *watchEnd) read() {
	for {
		m, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.ended = fmt.Sprintf("%s: %q", status.Code(err), status.Convert(err).Message())
		} else {
			w.take(m)
		}
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (w *watchEnd) fault(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *watchEnd) take(m *pb.WatchResponse) {
	id := m.WatchId
	if m.Header == nil {
		w.fault("watch %d: a response without header", id)
		return
	}
	if m.Created {
		w.lastRev[id], w.vouched[id] = 0, 0
	}
	if len(m.Events) > 0 && !w.open[id] && m.Events[0].Kv.GetModRevision() == w.lastRev[id] {
		w.fault("watch %d: revision %d is split", id, w.lastRev[id])
	}
	for _, event := range m.Events {
		w.event(id, event, m.Header.Revision)
	}
	if len(m.Events) > 0 {
		if m.Fragment && !w.prefix[id] {
			w.fault("watch %d: a fragment that was not asked for", id)
		}
		w.open[id] = m.Fragment
	}
	raw := proto.Clone(m).(*pb.WatchResponse)
	w.side.normalise(raw)
	raw.Events = nil
	if m.Created || m.Canceled {
		w.over[id] = m.Canceled
		w.history[id] = append(w.history[id], prototext.MarshalOptions{}.Format(raw))
		if m.Created || m.CompactRevision == 0 {
			w.replies = append(w.replies, raw)
		}
	} else if len(m.Events) == 0 {
		if id == -1 {
			w.progress = append(w.progress, m.Header.Revision)
			for id := range w.vouched {
				w.vouched[id] = m.Header.Revision
			}
		}
		if m.CompactRevision != 0 || m.CancelReason != "" || m.Fragment {
			w.fault("watch %d: a strange progress response: %v", id, m)
		}
	}
}

func (w *watchEnd) event(id int64, event *mvccpb.Event, headerRev int64) {
	rev := event.Kv.GetModRevision()
	if rev < w.lastRev[id] {
		w.fault("watch %d: revision %d after %d", id, rev, w.lastRev[id])
	}
	if rev > headerRev {
		w.fault("watch %d: an event of revision %d under a header of %d", id, rev, headerRev)
	}
	if rev <= w.vouched[id] {
		w.fault("watch %d: an event of revision %d after progress at %d", id, rev, w.vouched[id])
	}
	w.lastRev[id] = rev
	e := proto.Clone(event)
	w.side.normalise(e)
	w.history[id] = append(w.history[id], prototext.MarshalOptions{}.Format(e))
}

// Waits until done, asked under the lock, or the time is over.
func (w *watchEnd) wait(limit time.Duration, done func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		w.mu.Lock()
		ok, changed := done(), w.changed
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

func (w *watchEnd) count(replies *[]*pb.WatchResponse) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(*replies)
}

func (w *watchEnd) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.progress)
}

func (w *watchEnd) send(r *pb.WatchRequest) error { return w.stream.Send(r) }

func (p *watchPair) ends() []*watchEnd { return []*watchEnd{p.a, p.b} }

func (p *watchPair) close() {
	for _, w := range p.ends() {
		w.cancel()
	}
}

func (r *runner) openPair(distant bool) (*watchPair, error) {
	a, err := openWatch(r.a)
	if err != nil {
		return nil, err
	}
	b, err := openWatch(r.b)
	if err != nil {
		a.cancel()
		return nil, err
	}
	return &watchPair{a: a, b: b, live: map[int64]bool{}, distant: distant}, nil
}

// Sends on both ends and waits for the reply (to create or cancel) that each must give, which is compared.
func (p *watchPair) ask(req *pb.WatchRequest) (*pb.WatchResponse, error) {
	at := p.a.count(&p.a.replies)
	for _, w := range p.ends() {
		if c := req.GetCreateRequest(); c != nil && c.Fragment && c.WatchId != 0 {
			w.mu.Lock()
			w.prefix[c.WatchId] = true
			w.mu.Unlock()
		}
		if err := w.send(req); err != nil {
			return nil, fmt.Errorf("%s: send: %w", w.side.name, err)
		}
	}
	for _, w := range p.ends() {
		if !w.wait(callTimeout, func() bool { return len(w.replies) > at || w.ended != "" }) {
			return nil, fmt.Errorf("%s: no answer to %v", w.side.name, req)
		}
	}
	for _, w := range p.ends() {
		if w.count(&w.replies) <= at {
			return nil, fmt.Errorf("%s: the stream ended with %s at %v; the other one: %s", w.side.name, w.ended, req, p.other(w).ended)
		}
	}
	ra, rb := p.a.replies[at], p.b.replies[at]
	if !proto.Equal(ra, rb) {
		return nil, fmt.Errorf("watch answers differ\n%s: %v\n%s: %v", p.a.side.name, ra, p.b.side.name, rb)
	}
	return ra, nil
}

func (p *watchPair) other(w *watchEnd) *watchEnd {
	if w == p.a {
		return p.b
	}
	return p.a
}

// Asks for progress until each end has answered with a revision of at least rev: then all that it owes is here.
func (p *watchPair) settle(rev int64) error {
	if p.distant {
		if p.late { // etcd looks for them every 100 ms
			time.Sleep(250 * time.Millisecond)
		}
		p.late = false
		time.Sleep(20 * time.Millisecond)
	} else {
		for _, w := range p.ends() {
			at, deadline := w.asked(), time.Now().Add(10*time.Second)
			answered := func() bool { return len(w.progress) > at && w.progress[len(w.progress)-1] >= rev }
			// A stream without watches (compaction may have ended the last one) gets no answer.
			for done := false; !done && p.watching(w); {
				if time.Now().After(deadline) {
					return fmt.Errorf("%s: no answer to progress requests at revision %d for 10 s (watches %v)", w.side.name, rev, p.live)
				}
				if err := w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
					return fmt.Errorf("%s: %w (stream ended: %s)", w.side.name, err, w.ended)
				}
				done = w.wait(50*time.Millisecond, answered)
			}
		}
	}
	return p.compare()
}

// Both ends must have sent the same, within a short time.
func (p *watchPair) compare() error {
	deadline := time.Now().Add(3 * time.Second)
	for {
		diff := p.difference()
		for _, w := range p.ends() {
			w.mu.Lock()
			broken, ended := w.broken, w.ended
			w.mu.Unlock()
			if broken != nil {
				return fmt.Errorf("%s: %w", w.side.name, broken)
			}
			if ended != "" {
				return fmt.Errorf("%s: the watch stream ended: %s", w.side.name, ended)
			}
		}
		if diff == nil || time.Now().After(deadline) {
			return diff
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *watchPair) difference() error {
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	ids := map[int64]bool{}
	for id := range p.a.history {
		ids[id] = true
	}
	for id := range p.b.history {
		ids[id] = true
	}
	for id := range ids {
		a, b := p.a.history[id], p.b.history[id]
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || a[i] != b[i] {
				return fmt.Errorf("watch %d differs at item %d\n%s\n%s", id, i, around(p.a.side.name, a, i), around(p.b.side.name, b, i))
			}
		}
	}
	return nil
}

func around(name string, items []string, at int) string {
	out := fmt.Sprintf("%s (%d items):", name, len(items))
	for i := max(0, at-2); i < min(len(items), at+3); i++ {
		out += fmt.Sprintf("\n  %d: %s", i, short(items[i]))
	}
	return out
}

func (p *watchPair) watching(w *watchEnd) bool {
	for id := range p.live {
		if !w.isOver(id) {
			return true
		}
	}
	return false
}

// Whether the last response of this watch canceled it.
func (w *watchEnd) isOver(id int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over[id]
}
