#!/usr/bin/env bash
# What things cost: a request, a sign-in, a decision, SCIM beside scimmy-routers (if
# `make e2e` has installed it). Parts: -part scim -users 1000000 -scratch /dev/shm.
# Everything runs on loopback
# and ends by itself after a few minutes. Compare figures of one run only.
set -euo pipefail
cd "$(dirname "$0")/../../.."
mkdir -p bin
CGO_ENABLED=0 go build -trimpath -o bin/gatehouse ./cmd/gatehouse
CGO_ENABLED=0 go build -trimpath -o bin/gatehouse-bench ./cmd/gatehouse/bench
pin=
if command -v taskset >/dev/null && [ "$(nproc)" -gt 1 ]; then pin="taskset -c 1"; fi
$pin bin/gatehouse-bench -gatehouse bin/gatehouse "$@"
echo
go test -run '^$' -bench 'Decide|Release|Explain' -benchmem ./authz
go test -run '^$' -bench 'Login' -benchmem ./provisioning
go test -run '^$' -bench 'Update|View' -benchtime 2000x ./provisioning/store/boltstore
go test -run '^$' -bench 'Import' -benchtime 10000x ./provisioning/outbox
go test -run '^$' -bench 'Lag' -benchtime 2000x ./provisioning/outbox
go test -run '^$' -bench 'Wait' -benchtime 300x ./provisioning/outbox
go test -run '^$' -bench 'Converge' -benchtime 2000x ./provisioning/outbox
