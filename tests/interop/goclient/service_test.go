// SPDX-License-Identifier: Apache-2.0

// The recipes that run in the server: v3lockpb.Lock and v3electionpb.Election on a follower, while the leader is killed.
package goclient

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// Until the keys that begin with prefix are these.
func awaitKeys(t *testing.T, c *clientv3.Client, prefix string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprint("keys ", want), 30*time.Second, func(ctx context.Context) error {
		all, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		var got []string
		for _, kv := range all.Kvs {
			got = append(got, string(kv.Key))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			err = fmt.Errorf("they are %v", got)
		}
		return err
	})
}

func grantAs(t *testing.T, ctx context.Context, c *clientv3.Client, ttl int64) (clientv3.LeaseID, string) {
	t.Helper()
	id := must[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, ttl)).ID
	return id, fmt.Sprintf("%x", int64(id))
}

func TestClusterLockServiceOverLeaderKill(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	ctx := within(t, 120*time.Second)
	leader, c := g.leader(), g.follower().client()
	locks := v3lockpb.NewLockClient(c.ActiveConnection())
	first, one := grantAs(t, ctx, c, 600)
	second, two := grantAs(t, ctx, c, 600)
	third, three := grantAs(t, ctx, c, 600)
	held := must[*v3lockpb.LockResponse](t)(locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l"), Lease: int64(first)}))
	wantEqual(t, "key", string(held.Key), "l/"+one)
	ends := map[clientv3.LeaseID]chan error{second: make(chan error, 1), third: make(chan error, 1)}
	short, leave := context.WithCancel(ctx)
	for id, within := range map[clientv3.LeaseID]context.Context{second: short, third: ctx} {
		go func() {
			_, err := locks.Lock(within, &v3lockpb.LockRequest{Name: []byte("l"), Lease: int64(id)})
			ends[id] <- err
		}()
	}
	eventually(t, "both stand in line", 30*time.Second, func(ctx context.Context) error {
		all, err := c.Get(ctx, "l/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && all.Count != 3 {
			err = fmt.Errorf("%d keys", all.Count)
		}
		return err
	})
	leader.kill()
	leave() // its key goes, although there is no leader just now
	if err := <-ends[second]; err == nil {
		t.Error("who has left has got the lock")
	}
	eventually(t, "its key goes", 60*time.Second, func(ctx context.Context) error {
		got, err := c.Get(ctx, "l/"+two)
		if err == nil && got.Count != 0 {
			err = fmt.Errorf("still there")
		}
		return err
	})
	select {
	case err := <-ends[third]:
		t.Fatalf("the third got in while the first holds the lock: %v", err)
	default:
	}
	leader.run()
	eventually(t, "unlock", 30*time.Second, func(ctx context.Context) error {
		_, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.Key})
		return err
	})
	if err := <-ends[third]; err != nil {
		t.Fatal("the third: ", err)
	}
	awaitKeys(t, c, "l/", "l/"+three)
}

func TestClusterElectionServiceOverLeaderKill(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	ctx := within(t, 120*time.Second)
	leader, c := g.leader(), g.follower().client()
	elections := v3electionpb.NewElectionClient(c.ActiveConnection())
	first, _ := grantAs(t, ctx, c, 600)
	second, two := grantAs(t, ctx, c, 600)
	name := []byte("e")
	elected := must[*v3electionpb.CampaignResponse](t)(elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: int64(first), Value: []byte("one")}))
	stream := must[v3electionpb.Election_ObserveClient](t)(elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: name}))
	observed := func() string {
		t.Helper()
		return string(must[*v3electionpb.LeaderResponse](t)(stream.Recv()).Kv.Value)
	}
	wantEqual(t, "observed", observed(), "one")
	next := make(chan error, 1)
	go func() {
		_, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name, Lease: int64(second), Value: []byte("two")})
		next <- err
	}()
	eventually(t, "the second stands in line", 30*time.Second, func(ctx context.Context) error {
		got, err := c.Get(ctx, "e/"+two)
		if err == nil && got.Count != 1 {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	leader.kill()
	eventually(t, "who was elected speaks", 30*time.Second, func(ctx context.Context) error {
		_, err := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: elected.Leader, Value: []byte("still one")})
		return err
	})
	wantEqual(t, "observed over the change", observed(), "still one")
	select {
	case err := <-next:
		t.Fatalf("the second got in: %v", err)
	default:
	}
	leader.run()
	eventually(t, "it resigns", 30*time.Second, func(ctx context.Context) error {
		_, err := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: elected.Leader})
		return err
	})
	if err := <-next; err != nil {
		t.Fatal("the second: ", err)
	}
	got := observed()
	for got == "still one" { // a proclamation whose answer the dead leader owed may have counted, too
		got = observed()
	}
	wantEqual(t, "the second", got, "two")
}
