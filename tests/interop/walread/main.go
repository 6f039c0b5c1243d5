// SPDX-License-Identifier: Apache-2.0

// walread DIR JSON: reads the etcd WAL in DIR with etcd's own reader and compares it, entry by entry, with the lines
// that `cairnd waldump --json` wrote of the same log: positions, types, requests, hard state.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

type line struct {
	Type, Entry         string
	Index, Term, Commit uint64
	Before              uint64 `json:"index_before"`
	ClusterID           string `json:"cluster_id"`
	MemberID            string `json:"member_id"`
	Request             json.RawMessage
}

// The final contents of the log: a later entry with the same index replaces it and all that follow.
type contents struct {
	member, cluster string
	snapshot        *walpb.Snapshot // where to read from
	entries         map[uint64]line
	last            uint64
	state           line
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func readJSON(path string) contents {
	c := contents{snapshot: &walpb.Snapshot{Index: new(uint64), Term: new(uint64)}, entries: map[uint64]line{}}
	f, err := os.Open(path)
	if err != nil {
		fail("%v", err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 16<<20)
	isWhole, isBegun := false, false
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			fail("%s: %v: %s", path, err, scanner.Text())
		}
		switch l.Type {
		case "segment":
			c.member, c.cluster = l.MemberID, l.ClusterID
			isWhole = isWhole || !isBegun && l.Before == 0
			isBegun = true
		case "entry":
			for i := l.Index; i <= c.last; i++ {
				delete(c.entries, i)
			}
			c.entries[l.Index], c.last = l, l.Index
		case "hard_state":
			c.state = l
		case "snapshot":
			if !isWhole { // the reader begins a truncated log at its last mark
				c.snapshot.Index, c.snapshot.Term = &l.Index, &l.Term
			}
		default:
			fail("%s: type %q", path, l.Type)
		}
	}
	return c
}

func sameRequest(l line, e *raftpb.Entry) error {
	var told, read pb.InternalRaftRequest
	if len(e.Data) == 0 {
		if l.Request != nil && !strings.Contains(string(l.Request), "state_check") { // ours alone
			return fmt.Errorf("etcd's form has no data")
		}
		return nil
	}
	if err := proto.Unmarshal(e.Data, &read); err != nil {
		return err
	}
	if len(read.ProtoReflect().GetUnknown()) > 0 {
		return fmt.Errorf("etcd does not know all fields")
	}
	// Fields that etcd does not know (our header names the member that asked; clients may send anything) are in the bytes
	// and not in the text: what was read goes through text as well.
	text, err := protojson.Marshal(&read)
	if err != nil {
		return err
	}
	read.Reset()
	if err := protojson.Unmarshal(text, &read); err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(l.Request, &told); err != nil {
		return err
	}
	if !proto.Equal(&told, &read) {
		return fmt.Errorf("told %v, read %v", &told, &read)
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fail("walread DIR JSON")
	}
	c := readJSON(os.Args[2])
	w, err := wal.OpenForRead(zap.NewNop(), os.Args[1], c.snapshot)
	if err != nil {
		fail("%s: %v", os.Args[1], err)
	}
	metadata, state, entries, err := w.ReadAll()
	if err != nil {
		fail("%s: %v", os.Args[1], err)
	}
	var m pb.Metadata
	if err := proto.Unmarshal(metadata, &m); err != nil {
		fail("metadata: %v", err)
	}
	if got := fmt.Sprintf("%x %x", m.GetNodeID(), m.GetClusterID()); got != c.member+" "+c.cluster {
		fail("metadata: %s, told %s %s", got, c.member, c.cluster)
	}
	if state.GetTerm() != c.state.Term || state.GetCommit() != c.state.Commit {
		fail("hard state: %v, told %+v", state, c.state)
	}
	types := map[raftpb.EntryType]string{raftpb.EntryNormal: "normal", raftpb.EntryConfChange: "conf_change",
		raftpb.EntryConfChangeV2: "conf_change_v2"}
	requests := 0
	for _, e := range entries {
		l, ok := c.entries[e.GetIndex()]
		if !ok && e.GetIndex() == 1 && len(e.Data) == 0 {
			continue // the bootstrap, which only etcd's log has
		}
		if !ok || l.Term != e.GetTerm() || l.Entry != types[e.GetType()] {
			fail("entry %d: etcd reads term %d, %v, told %+v", e.GetIndex(), e.GetTerm(), e.GetType(), l)
		}
		if e.GetType() == raftpb.EntryNormal {
			if err := sameRequest(l, e); err != nil {
				fail("entry %d: %v", e.GetIndex(), err)
			}
			requests++
		}
		delete(c.entries, e.GetIndex())
	}
	for index := range c.entries {
		if index > c.snapshot.GetIndex() {
			fail("entry %d is not in etcd's form", index)
		}
	}
	if requests == 0 {
		fail("no entries were compared")
	}
	fmt.Printf("%d entries, %d normal ones compared\n", len(entries), requests)
}
