// SPDX-License-Identifier: Apache-2.0
// Registers with go-micro's registry for etcd: main HOST:PORT, until stdin ends.
package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"go-micro.dev/v6/registry"
	"go-micro.dev/v6/registry/etcd"
)

func main() {
	etcdRegistry := etcd.NewEtcdRegistry(registry.Addrs(os.Args[1]))
	service := &registry.Service{
		Name: "greeter", Version: "latest",
		Nodes: []*registry.Node{{
			Id: "greeter-1", Address: "10.0.0.7:40001", Metadata: map[string]string{"protocol": "grpc"},
		}},
	}
	if err := etcdRegistry.Register(service, registry.RegisterTTL(10*time.Second)); err != nil {
		panic(err)
	}
	fmt.Println("registered")
	io.Copy(io.Discard, os.Stdin)
	if err := etcdRegistry.Deregister(service); err != nil {
		panic(err)
	}
}
