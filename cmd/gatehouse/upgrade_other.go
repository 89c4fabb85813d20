//go:build !unix

package main

import "os"

// upgradeSignals: there are none here.
var upgradeSignals []os.Signal

// closeOnExec has nothing to do where nothing is inherited.
func closeOnExec(int, int) {}
