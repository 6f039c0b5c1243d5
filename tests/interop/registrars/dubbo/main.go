// SPDX-License-Identifier: Apache-2.0
// Registers with dubbo-go, at the level of applications and at that of interfaces: main HOST:PORT, until stdin
// ends.
package main

import (
	"fmt"
	"io"
	"os"

	"dubbo.apache.org/dubbo-go/v3/common"
	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/common/extension"
	_ "dubbo.apache.org/dubbo-go/v3/metrics/prometheus"
	"dubbo.apache.org/dubbo-go/v3/registry"
	_ "dubbo.apache.org/dubbo-go/v3/registry/etcdv3"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	role := common.WithParamsValue(constant.RegistryRoleKey, "3")
	url, err := common.NewURL("etcdv3://"+os.Args[1], role,
		common.WithParamsValue(constant.RegistryKey, "etcdv3"),
		common.WithParamsValue(constant.RegistryTimeoutKey, "5s"))
	must(err)
	discovery, err := extension.GetServiceDiscovery(url)
	must(err)
	instance := &registry.DefaultServiceInstance{
		ID: "10.0.0.6:20000", ServiceName: "order-app", Host: "10.0.0.6", Port: 20000, Enable: true, Healthy: true,
		Metadata: map[string]string{"dubbo.endpoints": `[{"port":20000,"protocol":"dubbo"}]`},
	}
	must(discovery.Register(instance))
	interfaces, err := extension.GetRegistry("etcdv3", url)
	must(err)
	provider, err := common.NewURL("dubbo://10.0.0.6:20000/com.example.GreetService?version=1.2.0&weight=50",
		role, common.WithMethods([]string{"Greet"}))
	must(err)
	must(interfaces.Register(provider))
	fmt.Println("registered")
	io.Copy(io.Discard, os.Stdin)
	must(discovery.Unregister(instance))
}
