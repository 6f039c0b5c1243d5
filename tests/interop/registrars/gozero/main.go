// SPDX-License-Identifier: Apache-2.0
// Registers with go-zero's publisher: main HOST:PORT, until stdin ends.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/zeromicro/go-zero/core/discov"
)

func main() {
	publisher := discov.NewPublisher([]string{os.Args[1]}, "user.rpc", "10.0.0.9:8080")
	if err := publisher.KeepAlive(); err != nil {
		panic(err)
	}
	fmt.Println("registered")
	io.Copy(io.Discard, os.Stdin)
	publisher.Stop()
}
