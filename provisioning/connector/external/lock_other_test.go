//go:build !unix

package external_test

import (
	"errors"
	"os"
)

// lock is for the calls of one connector, which come one at a time only where files
// can be locked.
func lock(*os.File) error { return errors.ErrUnsupported }
