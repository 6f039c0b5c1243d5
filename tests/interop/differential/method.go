// SPDX-License-Identifier: Apache-2.0

// The methods that are called, with their answer types, and what in an answer may differ by the nature of things
// (clocks, sizes of files). Deviations that are on purpose stand in tests/interop/DEVIATIONS.md under the same names.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sort"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

type method struct {
	path   string
	reply  func() proto.Message
	stream bool
	// Checks and evens out one server's answer; nil when answers are compared as they are.
	settle func(r *runner, s *side, a *answer) error
}

func of[T any, P interface {
	*T
	proto.Message
}]() func() proto.Message {
	return func() proto.Message { return P(new(T)) }
}

var (
	mRange       = &method{path: pb.KV_Range_FullMethodName, reply: of[pb.RangeResponse]()}
	mRangeStream = &method{path: pb.KV_RangeStream_FullMethodName, reply: of[pb.RangeStreamResponse](), stream: true, settle: settleRangeStream}
	mPut         = &method{path: pb.KV_Put_FullMethodName, reply: of[pb.PutResponse]()}
	mDelete      = &method{path: pb.KV_DeleteRange_FullMethodName, reply: of[pb.DeleteRangeResponse]()}
	mTxn         = &method{path: pb.KV_Txn_FullMethodName, reply: of[pb.TxnResponse]()}
	mCompact     = &method{path: pb.KV_Compact_FullMethodName, reply: of[pb.CompactionResponse]()}
	mGrant       = &method{path: pb.Lease_LeaseGrant_FullMethodName, reply: of[pb.LeaseGrantResponse](), settle: settleGrant}
	mRevoke      = &method{path: pb.Lease_LeaseRevoke_FullMethodName, reply: of[pb.LeaseRevokeResponse]()}
	mKeepAlive   = &method{path: pb.Lease_LeaseKeepAlive_FullMethodName, reply: of[pb.LeaseKeepAliveResponse](), stream: true}
	mTimeToLive  = &method{path: pb.Lease_LeaseTimeToLive_FullMethodName, reply: of[pb.LeaseTimeToLiveResponse](), settle: settleTimeToLive}
	mLeases      = &method{path: pb.Lease_LeaseLeases_FullMethodName, reply: of[pb.LeaseLeasesResponse](), settle: settleLeases}
	mMemberList  = &method{path: pb.Cluster_MemberList_FullMethodName, reply: of[pb.MemberListResponse](), settle: settleMembers}
	mAlarm       = &method{path: pb.Maintenance_Alarm_FullMethodName, reply: of[pb.AlarmResponse]()}
	mStatus      = &method{path: pb.Maintenance_Status_FullMethodName, reply: of[pb.StatusResponse](), settle: settleStatus}
	mDefragment  = &method{path: pb.Maintenance_Defragment_FullMethodName, reply: of[pb.DefragmentResponse]()}
	mHash        = &method{path: pb.Maintenance_Hash_FullMethodName, reply: of[pb.HashResponse](), settle: settleHash}
	mHashKV      = &method{path: pb.Maintenance_HashKV_FullMethodName, reply: of[pb.HashKVResponse](), settle: settleHashKV}
	mSnapshot    = &method{path: pb.Maintenance_Snapshot_FullMethodName, reply: of[pb.SnapshotResponse](), stream: true, settle: settleSnapshot}
	mAuthStatus  = &method{path: pb.Auth_AuthStatus_FullMethodName, reply: of[pb.AuthStatusResponse]()}
	mHealth      = &method{path: grpc_health_v1.Health_Check_FullMethodName, reply: of[grpc_health_v1.HealthCheckResponse]()}
	mNoMethod    = &method{path: "/etcdserverpb.KV/NoSuchMethod", reply: of[pb.PutResponse]()}
	mNoService   = &method{path: "/etcdserverpb.NoSuchService/Range", reply: of[pb.PutResponse]()}
)

// Header, more and count stand in the last chunk only. How the keys are cut into chunks is the server's business.
func settleRangeStream(_ *runner, _ *side, a *answer) error {
	if len(a.messages) == 0 {
		return nil
	}
	whole := &pb.RangeResponse{}
	for i, m := range a.messages {
		part := m.(*pb.RangeStreamResponse).RangeResponse
		if part == nil {
			return fmt.Errorf("chunk %d is empty", i)
		}
		last := i == len(a.messages)-1
		if !last && (part.Header != nil || part.More || part.Count != 0) {
			return fmt.Errorf("chunk %d of %d has a header, more or count", i, len(a.messages))
		}
		if !last && len(part.Kvs) == 0 {
			return fmt.Errorf("chunk %d of %d has no keys", i, len(a.messages))
		}
		proto.Merge(whole, part)
	}
	a.messages = []proto.Message{whole}
	return nil
}

// A lease whose id the server chose gets a common id. The runner knows the request.
func settleGrant(r *runner, s *side, a *answer) error {
	if len(a.messages) == 0 || r.now.requests[0].(*pb.LeaseGrantRequest).ID != 0 {
		return nil
	}
	m := a.messages[0].(*pb.LeaseGrantResponse)
	if m.ID <= 0 {
		return fmt.Errorf("a generated lease id that is not positive: %d", m.ID)
	}
	if _, known := s.leaseOut[m.ID]; known {
		return fmt.Errorf("a generated lease id twice: %d", m.ID)
	}
	s.leaseIn[r.nextAuto], s.leaseOut[m.ID] = m.ID, r.nextAuto
	m.ID = r.nextAuto
	r.ownLease = true
	return nil
}

// Remaining seconds are truncated, and the two servers were asked some milliseconds apart: the granted TTL less the
// remaining one may be one or two seconds off. Evened out to the granted one when it is near the expected value.
func settleTimeToLive(r *runner, _ *side, a *answer) error {
	if len(a.messages) == 0 {
		return nil
	}
	m := a.messages[0].(*pb.LeaseTimeToLiveResponse)
	if m.GrantedTTL > 0 {
		if m.TTL > m.GrantedTTL || m.TTL < m.GrantedTTL-600 {
			return fmt.Errorf("remaining %d s of %d s", m.TTL, m.GrantedTTL)
		}
		m.TTL = m.GrantedTTL
	}
	// etcd reads the keys from a map: their order is random.
	sort.Slice(m.Keys, func(i, j int) bool { return bytes.Compare(m.Keys[i], m.Keys[j]) < 0 })
	return nil
}

// Sorted by what remains: leases of different TTLs are in a fixed order, those of equal TTL by their age. A lease
// below the shortest TTL of the generator expires by the clock, so it is left out.
func settleLeases(r *runner, _ *side, a *answer) error {
	if len(a.messages) == 0 {
		return nil
	}
	m := a.messages[0].(*pb.LeaseLeasesResponse)
	kept := m.Leases[:0]
	for _, l := range m.Leases {
		if !r.brief[l.ID] {
			kept = append(kept, l)
		}
	}
	m.Leases = kept
	return nil
}

func settleMembers(_ *runner, s *side, a *answer) error {
	if len(a.messages) == 0 {
		return nil
	}
	m := a.messages[0].(*pb.MemberListResponse)
	if len(m.Members) != 1 {
		return fmt.Errorf("%d members", len(m.Members))
	}
	for _, member := range m.Members {
		if len(member.PeerURLs) != 1 || len(member.ClientURLs) == 0 || member.Name == "" {
			return fmt.Errorf("a member without name or URLs: %v", member)
		}
		member.Name, member.PeerURLs, member.ClientURLs = "", nil, nil
	}
	return nil
}

func settleStatus(_ *runner, s *side, a *answer) error {
	if len(a.messages) == 0 {
		return nil
	}
	m := a.messages[0].(*pb.StatusResponse)
	if m.DbSize <= 0 || m.DbSizeInUse <= 0 || m.DbSizeInUse > m.DbSize {
		return fmt.Errorf("sizes: %d in use of %d", m.DbSizeInUse, m.DbSize)
	}
	if m.RaftIndex == 0 || m.RaftTerm == 0 || m.RaftAppliedIndex == 0 || m.RaftAppliedIndex > m.RaftIndex {
		return fmt.Errorf("raft: index %d, applied %d, term %d", m.RaftIndex, m.RaftAppliedIndex, m.RaftTerm)
	}
	for i := range m.Errors { // Go prints messages with one blank or two, by the build: deviation go-blanks
		m.Errors[i] = strings.ReplaceAll(strings.ReplaceAll(m.Errors[i], fmt.Sprint(s.memberID), "MEMBER"), "  ", " ")
	}
	m.DbSize, m.DbSizeInUse, m.RaftIndex, m.RaftAppliedIndex, m.RaftTerm = 1, 1, 1, 1, 1
	return nil
}

// Hash covers the database file of each server: only that it answers is compared.
func settleHash(_ *runner, _ *side, a *answer) error {
	if len(a.messages) > 0 {
		a.messages[0].(*pb.HashResponse).Hash = 0
	}
	return nil
}

// Deviation hashkv-remembered. The same node asked twice must give the same.
func settleHashKV(r *runner, s *side, a *answer) error {
	if r.compacted[r.now.requests[0].(*pb.HashKVRequest).Revision] {
		*a = answer{text: "whatever is remembered of a compaction"}
		return nil
	}
	for i := 0; ; i++ { // etcd's value changes while a compaction runs behind the scenes
		again := s.ask(r.now)
		if a.equal(again) {
			break
		}
		if i == 20 {
			return fmt.Errorf("asked again and again:\n%sand then\n%s", a, again)
		}
		*a = *again
		time.Sleep(10 * time.Millisecond)
	}
	if len(a.messages) > 0 && r.ownLease {
		a.messages[0].(*pb.HashKVResponse).Hash = 0
	}
	return nil
}

// The last 32 bytes are the SHA-256 of all before; remaining_bytes counts down to what is still to come.
func settleSnapshot(_ *runner, _ *side, a *answer) error {
	if a.code != "" {
		return nil
	}
	var all []byte
	for _, m := range a.messages {
		all = append(all, m.(*pb.SnapshotResponse).Blob...)
	}
	if len(all) <= sha256.Size {
		return fmt.Errorf("a snapshot of %d bytes", len(all))
	}
	body, sum := all[:len(all)-sha256.Size], sha256.Sum256(all[:len(all)-sha256.Size])
	if !bytes.Equal(sum[:], all[len(body):]) {
		return fmt.Errorf("the snapshot's last 32 bytes are not its SHA-256")
	}
	seen := uint64(0)
	for i, m := range a.messages {
		part := m.(*pb.SnapshotResponse)
		seen += uint64(len(part.Blob))
		want := uint64(0)
		if uint64(len(body)) > seen {
			want = uint64(len(body)) - seen
		}
		if part.RemainingBytes != want {
			return fmt.Errorf("part %d of %d: remaining_bytes %d, should be %d", i, len(a.messages), part.RemainingBytes, want)
		}
	}
	first := a.messages[0].(*pb.SnapshotResponse)
	last := a.messages[len(a.messages)-1].(*pb.SnapshotResponse)
	if len(last.Blob) != sha256.Size {
		return fmt.Errorf("the SHA-256 does not come in a message of its own")
	}
	first.Blob, first.RemainingBytes, last.Blob = nil, 0, nil
	a.messages = []proto.Message{first, last}
	return nil
}
