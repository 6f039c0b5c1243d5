// SPDX-License-Identifier: Apache-2.0

// Health checks of instances by gRPC: cairnd asks servers of grpc-go with its health service, over TCP and TLS.
package goclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// The server listens before this returns. hasHealth: it has the health service, which the caller gets.
func grpcServer(t *testing.T, hasHealth bool, options ...grpc.ServerOption) (int, *health.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	s, h := grpc.NewServer(options...), health.NewServer()
	if hasHealth {
		grpc_health_v1.RegisterHealthServer(s, h)
	}
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	return listener.Addr().(*net.TCPAddr).Port, h
}

func selfSigned(t *testing.T) grpc.ServerOption {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}))
}

func (s *server) request(method, path, body string) string {
	s.t.Helper()
	request := must[*http.Request](s.t)(http.NewRequestWithContext(within(s.t, 20*time.Second), method, "http://"+s.endpoint+"/api/v1/"+path, strings.NewReader(body)))
	answer := must[*http.Response](s.t)(http.DefaultClient.Do(request))
	defer answer.Body.Close()
	text := string(must[[]byte](s.t)(io.ReadAll(answer.Body)))
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return text
}

// wants waits until the check of the instance has found this state, for this reason.
func (s *server) wants(id, state, output string) {
	s.t.Helper()
	eventually(s.t, id+" is "+state, 60*time.Second, func(context.Context) error {
		var got struct {
			Instance struct{ Checked struct{ State, Output string } }
		}
		if err := json.Unmarshal([]byte(s.request("GET", "services/web/instances/"+id, "")), &got); err != nil {
			return err
		}
		if c := got.Instance.Checked; c.State != state || !strings.HasPrefix(c.Output, output) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func TestGRPCHealthChecks(t *testing.T) {
	t.Parallel()
	s := start(t, "--registry-check-allow", "127.0.0.1/32")
	plain, service := grpcServer(t, true)
	sealed, _ := grpcServer(t, true, selfSigned(t))
	without, _ := grpcServer(t, false)
	register := func(id string, port int, more string) {
		s.request("PUT", "services/web/instances/"+id, fmt.Sprintf(
			`{"host":"127.0.0.1","port":%d,"check":{"type":"grpc","interval":"1s","failures":1%s}}`, port, more))
	}
	service.SetServingStatus("shop.v1.Orders", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	register("plain", plain, "")
	register("orders", plain, `,"service":"shop.v1.Orders"`)
	register("unknown", plain, `,"service":"shop.v1.Nobody"`)
	register("without", without, "")
	register("sealed", sealed, `,"tls":true,"insecure":true`)
	register("untrusted", sealed, `,"tls":true`)
	register("no-tls", sealed, "")
	s.wants("plain", "up", "gRPC SERVING")
	s.wants("orders", "down", "gRPC NOT_SERVING")
	s.wants("unknown", "down", "gRPC status 5 NOT_FOUND (the server does not know this service)")
	s.wants("without", "down", "gRPC status 12 UNIMPLEMENTED (the server has no health service)")
	s.wants("sealed", "up", "gRPC SERVING")
	s.wants("untrusted", "down", "tls: failed to verify certificate")
	s.wants("no-tls", "down", "")
	service.SetServingStatus("shop.v1.Orders", grpc_health_v1.HealthCheckResponse_SERVING)
	s.wants("orders", "up", "gRPC SERVING")
	service.Shutdown()
	s.wants("plain", "down", "gRPC NOT_SERVING")
	s.wants("orders", "down", "gRPC NOT_SERVING")
}
