// SPDX-License-Identifier: Apache-2.0

// Command coredns is CoreDNS with the plugins that the part uses: etcd and forward.
package main

import (
	_ "github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/etcd"
	_ "github.com/coredns/coredns/plugin/forward"
)

func main() {
	coremain.Run()
}
