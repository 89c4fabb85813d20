package files

import "github.com/gatehouse-sso/gatehouse/provisioning/store"

// NewDry is for tests.
func NewDry(tx store.Tx) store.Tx { return newDry(tx) }
