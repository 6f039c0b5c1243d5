// SPDX-License-Identifier: Apache-2.0

// TLS with several protocols offered: gRPC needs h2, and a client may offer HTTP/1.1 beside it, as those that share one
// configuration with an HTTP client do.
package goclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestProtocolsOffered(t *testing.T) {
	s := newServer(t, "default")
	s.extra = []string{"--auto-tls", "--listen-client-urls", "https://" + s.endpoint, "--advertise-client-urls", "https://" + s.endpoint}
	s.run()
	for _, offered := range [][]string{{"h2"}, {"h2", "http/1.1"}, {"http/1.1", "h2"}, nil} {
		t.Run(fmt.Sprint(offered), func(t *testing.T) {
			c, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + s.endpoint}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
				TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: offered}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			events := c.Watch(ctx, "offered", clientv3.WithCreatedNotify())
			if created := <-events; !created.Created {
				t.Fatalf("the watch is not created: %v", created.Err())
			}
			if _, err := c.Put(ctx, "offered", fmt.Sprint(offered)); err != nil {
				t.Fatal(err)
			}
			if event := <-events; len(event.Events) != 1 {
				t.Fatalf("%d events: %v", len(event.Events), event.Err())
			}
		})
	}
}
