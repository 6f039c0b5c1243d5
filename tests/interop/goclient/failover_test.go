// SPDX-License-Identifier: Apache-2.0
package goclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// Watches through all members and through each go on while leaders are killed: every revision once, in order.
func TestClusterWatchOverLeaderKill(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	c, ctx := g.client(), within(t, 150*time.Second)
	watching := []*clientv3.Client{g.client(), g.client(), g.client(), g.client()}
	for _, s := range g.members {
		watching = append(watching, s.client())
	}
	watches := []clientv3.WatchChan{}
	for _, w := range watching {
		ch := w.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		wantEqual(t, "created", (<-ch).Created, true)
		watches = append(watches, ch)
	}
	write := func(n int) {
		t.Helper()
		for range n {
			// A failed try may have been written: it adds one revision, which all watches must also see.
			eventually(t, "put", 30*time.Second, func(ctx context.Context) error {
				_, err := c.Put(ctx, fmt.Sprint("k", n%7), "v")
				return err
			})
		}
	}
	write(100)
	for range 3 {
		leader := g.leader()
		leader.kill()
		write(100) // by the others
		leader.launch()
		write(50) // while it catches up
		leader.serves(30 * time.Second)
	}
	last := must[*clientv3.GetResponse](t)(c.Get(ctx, "k")).Header.Revision
	for i, w := range watches {
		next := int64(2)
		for next <= last {
			for _, e := range atLeast(t, ctx, w, 1) {
				if e.Kv.ModRevision != next {
					t.Fatalf("watch %d: revision %d where %d comes next", i, e.Kv.ModRevision, next)
				}
				next++
			}
		}
	}
}

// A lease that is kept alive outlives its leader; without keep-alives it expires, not earlier than it may.
func TestClusterLeaseOverLeaderKill(t *testing.T) {
	t.Parallel()
	const ttl = 5
	g := startCluster(t, 3)
	c, ctx := g.client(), within(t, 120*time.Second)
	kept := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, ttl))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "kept", "1", clientv3.WithLease(kept.ID)))
	gone := c.Watch(ctx, "kept", clientv3.WithFilterPut())
	keeping, stop := context.WithCancel(ctx)
	alive, err := c.KeepAlive(keeping, kept.ID)
	if err != nil {
		t.Fatal(err)
	}
	var last atomic.Int64 // when the server has answered last
	ended := make(chan struct{})
	go func() {
		for r := range alive {
			last.Store(time.Now().UnixNano())
			if r.TTL != ttl {
				t.Errorf("TTL %d", r.TTL)
			}
		}
		close(ended)
	}()
	// Another has no one to keep it: it must stay for its time, and then go although its leader has gone before.
	granted := time.Now()
	left := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, ttl))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "left", "1", clientv3.WithLease(left.ID)))
	leftGone := c.Watch(ctx, "left", clientv3.WithFilterPut())

	killed := g.leader()
	killed.kill()
	events(t, ctx, leftGone, 1)
	wantEqual(t, "not early", time.Since(granted) >= ttl*time.Second, true)
	wantEqual(t, "not late", time.Since(granted) < 4*ttl*time.Second, true) // a new leader gives all their time again
	killed.run()
	killed.serves(30 * time.Second)
	for until := time.Now().Add(2 * ttl * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		select {
		case r := <-gone:
			t.Fatalf("the lease was lost: %v", r)
		case <-ended:
			t.Fatal("the client has given up")
		default:
		}
	}
	for _, s := range g.members {
		m := s.client()
		wantEqual(t, "kept on "+s.name, must[*clientv3.GetResponse](t)(m.Get(ctx, "kept")).Count, 1)
		r := must[*clientv3.LeaseTimeToLiveResponse](t)(m.TimeToLive(ctx, kept.ID, clientv3.WithAttachedKeys()))
		wantEqual(t, "time left, asked of "+s.name, r.TTL > 0 && r.TTL <= ttl && len(r.Keys) == 1, true)
		must[*clientv3.LeaseKeepAliveResponse](t)(m.KeepAliveOnce(ctx, kept.ID))
	}
	stop()
	<-ended
	final := must[*clientv3.LeaseKeepAliveResponse](t)(c.KeepAliveOnce(ctx, kept.ID))
	stopped := time.Now()
	wantEqual(t, "time from here", final.TTL, ttl)
	events(t, ctx, gone, 1)
	took := time.Since(stopped)
	wantEqual(t, fmt.Sprint("when it expired: ", took), took >= (ttl*1000-100)*time.Millisecond && took < (ttl+4)*time.Second, true)
	for _, s := range g.members {
		wantEqual(t, "gone on "+s.name, must[*clientv3.GetResponse](t)(s.client().Get(ctx, "kept")).Count, 0)
	}
}

func TestClusterMutexOverLeaderKill(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	ctx := within(t, 120*time.Second)
	var inside, total, wanted atomic.Int32
	wanted.Store(1 << 20)
	var wg sync.WaitGroup
	for range 4 {
		c := g.client()
		session := must[*concurrency.Session](t)(concurrency.NewSession(c, concurrency.WithTTL(15)))
		wg.Go(func() {
			defer session.Close()
			m := concurrency.NewMutex(session, "/lock")
			for total.Load() < wanted.Load() && ctx.Err() == nil {
				short, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := m.Lock(short)
				cancel()
				if err != nil { // without a leader; the same session may ask again
					time.Sleep(20 * time.Millisecond)
					continue
				}
				if inside.Add(1) != 1 {
					t.Error("two are inside")
				}
				total.Add(1)
				time.Sleep(2 * time.Millisecond)
				inside.Add(-1)
				for m.Unlock(ctx) != nil && ctx.Err() == nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
			select {
			case <-session.Done():
				t.Error("a session was lost")
			default:
			}
		})
	}
	for range 2 {
		before := total.Load()
		for total.Load() < before+20 && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		leader := g.leader()
		leader.kill()
		before = total.Load()
		for total.Load() < before+20 && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		leader.run()
		leader.serves(30 * time.Second)
	}
	wanted.Store(0)
	wg.Wait()
	wantEqual(t, "in time", ctx.Err(), nil)
}

func TestClusterElectionOverLeaderKill(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	ctx := within(t, 120*time.Second)
	first := must[*concurrency.Session](t)(concurrency.NewSession(g.client(), concurrency.WithTTL(15)))
	second := must[*concurrency.Session](t)(concurrency.NewSession(g.client(), concurrency.WithTTL(15)))
	one, two := concurrency.NewElection(first, "/elect"), concurrency.NewElection(second, "/elect")
	if err := one.Campaign(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	observed := g.client()
	observer := concurrency.NewElection(must[*concurrency.Session](t)(concurrency.NewSession(observed)), "/elect").Observe(ctx)
	wantEqual(t, "observed", string((<-observer).Kvs[0].Value), "one")
	elected := make(chan error, 1)
	go func() { elected <- two.Campaign(ctx, "two") }()
	eventually(t, "the second stands in line", 30*time.Second, func(ctx context.Context) error {
		got, err := observed.Get(ctx, "/elect/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && got.Count != 2 {
			err = errors.New("not yet")
		}
		return err
	})
	leader := g.leader()
	leader.kill()
	eventually(t, "who was elected speaks", 30*time.Second, func(ctx context.Context) error { return one.Proclaim(ctx, "still one") })
	wantEqual(t, "observed over the change", string((<-observer).Kvs[0].Value), "still one")
	wantEqual(t, "elected over the change", string(must[*clientv3.GetResponse](t)(two.Leader(ctx)).Kvs[0].Value), "still one")
	select {
	case err := <-elected:
		t.Fatalf("the second got in: %v", err)
	default:
	}
	leader.run()
	eventually(t, "it resigns", 30*time.Second, func(ctx context.Context) error { return one.Resign(ctx) })
	if err := <-elected; err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "the second", string((<-observer).Kvs[0].Value), "two")
	for _, s := range []*concurrency.Session{first, second} {
		select {
		case <-s.Done():
			t.Fatal("a session was lost")
		default:
		}
	}
}

// The responses of one member without the others, and that it continues when they are back.
func TestClusterWithoutQuorum(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	ctx := within(t, 120*time.Second)
	alone := g.follower()
	c := alone.client()
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	lease := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, 60))
	// Streams by the metadata they were opened with: one that needs a leader, one that does not.
	strict := c.Watch(clientv3.WithRequireLeader(ctx), "a", clientv3.WithCreatedNotify())
	patient := c.Watch(ctx, "a", clientv3.WithCreatedNotify())
	wantEqual(t, "created", (<-strict).Created && (<-patient).Created, true)
	alive, err := c.KeepAlive(clientv3.WithRequireLeader(ctx), lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-alive
	var others []*server
	for _, s := range g.members {
		if s != alone {
			others = append(others, s)
			s.kill()
		}
	}
	select {
	case r := <-strict:
		wantEqual(t, "the watch that needs a leader", r.Err(), rpctypes.ErrNoLeader)
		wantEqual(t, "it is over", r.Canceled, true)
	case <-time.After(20 * time.Second):
		t.Fatal("the watch that needs a leader goes on without")
	}
	for deadline := time.After(20 * time.Second); ; {
		select {
		case _, ok := <-alive:
			if ok {
				continue
			}
		case <-deadline:
			t.Fatal("the keep-alive that needs a leader goes on without")
		}
		break
	}
	_, err = c.Put(clientv3.WithRequireLeader(ctx), "a", "2")
	wantEqual(t, "a put that needs a leader", err, rpctypes.ErrNoLeader)
	st := must[*clientv3.StatusResponse](t)(c.Status(ctx, alone.endpoint))
	wantEqual(t, "leader", st.Leader, 0)
	wantEqual(t, "it says so", slices.Contains(st.Errors, "etcdserver: no leader"), true)
	wantEqual(t, "a read that asks nobody", string(must[*clientv3.GetResponse](t)(c.Get(ctx, "a", clientv3.WithSerializable())).Kvs[0].Value), "1")
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	_, err = c.Get(short, "a")
	cancel()
	wantEqual(t, "a read that asks", errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpctypes.ErrTimeout), true)
	select {
	case r := <-patient:
		t.Fatalf("the watch that does not need a leader: %v", r)
	default:
	}

	others[0].run()
	others[0].serves(30 * time.Second)
	must[*clientv3.PutResponse](t)(others[0].client().Put(ctx, "a", "3"))
	wantEqual(t, "the patient watch", string(events(t, ctx, patient, 1)[0].Kv.Value), "3")
	wantEqual(t, "reads again", string(must[*clientv3.GetResponse](t)(c.Get(ctx, "a")).Kvs[0].Value), "3")
}
