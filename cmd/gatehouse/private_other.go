//go:build !unix

package main

import "net"

// listenPrivate listens on a new Unix socket. Files have no modes here: who may
// come in is who may open its folder.
func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }
