// SPDX-License-Identifier: Apache-2.0
// Registers with etcd's endpoints manager, as gRPC servers in Go do: main HOST:PORT, until stdin ends.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx := context.Background()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}})
	must(err)
	manager, err := endpoints.NewManager(client, "grpc-services/orders")
	must(err)
	lease, err := client.Grant(ctx, 3)
	must(err)
	alive, err := client.KeepAlive(ctx, lease.ID)
	must(err)
	go func() {
		for range alive {
		}
	}()
	key := "grpc-services/orders/10.0.0.3:50051"
	value := endpoints.Endpoint{Addr: "10.0.0.3:50051", Metadata: map[string]string{"zone": "b"}}
	must(manager.AddEndpoint(ctx, key, value, clientv3.WithLease(lease.ID)))
	fmt.Println("registered")
	io.Copy(io.Discard, os.Stdin)
	must(manager.DeleteEndpoint(ctx, key))
}
