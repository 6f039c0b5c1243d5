// SPDX-License-Identifier: Apache-2.0
// Registers with kratos' registrar for etcd: main HOST:PORT, until stdin ends.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/go-kratos/kratos/contrib/registry/etcd/v3"
	"github.com/go-kratos/kratos/v3/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}})
	must(err)
	registrar := etcd.New(client)
	instance := &registry.ServiceInstance{
		ID: "k1", Name: "helloworld", Version: "v1.0.0", Metadata: map[string]string{"zone": "b"},
		Endpoints: []string{"grpc://10.0.0.5:9000?isSecure=false", "http://10.0.0.5:8000?isSecure=false"},
	}
	must(registrar.Register(context.Background(), instance))
	fmt.Println("registered")
	io.Copy(io.Discard, os.Stdin)
	must(registrar.Deregister(context.Background(), instance))
}
