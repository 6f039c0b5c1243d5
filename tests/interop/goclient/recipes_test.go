// SPDX-License-Identifier: Apache-2.0
package goclient

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
)

func TestMutex(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := within(t, 40*time.Second)
	inside, total := 0, 0
	var wg sync.WaitGroup
	for range 5 {
		c := s.client()
		wg.Go(func() {
			session, err := concurrency.NewSession(c, concurrency.WithTTL(10))
			if err != nil {
				t.Error(err)
				return
			}
			defer session.Close()
			m := concurrency.NewMutex(session, "/lock")
			for range 5 {
				if err := m.Lock(ctx); err != nil {
					t.Error(err)
					return
				}
				inside++
				if inside != 1 {
					t.Error("two are inside")
				}
				total++
				time.Sleep(time.Millisecond)
				inside--
				if err := m.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantEqual(t, "entries", total, 25)
}

func TestTryLockAndLostSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := within(t, 40*time.Second)
	one := must[*concurrency.Session](t)(concurrency.NewSession(s.client(), concurrency.WithTTL(2)))
	two := must[*concurrency.Session](t)(concurrency.NewSession(s.client(), concurrency.WithTTL(10)))
	defer two.Close()
	first, second := concurrency.NewMutex(one, "/lock"), concurrency.NewMutex(two, "/lock")
	if err := first.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "taken", second.TryLock(ctx), concurrency.ErrLocked)
	one.Orphan() // the client keeps nothing alive any more: the server must release the lock
	if err := second.Lock(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestElection(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := within(t, 40*time.Second)
	c := s.client()
	observer := concurrency.NewElection(must[*concurrency.Session](t)(concurrency.NewSession(c)), "/elect").Observe(ctx)
	for i := range 3 {
		session := must[*concurrency.Session](t)(concurrency.NewSession(s.client()))
		e := concurrency.NewElection(session, "/elect")
		if err := e.Campaign(ctx, fmt.Sprint("leader", i)); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "observed", string((<-observer).Kvs[0].Value), fmt.Sprint("leader", i))
		if err := e.Proclaim(ctx, fmt.Sprint("again", i)); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "proclaimed", string((<-observer).Kvs[0].Value), fmt.Sprint("again", i))
		wantEqual(t, "leader", string(must[*clientv3.GetResponse](t)(e.Leader(ctx)).Kvs[0].Value), fmt.Sprint("again", i))
		if err := e.Resign(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSTM(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := within(t, 40*time.Second)
	c := s.client()
	const accounts, start = 4, 100
	for i := range accounts {
		must[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprint("account", i), fmt.Sprint(start)))
	}
	for _, level := range []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads} {
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range 10 {
					from, to := fmt.Sprint("account", (worker+i)%accounts), fmt.Sprint("account", (worker+i*3+1)%accounts)
					if from == to {
						continue
					}
					_, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
						a, _ := strconv.Atoi(stm.Get(from))
						b, _ := strconv.Atoi(stm.Get(to))
						stm.Put(from, fmt.Sprint(a-1))
						stm.Put(to, fmt.Sprint(b+1))
						return nil
					}, concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx))
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		sum := 0
		for _, kv := range must[*clientv3.GetResponse](t)(c.Get(ctx, "account", clientv3.WithPrefix())).Kvs {
			n, _ := strconv.Atoi(string(kv.Value))
			sum += n
		}
		wantEqual(t, "money", sum, accounts*start)
	}
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 20*time.Second)
	kv, watcher, lease := namespace.NewKV(c.KV, "tenant/"), namespace.NewWatcher(c.Watcher, "tenant/"), namespace.NewLease(c.Lease, "tenant/")
	w := watcher.Watch(ctx, "", clientv3.WithPrefix())
	id := must[*clientv3.LeaseGrantResponse](t)(lease.Grant(ctx, 100)).ID
	must[*clientv3.PutResponse](t)(kv.Put(ctx, "a", "1", clientv3.WithLease(id)))
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "outside"))
	wantEqual(t, "inside", string(must[*clientv3.GetResponse](t)(kv.Get(ctx, "a")).Kvs[0].Value), "1")
	wantEqual(t, "outside", string(must[*clientv3.GetResponse](t)(c.Get(ctx, "tenant/a")).Kvs[0].Value), "1")
	wantEqual(t, "watched", string(events(t, ctx, w, 1)[0].Kv.Key), "a")
	wantEqual(t, "all inside", must[*clientv3.GetResponse](t)(kv.Get(ctx, "", clientv3.WithFromKey())).Count, 1)
	txn := must[*clientv3.TxnResponse](t)(kv.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpPut("b", "2")).Commit())
	wantEqual(t, "txn", txn.Succeeded, true)
	wantEqual(t, "where", must[*clientv3.GetResponse](t)(c.Get(ctx, "tenant/b")).Count, 1)
}

func TestMirror(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 30*time.Second)
	for i := range 2500 { // more than the syncer's page of 1,000
		must[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprintf("k%04d", i), "v"))
	}
	syncer := mirror.NewSyncer(c, "k", 0)
	pages, errs := syncer.SyncBase(ctx)
	copied := 0
	for page := range pages {
		copied += len(page.Kvs)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "copied", copied, 2500)
	w := syncer.SyncUpdates(ctx)
	must[*clientv3.PutResponse](t)(c.Put(ctx, "k9999", "late"))
	wantEqual(t, "update", string(events(t, ctx, w, 1)[0].Kv.Key), "k9999")
}

func TestOrdering(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.client(), within(t, 20*time.Second)
	kv := ordering.NewKV(c.KV, ordering.NewOrderViolationSwitchEndpointClosure(c))
	for i := range 50 {
		put := must[*clientv3.PutResponse](t)(kv.Put(ctx, "a", fmt.Sprint(i)))
		got := must[*clientv3.GetResponse](t)(kv.Get(ctx, "a", clientv3.WithSerializable()))
		wantEqual(t, "never behind", got.Header.Revision >= put.Header.Revision, true)
	}
}

func TestLeasing(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := within(t, 30*time.Second)
	one, close1, err := leasing.NewKV(s.client(), "leasing/")
	if err != nil {
		t.Fatal(err)
	}
	defer close1()
	two, close2, err := leasing.NewKV(s.client(), "leasing/")
	if err != nil {
		t.Fatal(err)
	}
	defer close2()
	for i := range 10 {
		must[*clientv3.PutResponse](t)(one.Put(ctx, "a", fmt.Sprint(i)))
		wantEqual(t, "seen by the other", string(must[*clientv3.GetResponse](t)(two.Get(ctx, "a")).Kvs[0].Value), fmt.Sprint(i))
		wantEqual(t, "seen by itself", string(must[*clientv3.GetResponse](t)(one.Get(ctx, "a")).Kvs[0].Value), fmt.Sprint(i))
	}
}

func TestNaming(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 20*time.Second)
	m := must[endpoints.Manager](t)(endpoints.NewManager(c, "service"))
	w := must[endpoints.WatchChannel](t)(m.NewWatchChannel(ctx))
	if err := m.AddEndpoint(ctx, "service/one", endpoints.Endpoint{Addr: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	var got []*endpoints.Update
	for len(got) == 0 {
		got = <-w
	}
	wantEqual(t, "added", got[0].Endpoint.Addr, "127.0.0.1:1")
	list := must[endpoints.Key2EndpointMap](t)(m.List(ctx))
	wantEqual(t, "listed", list["service/one"].Addr, "127.0.0.1:1")
}
