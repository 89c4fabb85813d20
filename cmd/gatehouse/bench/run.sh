#!/usr/bin/env bash
# What things cost: a request, beside nginx and Apache with mod_auth_openidc and
# mod_auth_mellon (installed from Debian if they are missing), a sign-in, a decision,
# SCIM beside scimmy-routers (if `make e2e` has installed it). Parts: -part scim -users 1000000 -scratch /dev/shm.
# Everything runs on loopback
# and ends by itself: the whole in less than an hour, a part in minutes. Compare figures of one run only.
set -euo pipefail
cd "$(dirname "$0")/../../.."
missing=
command -v nginx >/dev/null || missing="$missing nginx-light"
modules=/usr/lib/apache2/modules
[ -e $modules/mod_auth_openidc.so ] || missing="$missing apache2 libapache2-mod-auth-openidc"
[ -e $modules/mod_auth_mellon.so ] || missing="$missing apache2 libapache2-mod-auth-mellon"
if [ -n "$missing" ] && command -v apt-get >/dev/null; then
	echo "bench: installing from Debian:$missing"
	as_root=
	[ "$(id -u)" = 0 ] || as_root=sudo
	# Nothing that is installed here is to start by itself.
	if ! [ -e /usr/sbin/policy-rc.d ]; then
		printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
		$as_root chmod +x /usr/sbin/policy-rc.d
		trap '$as_root rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	# shellcheck disable=SC2086 # a list of packages
	{ $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
		echo "bench: apt-get did not install$missing; they are left out" >&2
fi
mkdir -p bin
CGO_ENABLED=0 go build -trimpath -o bin/gatehouse ./cmd/gatehouse
CGO_ENABLED=0 go build -trimpath -o bin/gatehouse-bench ./cmd/gatehouse/bench
go test -c -o bin/outbox.test ./provisioning/outbox
pin=
if command -v taskset >/dev/null && [ "$(nproc)" -gt 1 ]; then pin="taskset -c 1"; fi
$pin bin/gatehouse-bench -gatehouse bin/gatehouse "$@"
case " $*" in *" -part "*) exit ;; esac # what follows are parts without a name
echo
go test -run '^$' -bench 'Decide|Release|Explain' -benchmem ./authz
go test -run '^$' -bench 'Login' -benchmem ./provisioning
go test -run '^$' -bench 'Update|View' -benchtime 2000x ./provisioning/store/boltstore
