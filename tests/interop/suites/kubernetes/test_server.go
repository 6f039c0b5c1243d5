// SPDX-License-Identifier: Apache-2.0

// Package testserver stands in for that of k8s.io/apiserver: its tests get a server that is the program $CAIRND.
package testserver

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// freePort returns a port of the loopback device; another process may take it before the server does.
func freePort(t testing.TB) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func loopback(t testing.TB) url.URL {
	return url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))}
}

// NewTestConfig returns etcd's own form of configuration, of which RunEtcd makes flags.
func NewTestConfig(t testing.TB) *embed.Config {
	cfg := embed.NewConfig()
	client, peer := loopback(t), loopback(t)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.Dir = t.TempDir()
	return cfg
}

func flags(cfg *embed.Config) []string {
	out := []string{
		"--name", cfg.Name, "--data-dir", cfg.Dir,
		"--listen-client-urls", cfg.ListenClientUrls[0].String(),
		"--advertise-client-urls", cfg.AdvertiseClientUrls[0].String(),
		"--listen-peer-urls", cfg.ListenPeerUrls[0].String(),
		"--initial-advertise-peer-urls", cfg.AdvertisePeerUrls[0].String(),
		"--initial-cluster", cfg.InitialCluster,
	}
	if cfg.WatchProgressNotifyInterval != 0 {
		out = append(out, "--watch-progress-notify-interval", cfg.WatchProgressNotifyInterval.String())
	}
	if cfg.QuotaBackendBytes != 0 {
		out = append(out, "--quota-backend-bytes", strconv.FormatInt(cfg.QuotaBackendBytes, 10))
	}
	if tls := cfg.ClientTLSInfo; tls.CertFile != "" {
		out = append(out, "--cert-file", tls.CertFile, "--key-file", tls.KeyFile, "--trusted-ca-file", tls.TrustedCAFile)
	}
	return out
}

// RunEtcd starts the program and returns a client of it; both end with the test.
func RunEtcd(t testing.TB, cfg *embed.Config) *kubernetes.Client {
	t.Helper()
	if cfg == nil {
		cfg = NewTestConfig(t)
	}
	command := exec.Command(os.Getenv("CAIRND"), flags(cfg)...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	tlsConfig, err := cfg.ClientTLSInfo.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.New(clientv3.Config{
		TLS:         tlsConfig,
		Endpoints:   []string{cfg.AdvertiseClientUrls[0].String()},
		DialTimeout: 10 * time.Second,
		Logger:      zaptest.NewLogger(t, zaptest.Level(zapcore.FatalLevel)).Named("etcd-client"),
	})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, client)
	kubernetesRecorder := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV = storagetesting.NewKVRecorder(client.KV, kubernetesRecorder)
	client.Kubernetes = kubernetesRecorder
	return client
}

func waitFor(t testing.TB, client *kubernetes.Client) {
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := client.Client.KV.Get(ctx, "/ready")
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server does not start: ", err)
		}
	}
}
