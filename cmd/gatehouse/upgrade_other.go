//go:build !unix

package main

import (
	"errors"
	"net"
	"os"
)

// upgradeSignals: there are none here.
var upgradeSignals []os.Signal

// closeOnExec has nothing to do where nothing is inherited.
func closeOnExec(int, int) {}

// duplicate: no process can be given a listener here.
func duplicate(net.Listener) (*os.File, error) { return nil, errors.ErrUnsupported }
