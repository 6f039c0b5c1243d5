// SPDX-License-Identifier: Apache-2.0

// Texts that are known to differ on purpose, by the names that stand in tests/interop/DEVIATIONS.md.
package main

import (
	"go.etcd.io/etcd/api/v3/authpb"
)

var deviations = map[string]func(a, b string) bool{
	// Deviation gzip.
	"gRPC gzip": func(_, b string) bool {
		return b == `0 answers, Unimplemented: grpc: Decompressor is not installed for grpc-encoding "gzip"`
	},
}

func allowed(name, a, b string) bool {
	f := deviations[name]
	return f != nil && f(a, b)
}

func newPermission(key, end string, kind int32) *authpb.Permission {
	return &authpb.Permission{Key: []byte(key), RangeEnd: []byte(end), PermType: authpb.Permission_Type(kind)}
}

func noPassword() *authpb.UserAddOptions { return &authpb.UserAddOptions{NoPassword: true} }
