// SPDX-License-Identifier: Apache-2.0

// Sends the same seeded random requests to two servers and compares every answer field by field. The first
// difference ends the run with the request, both answers and the command that repeats it.
//
//	differential -a 127.0.0.1:2379 -b 127.0.0.1:12379 [-seeds 20] [-requests 2000] [-seed N] [-v]
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

var (
	flagA         = flag.String("a", "", "endpoint of the first server, host:port")
	flagB         = flag.String("b", "", "endpoint of the second one")
	flagSeeds     = flag.Int("seeds", 20, "how many seeds")
	flagFirst     = flag.Int64("first", 1, "the first of them")
	flagSeed      = flag.Int64("seed", 0, "only this seed")
	flagRequests  = flag.Int("requests", 2000, "requests for each seed")
	flagVerbose   = flag.Bool("v", false, "print every request")
	flagNoStream  = flag.Bool("no-range-stream", false, "one of the servers is older than 3.7 and has no RangeStream")
	flagOnly      = flag.String("scenario", "", "only this directed scenario, and no seeds")
	flagStrict    = flag.Bool("strict", false, "a method that b does not serve is a difference")
	flagScenarios = flag.Bool("scenarios", true, "run the directed scenarios before the seeds")
)

type runner struct {
	a, b     *side
	rng      *rand.Rand
	ownLease bool // a lease has an id that its server drew: HashKV, which covers it, differs

	rev         int64 // current revision on both
	base        int64 // the revision at which the seed began
	compact     int64 // last compacted revision
	number      int   // of the request
	values      int
	leases      []int64 // common ids that were granted and not revoked
	brief       map[int64]bool
	nextAuto    int64
	now         *call          // under way
	compacted   map[int64]bool // every revision of this run that was compacted at
	pairs       []*watchPair
	counts      map[string]int
	absent      []string // methods that b does not serve
	absentCount int
}

var errDiffer = errors.New("answers differ")

// Sends c to both and compares; the answer is the first server's.
func (r *runner) call(c *call) (*answer, error) {
	if *flagVerbose {
		fmt.Printf("%d: %s\n", r.number, c)
	}
	r.counts[c.method.path]++
	r.now = c
	got := make(chan *answer, 1)
	go func() { got <- r.b.ask(c) }()
	a := r.a.ask(c)
	b := <-got
	for _, x := range []struct {
		s *side
		a *answer
	}{{r.a, a}, {r.b, b}} {
		if c.method.settle != nil {
			if err := c.method.settle(r, x.s, x.a); err != nil {
				return nil, fmt.Errorf("request %d: %s\n%s: %w", r.number, c, x.s.name, err)
			}
		}
		for _, m := range x.a.messages {
			x.s.normalise(m)
		}
	}
	if !a.equal(b) {
		return nil, fmt.Errorf("request %d: %s\n%w\n--- a (%s)\n%s--- b (%s)\n%s", r.number, c, errDiffer, *flagA, a, *flagB, b)
	}
	for _, m := range a.messages {
		if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok && h.GetHeader() != nil {
			r.rev = max(r.rev, h.GetHeader().Revision)
		}
	}
	return a, nil
}

func (r *runner) one(m *method, requests ...proto.Message) (*answer, error) {
	return r.call(&call{method: m, requests: requests})
}

// Deletes everything on both and brings both to the same revision; otherwise no later response can agree.
func (r *runner) reset() error {
	put := &call{method: mPut, requests: []proto.Message{&pb.PutRequest{Key: []byte("a")}}}
	r.ownLease = false
	r.leases, r.brief, r.compacted, r.nextAuto, r.values = nil, map[int64]bool{}, map[int64]bool{}, 1<<40, 0
	revisions := map[*side]int64{}
	step := func(s *side, c *call) error {
		a := s.ask(c)
		if a.code != "" {
			return fmt.Errorf("%s: %s: %s", s.name, c, a)
		}
		revisions[s] = a.messages[0].(interface{ GetHeader() *pb.ResponseHeader }).GetHeader().Revision
		return nil
	}
	for _, s := range []*side{r.a, r.b} {
		s.leaseIn, s.leaseOut = map[int64]int64{}, map[int64]int64{}
		leases := s.ask(&call{method: mLeases, requests: []proto.Message{&pb.LeaseLeasesRequest{}}})
		if len(leases.messages) > 0 {
			for _, l := range leases.messages[0].(*pb.LeaseLeasesResponse).Leases {
				s.ask(&call{method: mRevoke, requests: []proto.Message{&pb.LeaseRevokeRequest{ID: l.ID}}})
			}
		}
		if err := step(s, put); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(time.Minute); revisions[r.a] != revisions[r.b]; {
		behind := r.a
		if revisions[r.b] < revisions[r.a] {
			behind = r.b
		}
		if err := step(behind, put); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("revisions %d and %d are too far apart; start both servers empty", revisions[r.a], revisions[r.b])
		}
	}
	if _, err := r.one(mDelete, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil && !errors.Is(err, errDiffer) {
		return err // how many keys there were may differ
	}
	r.rev = revisions[r.a] + 1
	r.base, r.compact = r.rev, r.rev
	r.compacted[r.rev] = true
	_, err := r.one(mCompact, &pb.CompactionRequest{Revision: r.rev, Physical: true})
	return err
}

func (r *runner) seed(seed int64) (err error) {
	r.rng = rand.New(rand.NewSource(seed))
	if err := r.reset(); err != nil {
		return err
	}
	defer func() {
		for _, p := range r.pairs {
			p.close()
		}
		r.pairs = nil
	}()
	for i := range 4 {
		p, err := r.openPair(i == 3)
		if err != nil {
			return err
		}
		r.pairs = append(r.pairs, p)
	}
	for r.number = 1; r.number <= *flagRequests; r.number++ {
		if err := r.step(); err != nil {
			return err
		}
		if r.number%100 == 0 {
			if err := r.settleWatches(); err != nil {
				return fmt.Errorf("request %d: %w", r.number, err)
			}
		}
	}
	time.Sleep(50 * time.Millisecond)
	return r.settleWatches()
}

func (r *runner) settleWatches() error {
	for i, p := range r.pairs {
		if err := p.settle(r.rev); err != nil {
			return fmt.Errorf("watch stream %d: %w", i, err)
		}
	}
	return nil
}

func repeat(extra string) string {
	command := fmt.Sprintf("differential -a %s -b %s %s", *flagA, *flagB, extra)
	if *flagNoStream {
		command += " -no-range-stream"
	}
	return command
}

func main() {
	flag.Parse()
	if *flagA == "" || *flagB == "" {
		flag.Usage()
		os.Exit(2)
	}
	r := &runner{counts: map[string]int{}}
	var err error
	if r.a, err = dial("a", *flagA); err == nil {
		r.b, err = dial("b", *flagB)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	started := time.Now()
	if *flagScenarios {
		if failed := r.scenarios(); failed > 0 {
			fmt.Printf("%d directed scenarios differ; repeat: %s\n", failed, repeat("-seeds 0"))
			os.Exit(1)
		}
	}
	if *flagOnly != "" {
		return
	}
	first, last := *flagFirst, *flagFirst+int64(*flagSeeds)-1
	if *flagSeed != 0 {
		first, last = *flagSeed, *flagSeed
	}
	total := 0
	for seed := first; seed <= last; seed++ {
		if err := r.seed(seed); err != nil {
			fmt.Printf("seed %d: %v\nrepeat: %s\n", seed, err, repeat(fmt.Sprintf("-scenarios=false -seed %d -requests %d", seed, *flagRequests)))
			os.Exit(1)
		}
		total += *flagRequests
	}
	if total == 0 {
		return
	}
	absent := ""
	if r.absentCount > 0 {
		absent = fmt.Sprintf("; %d methods absent", r.absentCount)
	}
	fmt.Printf("%d requests of %d seeds and the scenarios equal%s, %.1f s\n", total, last-first+1, absent, time.Since(started).Seconds())
}
