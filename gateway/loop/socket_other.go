//go:build !unix

package loop

import "syscall"

// supported: net/http serves everything, since it can not be seen here whether
// the other side has left.
const supported = false

func left(syscall.RawConn) bool { return false }
