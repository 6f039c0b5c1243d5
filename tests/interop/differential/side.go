// SPDX-License-Identifier: Apache-2.0

// One of the two servers: its connection and its own values (identity, term, generated lease ids), which are
// replaced by common names before responses are compared.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const callTimeout = 15 * time.Second

type side struct {
	name      string
	conn      *grpc.ClientConn
	clusterID uint64
	memberID  uint64
	leaseIn   map[int64]int64 // common id -> this server's id
	leaseOut  map[int64]int64 // this server's id -> common id
}

func dial(name, endpoint string) (*side, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
	if err != nil {
		return nil, err
	}
	s := &side{name: name, conn: conn, leaseIn: map[int64]int64{}, leaseOut: map[int64]int64{}}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	resp, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	s.clusterID, s.memberID = resp.Header.ClusterId, resp.Header.MemberId
	if s.clusterID == 0 || s.memberID == 0 || resp.Header.RaftTerm == 0 {
		return nil, fmt.Errorf("%s: a header without identity: %v", endpoint, resp.Header)
	}
	return s, nil
}

// An answer is what one call gave: for a stream all its messages, then the error, if any.
type answer struct {
	messages []proto.Message
	code     string
	text     string
}

func (a *answer) fail(err error) {
	s := status.Convert(err)
	a.code, a.text = s.Code().String(), strings.ReplaceAll(s.Message(), "\u00a0", " ") // deviation go-blanks
}

func (a *answer) String() string {
	var out string
	for _, m := range a.messages {
		out += fmt.Sprintf("%s{ %s }\n", m.ProtoReflect().Descriptor().Name(), short(prototext.Format(m)))
	}
	if a.code != "" {
		out += fmt.Sprintf("error %s: %q\n", a.code, a.text)
	}
	return out
}

func short(s string) string {
	if len(s) > 6000 {
		return s[:6000] + "..."
	}
	return s
}

func (a *answer) equal(b *answer) bool {
	if a.code != b.code || a.text != b.text || len(a.messages) != len(b.messages) {
		return false
	}
	for i := range a.messages {
		if !proto.Equal(a.messages[i], b.messages[i]) {
			return false
		}
	}
	return true
}

// A call is one request of any kind but watch; the request speaks of leases by their common ids.
type call struct {
	method   *method
	requests []proto.Message // more than one only for a stream of the client
}

func (c *call) String() string {
	out := c.method.path
	for _, r := range c.requests {
		out += fmt.Sprintf(" { %s }", short(prototext.Format(r)))
	}
	return out
}

func (s *side) ask(c *call) *answer {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	a := &answer{}
	if !c.method.stream {
		reply := c.method.reply()
		if err := s.conn.Invoke(ctx, c.method.path, s.localise(c.requests[0]), reply); err != nil {
			a.fail(err)
		} else {
			a.messages = append(a.messages, reply)
		}
		return a
	}
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := s.conn.NewStream(ctx, desc, c.method.path)
	if err != nil {
		a.fail(err)
		return a
	}
	for _, r := range c.requests {
		if err := stream.SendMsg(s.localise(r)); err != nil && !errors.Is(err, io.EOF) {
			a.fail(err)
			return a
		}
	}
	stream.CloseSend()
	for {
		reply := c.method.reply()
		if err := stream.RecvMsg(reply); errors.Is(err, io.EOF) {
			return a
		} else if err != nil {
			a.fail(err)
			return a
		}
		a.messages = append(a.messages, reply)
	}
}

// Fields that hold a lease's id, by the message they are in.
var leaseFields = map[protoreflect.Name]protoreflect.Name{
	"PutRequest": "lease", "Compare": "lease", "KeyValue": "lease",
	"LeaseGrantRequest": "ID", "LeaseRevokeRequest": "ID", "LeaseKeepAliveRequest": "ID", "LeaseTimeToLiveRequest": "ID",
	"LeaseGrantResponse": "ID", "LeaseStatus": "ID", "LeaseKeepAliveResponse": "ID", "LeaseTimeToLiveResponse": "ID",
}

func mapLeases(m proto.Message, ids map[int64]int64) {
	walk(m.ProtoReflect(), func(m protoreflect.Message) {
		field := m.Descriptor().Fields().ByName(leaseFields[m.Descriptor().Name()])
		if field == nil || !m.Has(field) {
			return
		}
		if id, ok := ids[m.Get(field).Int()]; ok {
			m.Set(field, protoreflect.ValueOfInt64(id))
		}
	})
}

// The request as this server must see it.
func (s *side) localise(r proto.Message) proto.Message {
	if len(s.leaseIn) == 0 {
		return r
	}
	r = proto.Clone(r)
	mapLeases(r, s.leaseIn)
	return r
}

// Replaces this server's own values by common names. Anything else that stands there stays, and is a difference.
func (s *side) normalise(m proto.Message) {
	mapLeases(m, s.leaseOut)
	walk(m.ProtoReflect(), func(m protoreflect.Message) {
		switch v := m.Interface().(type) {
		case *pb.ResponseHeader:
			if v.ClusterId == s.clusterID {
				v.ClusterId = 1
			}
			s.nameMember(&v.MemberId)
			if v.RaftTerm != 0 {
				v.RaftTerm = 1
			}
		case *pb.AlarmMember:
			s.nameMember(&v.MemberID)
		case *pb.Member:
			s.nameMember(&v.ID)
		case *pb.StatusResponse:
			s.nameMember(&v.Leader)
		}
	})
}

func (s *side) nameMember(id *uint64) {
	if *id == s.memberID {
		*id = 1
	}
}

// Calls f with m and every message inside.
func walk(m protoreflect.Message, f func(protoreflect.Message)) {
	f(m)
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if field.Message() == nil {
			return true
		}
		if field.IsList() {
			for i := range v.List().Len() {
				walk(v.List().Get(i).Message(), f)
			}
		} else {
			walk(v.Message(), f)
		}
		return true
	})
}
