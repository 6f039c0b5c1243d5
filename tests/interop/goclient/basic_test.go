// SPDX-License-Identifier: Apache-2.0
package goclient

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestKV(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 20*time.Second)
	first := must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	wantEqual(t, "first revision", first.Header.Revision, 2)
	second := must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "2", clientv3.WithPrevKV()))
	wantEqual(t, "previous value", string(second.PrevKv.Value), "1")
	for i := range 20 {
		must[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprintf("p/%02d", i), fmt.Sprint(20-i)))
	}
	all := must[*clientv3.GetResponse](t)(c.Get(ctx, "p/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(3)))
	wantEqual(t, "count", all.Count, 20)
	wantEqual(t, "more", all.More, true)
	wantEqual(t, "last written", string(all.Kvs[0].Key), "p/19")
	past := must[*clientv3.GetResponse](t)(c.Get(ctx, "a", clientv3.WithRev(first.Header.Revision)))
	wantEqual(t, "past value", string(past.Kvs[0].Value), "1")
	gone := must[*clientv3.DeleteResponse](t)(c.Delete(ctx, "p/", clientv3.WithPrefix(), clientv3.WithPrevKV()))
	wantEqual(t, "deleted", gone.Deleted, 20)
	wantEqual(t, "previous", len(gone.PrevKvs), 20)

	txn := must[*clientv3.TxnResponse](t)(c.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "2"), clientv3.Compare(clientv3.Version("b"), "=", 0)).
		Then(clientv3.OpPut("b", "x"), clientv3.OpGet("a"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("c", "y")}, nil)).Else(clientv3.OpDelete("a")).Commit())
	wantEqual(t, "txn", txn.Succeeded, true)
	wantEqual(t, "inner txn", txn.Responses[2].GetResponseTxn().Succeeded, true)

	must[*clientv3.CompactResponse](t)(c.Compact(ctx, second.Header.Revision, clientv3.WithCompactPhysical()))
	_, err := c.Get(ctx, "a", clientv3.WithRev(first.Header.Revision))
	wantEqual(t, "compacted", err, rpctypes.ErrCompacted)
	_, err = c.Get(ctx, "a", clientv3.WithRev(1000))
	wantEqual(t, "future", err, rpctypes.ErrFutureRev)
	_, err = c.Put(ctx, "", "x")
	wantEqual(t, "empty key", err, rpctypes.ErrEmptyKey)
	_, err = c.Put(ctx, "a", "x", clientv3.WithLease(77))
	wantEqual(t, "no lease", err, rpctypes.ErrLeaseNotFound)
	_, err = c.Txn(ctx).Then(clientv3.OpPut("d", "1"), clientv3.OpPut("d", "2")).Commit()
	wantEqual(t, "duplicate key", err, rpctypes.ErrDuplicateKey)
}

func TestGetStream(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 20*time.Second)
	value := string(make([]byte, 100_000))
	for i := range 100 {
		must[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprintf("k%03d", i), value))
	}
	got := must[*clientv3.GetResponse](t)(c.Get(ctx, "k", clientv3.WithPrefix()))
	wantEqual(t, "keys", len(got.Kvs), 100)
}

func TestCanceledContexts(t *testing.T) {
	t.Parallel()
	c := start(t).client()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Put(ctx, "a", "1")
	wantEqual(t, "canceled", errors.Is(err, context.Canceled), true)
	ctx, cancel = context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	_, err = c.Get(ctx, "a")
	wantEqual(t, "deadline", errors.Is(err, context.DeadlineExceeded), true)
	must[*clientv3.PutResponse](t)(c.Put(within(t, 5*time.Second), "a", "2"))
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, ctx := s.client(), within(t, 20*time.Second)
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "1"))
	st := must[*clientv3.StatusResponse](t)(c.Status(ctx, s.endpoint))
	wantEqual(t, "version", st.Version, "3.7.1")
	wantEqual(t, "leads itself", st.Leader, st.Header.MemberId)
	wantEqual(t, "size", st.DbSize > 0 && st.DbSizeInUse > 0, true)
	wantEqual(t, "members", len(must[*clientv3.MemberListResponse](t)(c.MemberList(ctx)).Members), 1)
	one := must[*clientv3.HashKVResponse](t)(c.HashKV(ctx, s.endpoint, 0))
	two := must[*clientv3.HashKVResponse](t)(c.HashKV(ctx, s.endpoint, 0))
	wantEqual(t, "hash", one.Hash, two.Hash)
	must[*clientv3.PutResponse](t)(c.Put(ctx, "a", "2"))
	wantEqual(t, "hash of another state", must[*clientv3.HashKVResponse](t)(c.HashKV(ctx, s.endpoint, 0)).Hash == one.Hash, false)
	must[*clientv3.DefragmentResponse](t)(c.Defragment(ctx, s.endpoint))
	wantEqual(t, "alarms", len(must[*clientv3.AlarmResponse](t)(c.AlarmList(ctx)).Alarms), 0)

	snapshot := must[*clientv3.SnapshotResponse](t)(c.SnapshotWithVersion(ctx))
	defer snapshot.Snapshot.Close()
	all := must[[]byte](t)(io.ReadAll(snapshot.Snapshot))
	sum := sha256.Sum256(all[:len(all)-sha256.Size])
	wantEqual(t, "sum of the snapshot", bytes.Equal(sum[:], all[len(all)-sha256.Size:]), true)
	wantEqual(t, "version of the snapshot", snapshot.Version, "3.7.0")
}

func TestHealth(t *testing.T) {
	t.Parallel()
	c, ctx := start(t).client(), within(t, 10*time.Second)
	health := grpc_health_v1.NewHealthClient(c.ActiveConnection())
	r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "health", r.Status, grpc_health_v1.HealthCheckResponse_SERVING)
	_, err = health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "none"})
	wantEqual(t, "unknown service", status.Code(err), codes.NotFound)
	w, err := health.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		r, err = w.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "watched health", r.Status, grpc_health_v1.HealthCheckResponse_SERVING)
}
