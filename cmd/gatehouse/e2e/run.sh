#!/bin/sh
# Runs the end-to-end tests. What they need and this machine lacks is installed
# first, and said before: a browser, PHP with SimpleSAMLphp, Node and OpenSSH from Debian,
# some programs from npm. More arguments go to `go test`.
#
# GATEHOUSE_E2E_CACHE  where npm's programs are kept; default ~/.cache/gatehouse-e2e
set -eu
cd "$(dirname "$0")"

cache=${GATEHOUSE_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gatehouse-e2e}
export GATEHOUSE_E2E_CACHE="$cache"
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo

# Debian's packages, by what each is needed for.
missing=
need() { # need COMMAND-OR-FILE PACKAGE...
    if ! command -v "$1" >/dev/null 2>&1 && ! [ -e "$1" ]; then
        shift
        missing="$missing $*"
    fi
}
need chromium chromium
need php php-cli
need /usr/share/simplesamlphp/www/index.php simplesamlphp php-xml php-sqlite3 php-mbstring php-curl
need node nodejs
need npm npm
need /usr/sbin/sshd openssh-server
need ssh-keygen openssh-client
need python3 python3
need jq jq
need nginx nginx-light
need caddy caddy
need haproxy haproxy
need /usr/sbin/slapd slapd
need ldapsearch ldap-utils
need promtool prometheus
if command -v php >/dev/null 2>&1; then
    for module in dom:xml pdo_sqlite:sqlite3 mbstring:mbstring curl:curl; do
        php -m | grep -qi "^${module%%:*}\$" || missing="$missing php-${module##*:}"
    done
fi

if [ -n "$missing" ]; then
    echo "e2e: installing from Debian:$missing"
    # Nothing that is installed here is to start by itself.
    if ! [ -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
        $as_root chmod +x /usr/sbin/policy-rc.d
        trap '$as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of packages
    if ! { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
        grep -E '^E:' "$log" | sed 's#[a-z]*://[^ ]*#…#g' >&2
        echo "e2e: apt-get did not install$missing — see $log, or install them yourself" >&2
        exit 1
    fi
    rm -f "$log"
fi

# npm's programs, exactly those of the lock file.
wanted=$(cat peers/package.json peers/package-lock.json | sha256sum)
if [ "$(cat "$cache/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "e2e: installing from npm into $cache: axe-core express newman oidc-provider samlp scimmy scimmy-routers"
    mkdir -p "$cache"
    cp peers/package.json peers/package-lock.json "$cache/"
    log=$(mktemp)
    if ! npm ci --prefix "$cache" --no-fund --no-audit --ignore-scripts --loglevel=error >"$log" 2>&1; then
        sed 's#[a-z]*://[^ ]*#…#g' "$log" >&2
        echo "e2e: npm did not install what peers/package-lock.json lists" >&2
        exit 1
    fi
    rm -f "$log"
    printf '%s\n' "$wanted" >"$cache/installed"
fi

# oidc-provider needs a younger Node than Debian 12 has.
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    if ! [ -x "$cache/node/node_modules/node/bin/node" ]; then
        echo "e2e: installing Node 22 from npm into $cache/node"
        npm install --prefix "$cache/node" --no-fund --no-audit --loglevel=error node@22 >/dev/null 2>&1 || {
            echo "e2e: Node 20 or younger is needed, and npm did not install it" >&2
            exit 1
        }
    fi
    export GATEHOUSE_E2E_NODE="$cache/node/node_modules/node/bin/node"
fi

# Programs of Go modules, at these versions: an authority for certificates, and what
# reads the chart.
for module in github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1 helm.sh/helm/v3/cmd/helm@v3.19.0; do
    name=${module##*/}
    name=${name%@*}
    if [ "$(cat "$cache/bin/$name.version" 2>/dev/null)" != "$module" ]; then
        echo "e2e: building $module into $cache/bin"
        mkdir -p "$cache/bin"
        if ! (cd "$cache" && GOBIN="$cache/bin" CGO_ENABLED=0 go install "$module") >"$cache/bin/$name.log" 2>&1; then
            echo "e2e: $name could not be built — see $cache/bin/$name.log" >&2
            exit 1
        fi
        printf '%s\n' "$module" >"$cache/bin/$name.version"
    fi
done

rm -rf out
echo "e2e: running; pictures of the pages come into $PWD/out"
go test -tags e2e -timeout 20m -parallel 3 "$@" .
