// SPDX-License-Identifier: Apache-2.0

// Requests that several scenarios make.
package main

import (
	"go.etcd.io/etcd/api/v3/authpb"
)

func newPermission(key, end string, kind int32) *authpb.Permission {
	return &authpb.Permission{Key: []byte(key), RangeEnd: []byte(end), PermType: authpb.Permission_Type(kind)}
}

func noPassword() *authpb.UserAddOptions { return &authpb.UserAddOptions{NoPassword: true} }
