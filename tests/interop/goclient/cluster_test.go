// SPDX-License-Identifier: Apache-2.0
package goclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestClusterKV(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	c, ctx := g.client(), within(t, 60*time.Second)
	var each []*clientv3.Client
	for _, s := range g.members {
		each = append(each, s.client())
	}
	for i := range 30 {
		put := must[*clientv3.PutResponse](t)(each[i%3].Put(ctx, "a", fmt.Sprint(i)))
		wantEqual(t, "revision", put.Header.Revision, int64(i+2))
		for j, m := range each { // the others have to know of it, too
			got := must[*clientv3.GetResponse](t)(m.Get(ctx, "a"))
			wantEqual(t, fmt.Sprint("read on ", j), string(got.Kvs[0].Value), fmt.Sprint(i))
		}
	}
	for j, m := range each {
		eventually(t, "the same without asking the leader", 5*time.Second, func(ctx context.Context) error {
			got, err := m.Get(ctx, "a", clientv3.WithSerializable())
			if err == nil && (len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "29" || got.Header.Revision != 31) {
				err = fmt.Errorf("member %d: %v", j, got)
			}
			return err
		})
	}

	// Compare-and-swap through all members at once counts every time once.
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			m := each[worker%3]
			for done := 0; done < 10; {
				got, err := m.Get(ctx, "n")
				if err != nil {
					t.Error(err)
					return
				}
				n, revision := 0, int64(0)
				if len(got.Kvs) > 0 {
					n, _ = strconv.Atoi(string(got.Kvs[0].Value))
					revision = got.Kvs[0].ModRevision
				}
				txn, err := m.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("n"), "=", revision)).
					Then(clientv3.OpPut("n", fmt.Sprint(n+1))).Else(clientv3.OpGet("n")).Commit()
				if err != nil {
					t.Error(err)
					return
				}
				if txn.Succeeded {
					done++
				}
			}
		})
	}
	wg.Wait()
	wantEqual(t, "count", string(must[*clientv3.GetResponse](t)(c.Get(ctx, "n")).Kvs[0].Value), "60")

	now := must[*clientv3.GetResponse](t)(c.Get(ctx, "n")).Header.Revision
	hashes := map[uint32]int{}
	for i, m := range each {
		must[*clientv3.GetResponse](t)(m.Get(ctx, "n")) // it has that revision then
		hashes[must[*clientv3.HashKVResponse](t)(m.HashKV(ctx, g.members[i].endpoint, now)).Hash]++
	}
	wantEqual(t, "hashes", len(hashes), 1)
	must[*clientv3.CompactResponse](t)(each[1].Compact(ctx, 20, clientv3.WithCompactPhysical()))
	for _, m := range each {
		must[*clientv3.GetResponse](t)(m.Get(ctx, "a")) // it has the compaction then
		_, err := m.Get(ctx, "a", clientv3.WithRev(19))
		wantEqual(t, "compacted", err, rpctypes.ErrCompacted)
	}
}

func TestClusterStatus(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	c, ctx := g.client(), within(t, 40*time.Second)
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	leader := g.leader()
	ids, leads, last := map[uint64]bool{}, 0, (*clientv3.StatusResponse)(nil)
	for _, s := range g.members {
		st := must[*clientv3.StatusResponse](t)(c.Status(ctx, s.endpoint))
		ids[st.Header.MemberId] = true
		wantEqual(t, "version", st.Version, "3.7.1")
		wantEqual(t, "learner", st.IsLearner, false)
		wantEqual(t, "errors", len(st.Errors), 0)
		wantEqual(t, "size", st.DbSize > 0 && st.RaftIndex > 0 && st.RaftAppliedIndex > 0, true)
		if st.Leader == st.Header.MemberId {
			leads++
			wantEqual(t, "who leads", s, leader)
		}
		if last != nil {
			wantEqual(t, "cluster", st.Header.ClusterId, last.Header.ClusterId)
			wantEqual(t, "leader", st.Leader, last.Leader)
			wantEqual(t, "term", st.RaftTerm, last.RaftTerm)
		}
		last = st
	}
	wantEqual(t, "ids", len(ids), 3)
	wantEqual(t, "leaders", leads, 1)
}

func TestClusterMoveLeader(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3)
	ctx := within(t, 60*time.Second)
	id := func(s *server) uint64 { return must[*clientv3.StatusResponse](t)(s.status(ctx)).Header.MemberId }
	for range 3 {
		from, to := g.leader(), g.follower()
		before := must[*clientv3.StatusResponse](t)(from.status(ctx)).RaftTerm
		_, err := to.client().MoveLeader(ctx, id(to))
		wantEqual(t, "asked of a follower", err, rpctypes.ErrNotLeader)
		_, err = from.client().MoveLeader(ctx, 4711)
		wantEqual(t, "to nobody", err, rpctypes.ErrBadLeaderTransferee)
		must[*clientv3.MoveLeaderResponse](t)(from.client().MoveLeader(ctx, id(to)))
		wantEqual(t, "leader", g.leader().name, to.name)
		wantEqual(t, "a later term", must[*clientv3.StatusResponse](t)(to.status(ctx)).RaftTerm > before, true)
		must[*clientv3.PutResponse](t)(from.client().Put(ctx, "a", "1"))
	}
}

// A learner joins, becomes a voter, leaves; then the leader is taken out.
func TestClusterMembers(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 3, "--promote-learners=false") // by itself: it must stay one until it is asked for
	c, ctx := g.client(), within(t, 120*time.Second)
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	list := func(on *clientv3.Client) []*etcdserverpb.Member {
		t.Helper()
		return must[*clientv3.MemberListResponse](t)(on.MemberList(ctx)).Members
	}
	byName := func(name string) *etcdserverpb.Member {
		t.Helper()
		for _, m := range list(c) {
			if m.Name == name {
				return m
			}
		}
		t.Fatalf("no %s", name)
		return nil
	}
	eventually(t, "all have told their names", 10*time.Second, func(ctx context.Context) error {
		for _, s := range g.members {
			r, err := newClient(t, s.endpoint).MemberList(ctx)
			if err != nil {
				return err
			}
			for _, m := range r.Members {
				if len(r.Members) != 3 || m.Name == "" || len(m.ClientURLs) != 1 || len(m.PeerURLs) != 1 || m.IsLearner {
					return fmt.Errorf("on %s: %v", s.name, r.Members)
				}
			}
		}
		return nil
	})

	_, err := c.MemberRemove(ctx, 4711)
	wantEqual(t, "remove nobody", err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberPromote(ctx, 4711)
	wantEqual(t, "promote nobody", err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberUpdate(ctx, 4711, []string{"http://127.0.0.1:1"})
	wantEqual(t, "update nobody", err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberPromote(ctx, byName("m1").ID)
	wantEqual(t, "promote a voter", err, rpctypes.ErrMemberNotLearner)
	must[*clientv3.MemberUpdateResponse](t)(c.MemberUpdate(ctx, byName("m1").ID, []string{g.members[1].peerURL()}))

	late := newServer(t, "m3", "--initial-cluster-state", "existing")
	var added *clientv3.MemberAddResponse
	for { // refused until all have been connected for five seconds
		added, err = g.follower().client().MemberAddAsLearner(ctx, []string{late.peerURL()})
		if err == nil {
			break
		}
		wantEqual(t, "add", err, rpctypes.ErrUnhealthy)
		time.Sleep(200 * time.Millisecond)
	}
	wantEqual(t, "listed in the answer", len(added.Members), 4)
	wantEqual(t, "a learner", added.Member.IsLearner, true)
	_, err = c.MemberAddAsLearner(ctx, []string{g.members[0].peerURL()})
	wantEqual(t, "an address that another has", err, rpctypes.ErrPeerURLExist)
	_, err = c.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:2"})
	wantEqual(t, "a second learner", err, rpctypes.ErrTooManyLearners)
	_, err = c.MemberPromote(ctx, added.Member.ID)
	wantEqual(t, "promote one that is not there yet", err, rpctypes.ErrMemberLearnerNotReady)

	late.initial = g.members[0].initial + "," + late.initial
	late.launch()
	direct := late.client()
	eventually(t, "the learner has the data", 20*time.Second, func(ctx context.Context) error {
		got, err := direct.Get(ctx, "a", clientv3.WithSerializable())
		if err == nil && len(got.Kvs) != 1 {
			err = errors.New("not yet")
		}
		return err
	})
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	_, err = direct.Put(short, "a", "2")
	cancel()
	wantEqual(t, "a put on a learner", rpctypes.Error(err), rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner))
	wantEqual(t, "what it says of itself", must[*clientv3.StatusResponse](t)(direct.Status(ctx, late.endpoint)).IsLearner, true)
	eventually(t, "it is promoted", 20*time.Second, func(ctx context.Context) error {
		_, err := c.MemberPromote(ctx, added.Member.ID)
		return err
	})
	g.members = append(g.members, late)
	late.serves(10 * time.Second)
	must[*clientv3.PutResponse](t)(direct.Put(ctx, "a", "3"))
	wantEqual(t, "it votes", byName("m3").IsLearner, false)

	must[*clientv3.MemberRemoveResponse](t)(c.MemberRemove(ctx, added.Member.ID))
	late.ends()
	for _, s := range g.members[:3] {
		wantEqual(t, "members on "+s.name, len(list(s.client())), 3)
	}
	leader := g.leader()
	others := slices.DeleteFunc(slices.Clone(g.members[:3]), func(s *server) bool { return s == leader })
	rest := newClient(t, others[0].endpoint, others[1].endpoint)
	for {
		_, err = rest.MemberRemove(ctx, byName(leader.name).ID)
		if !errors.Is(err, rpctypes.ErrUnhealthy) {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) { // the client may have asked twice
		t.Fatal(err)
	}
	leader.ends()
	eventually(t, "two are left and go on", 20*time.Second, func(ctx context.Context) error {
		_, err := rest.Put(ctx, "a", "4")
		return err
	})
	wantEqual(t, "members", len(list(rest)), 2)
	next := g.leader()
	wantEqual(t, "another leads", next != leader && next != late, true)
}
