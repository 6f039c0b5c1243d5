// SPDX-License-Identifier: Apache-2.0

// etcd's own Go client and its recipes against one server or several members, which each test starts for itself: CAIRND
// names the binary, which may as well be a real etcd.
package goclient

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

type server struct {
	t        *testing.T
	name     string
	initial  string // cluster
	port     int
	dir      string
	extra    []string
	cmd      *exec.Cmd
	endpoint string
	logFile  *os.File
}

var ports = struct {
	sync.Mutex
	given map[int]bool
}{given: map[int]bool{}}

// A port below the ephemeral ones, the next one free too. None is given twice: a member that was killed comes back to its.
func freePort(t *testing.T) int {
	ports.Lock()
	defer ports.Unlock()
	for i := range 500 {
		p := 20000 + (os.Getpid()*37+int(time.Now().UnixNano()/1000)+i*101)%9000
		if ports.given[p-1] || ports.given[p] || ports.given[p+1] {
			continue
		}
		a, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			continue
		}
		b, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p+1))
		a.Close()
		if err == nil {
			b.Close()
			ports.given[p] = true
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

func newServer(t *testing.T, name string, extra ...string) *server {
	t.Helper()
	if os.Getenv("CAIRND") == "" {
		t.Skip("CAIRND is not set")
	}
	s := &server{t: t, name: name, port: freePort(t), dir: t.TempDir(), extra: extra}
	s.endpoint = fmt.Sprintf("127.0.0.1:%d", s.port)
	s.initial = name + "=" + s.peerURL()
	t.Cleanup(s.kill)
	return s
}

func (s *server) peerURL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.port+1) }

func start(t *testing.T, extra ...string) *server {
	t.Helper()
	s := newServer(t, "default", extra...)
	s.run()
	return s
}

func (s *server) run() {
	s.t.Helper()
	s.launch()
	s.await()
}

func (s *server) launch() {
	s.t.Helper()
	client := "http://" + s.endpoint
	args := append([]string{"--name", s.name, "--data-dir", filepath.Join(s.dir, "data"), "--listen-client-urls", client,
		"--advertise-client-urls", client, "--listen-peer-urls", s.peerURL(), "--initial-advertise-peer-urls", s.peerURL(),
		"--initial-cluster", s.initial}, s.extra...)
	s.cmd = exec.Command(os.Getenv("CAIRND"), args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.logFile, s.cmd.Stdout, s.cmd.Stderr = log, log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) await() {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.endpoint); err == nil {
			c.Close()
			return
		}
	}
	s.t.Fatalf("the server does not listen; its log:\n%s", s.log())
}

func (s *server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text[max(0, len(text)-4000):])
}

// Without warning, as a power cut would.
func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.logFile.Close()
		s.cmd = nil
	}
}

// ends waits until the process has ended by itself.
func (s *server) ends() {
	s.t.Helper()
	done := make(chan error, 1)
	cmd := s.cmd
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		s.logFile.Close()
		s.cmd = nil
		if err != nil {
			s.t.Fatalf("%s: %v", s.name, err)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatalf("%s does not end", s.name)
	}
}

func (s *server) client() *clientv3.Client { return newClient(s.t, s.endpoint) }

func newClient(t *testing.T, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Members that form a cluster.
type cluster struct {
	t       *testing.T
	members []*server
}

// startCluster returns when each member answers a linearizable read.
func startCluster(t *testing.T, n int, extra ...string) *cluster {
	t.Helper()
	g := &cluster{t: t}
	var initial []string
	for i := range n {
		s := newServer(t, fmt.Sprint("m", i), extra...)
		g.members = append(g.members, s)
		initial = append(initial, s.initial)
	}
	t.Cleanup(func() {
		for _, s := range g.members {
			if t.Failed() {
				t.Logf("the end of %s's log:\n%s", s.name, s.log())
			}
		}
	})
	for _, s := range g.members {
		s.initial = strings.Join(initial, ",")
		s.launch()
	}
	for _, s := range g.members {
		s.serves(30 * time.Second)
	}
	return g
}

// serves waits until the member answers a linearizable read.
func (s *server) serves(patience time.Duration) {
	s.t.Helper()
	c := newClient(s.t, s.endpoint)
	defer c.Close()
	eventually(s.t, s.name+" serves", patience, func(ctx context.Context) error {
		_, err := c.Get(ctx, "serves")
		return err
	})
}

func (g *cluster) endpoints() []string {
	var all []string
	for _, s := range g.members {
		all = append(all, s.endpoint)
	}
	return all
}

// A client that knows all members.
func (g *cluster) client() *clientv3.Client { return newClient(g.t, g.endpoints()...) }

// The member that all that run, and itself, hold for the leader.
func (g *cluster) leader() *server {
	g.t.Helper()
	var found *server
	eventually(g.t, "a leader", 20*time.Second, func(ctx context.Context) error {
		votes, ids := map[uint64]int{}, map[uint64]*server{}
		for _, s := range g.members {
			if s.cmd == nil {
				continue
			}
			st, err := s.status(ctx)
			if err != nil {
				return err
			}
			votes[st.Leader]++
			ids[st.Header.MemberId] = s
		}
		for id, n := range votes {
			if ids[id] != nil && n == len(ids) && n > 0 {
				found = ids[id]
				return nil
			}
		}
		return fmt.Errorf("the members name %v", votes)
	})
	return found
}

func (s *server) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	c := newClient(s.t, s.endpoint)
	defer c.Close()
	return c.Status(ctx, s.endpoint)
}

// A member that does not lead.
func (g *cluster) follower() *server {
	g.t.Helper()
	leader := g.leader()
	for _, s := range g.members {
		if s != leader && s.cmd != nil {
			return s
		}
	}
	g.t.Fatal("no follower")
	return nil
}

// eventually repeats what fails. Each try has two seconds.
func eventually(t *testing.T, what string, patience time.Duration, try func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantEqual[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
