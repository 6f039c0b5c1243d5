// SPDX-License-Identifier: Apache-2.0
package goclient

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The next n events, in the order of their revisions.
func events(t *testing.T, ctx context.Context, w clientv3.WatchChan, n int) []*clientv3.Event {
	t.Helper()
	got := atLeast(t, ctx, w, n)
	wantEqual(t, "events", len(got), n)
	return got
}

// A response may bring several revisions, so that what comes with the last one wanted is part of the result.
func atLeast(t *testing.T, ctx context.Context, w clientv3.WatchChan, n int) []*clientv3.Event {
	t.Helper()
	var got []*clientv3.Event
	for len(got) < n {
		select {
		case r, ok := <-w:
			if !ok || r.Err() != nil {
				t.Fatalf("the watch ended after %d of %d events: %v", len(got), n, r.Err())
			}
			got = append(got, r.Events...)
		case <-ctx.Done():
			t.Fatalf("%d of %d events", len(got), n)
		}
	}
	return got
}

func TestWatch(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 30*time.Second)
	live := c.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	wantEqual(t, "created", (<-live).Created, true)
	for i := range 50 {
		must[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprint("k", i%5), fmt.Sprint(i)))
	}
	must[*clientv3.DeleteResponse](t)(c.Delete(ctx, "k0"))
	got := events(t, ctx, live, 51)
	wantEqual(t, "kind of the last", got[50].Type, clientv3.EventTypeDelete)
	wantEqual(t, "what was deleted", string(got[50].PrevKv.Value), "45")
	past := events(t, ctx, c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(2)), 51)
	for i := range past {
		wantEqual(t, "revision", past[i].Kv.ModRevision, int64(i+2))
	}
	deletes := events(t, ctx, c.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithFilterPut()), 1)
	wantEqual(t, "filtered", string(deletes[0].Kv.Key), "k0")

	must[*clientv3.CompactResponse](t)(c.Compact(ctx, 30))
	r := <-c.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(5))
	wantEqual(t, "compacted", r.Err(), rpctypes.ErrCompacted)
	wantEqual(t, "compact revision", r.CompactRevision, 30)
	wantEqual(t, "first event after a compaction", events(t, ctx, c.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(30)), 23)[0].Kv.ModRevision, 30)

	progress := c.Watch(ctx, "other")
	must[*clientv3.GetResponse](t)(c.Get(ctx, "other"))
	if err := c.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	n := <-progress
	wantEqual(t, "progress", n.IsProgressNotify() && n.Header.Revision == 52, true)
}

func TestWatchManyOnOneStream(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 30*time.Second)
	const n = 500
	var channels []clientv3.WatchChan
	for i := range n {
		channels = append(channels, c.Watch(ctx, fmt.Sprint("k", i), clientv3.WithRev(1)))
	}
	for i := range n {
		must[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprint("k", i), "v"))
	}
	for i, w := range channels {
		wantEqual(t, "key", string(events(t, ctx, w, 1)[0].Kv.Key), fmt.Sprint("k", i))
	}
}

func TestProgressNotify(t *testing.T) {
	t.Parallel()
	c, ctx := start(t, "--watch-progress-notify-interval", "200ms").client(), within(t, 20*time.Second)
	w := c.Watch(ctx, "a", clientv3.WithProgressNotify())
	must[*clientv3.PutResponse](t)(c.Put(ctx, "b", "1"))
	for range 3 {
		r, ok := <-w
		wantEqual(t, "progress", ok && r.IsProgressNotify(), true)
	}
}

// The client's watch goes on by itself after the server was killed and started again: nothing lost, nothing twice.
func TestWatchResumesAfterKill(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.client(), within(t, 60*time.Second)
	w := c.Watch(ctx, "k", clientv3.WithPrefix())
	next := 0
	for round := range 3 {
		for range 40 {
			for { // the first put after a restart may meet the old connection
				short, cancel := context.WithTimeout(ctx, 5*time.Second)
				_, err := c.Put(short, fmt.Sprintf("k%04d", next), "v")
				cancel()
				if err == nil {
					break
				}
				if ctx.Err() != nil {
					t.Fatal(err)
				}
				// It may have been written all the same: the key then has version 2 after the next try.
			}
			next++
		}
		if round < 2 {
			s.kill()
			s.run()
		}
	}
	seen := map[string]int64{}
	last := int64(0)
	for len(seen) < next {
		for _, e := range atLeast(t, ctx, w, 1) {
			if e.Kv.ModRevision <= last {
				t.Fatalf("revision %d after %d", e.Kv.ModRevision, last)
			}
			last = e.Kv.ModRevision
			if e.Kv.Version != seen[string(e.Kv.Key)]+1 {
				t.Fatalf("%s: version %d after %d", e.Kv.Key, e.Kv.Version, seen[string(e.Kv.Key)])
			}
			seen[string(e.Kv.Key)] = e.Kv.Version
		}
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 40*time.Second)
	lease := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, 2))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "alive", "1", clientv3.WithLease(lease.ID)))
	brief := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, 2))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "brief", "1", clientv3.WithLease(brief.ID)))
	w := c.Watch(ctx, "brief")
	alive, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range alive {
		}
	}()
	wantEqual(t, "expiry", events(t, ctx, w, 1)[0].Type, clientv3.EventTypeDelete)
	time.Sleep(3 * time.Second)
	wantEqual(t, "kept alive", must[*clientv3.GetResponse](t)(c.Get(ctx, "alive")).Count, 1)
	ttl := must[*clientv3.LeaseTimeToLiveResponse](t)(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))
	wantEqual(t, "granted", ttl.GrantedTTL, 2)
	wantEqual(t, "keys", len(ttl.Keys), 1)
	wantEqual(t, "leases", len(must[*clientv3.LeaseLeasesResponse](t)(c.Leases(ctx)).Leases), 1)
	must[*clientv3.LeaseRevokeResponse](t)(c.Revoke(ctx, lease.ID))
	wantEqual(t, "revoked", must[*clientv3.GetResponse](t)(c.Get(ctx, "alive")).Count, 0)
	_, err = c.KeepAliveOnce(ctx, lease.ID)
	wantEqual(t, "keep alive of nothing", err, rpctypes.ErrLeaseNotFound)
	wantEqual(t, "ttl of nothing", must[*clientv3.LeaseTimeToLiveResponse](t)(c.TimeToLive(ctx, lease.ID)).TTL, -1)
}

// A lease and what is attached to it outlive the server; the client keeps it alive across the restart.
func TestLeaseOutlivesKill(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.client(), within(t, 60*time.Second)
	lease := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, 6))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "k", "v", clientv3.WithLease(lease.ID)))
	alive, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-alive
	s.kill()
	time.Sleep(500 * time.Millisecond)
	s.run()
	for until := time.Now().Add(8 * time.Second); time.Now().Before(until); {
		select {
		case r, ok := <-alive:
			if !ok || r.TTL <= 0 {
				t.Fatal("the lease is lost")
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
	wantEqual(t, "key", must[*clientv3.GetResponse](t)(c.Get(ctx, "k")).Count, 1)
}
