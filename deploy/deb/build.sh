#!/bin/sh
# Makes a Debian package of a binary: deploy/deb/build.sh BINARY VERSION ARCH FOLDER [HERE]
# HERE is the same program for this machine, if BINARY can not run on it. With
# SOURCE_DATE_EPOCH the same binary makes the same package.
set -eu
binary=$1 version=$2 arch=$3 out=$4 here_binary=${5:-$1}
here=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/lib/systemd/system" "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" "$root/usr/share/doc/gatehouse" "$out"
chmod 755 "$root"
install -m 755 "$binary" "$root/usr/bin/gatehouse"
install -m 644 "$here/systemd/gatehouse.service" "$here/systemd/gatehouse.socket" "$root/lib/systemd/system/"
install -m 644 "$here/../LICENSE" "$root/usr/share/doc/gatehouse/copyright"
"$here_binary" man | gzip -9n > "$root/usr/share/man/man1/gatehouse.1.gz"
"$here_binary" completion bash > "$root/usr/share/bash-completion/completions/gatehouse"
cat > "$root/DEBIAN/control" <<CONTROL
Package: gatehouse
Version: ${version#v}
Architecture: $arch
Maintainer: Gatehouse <gatehouse@localhost>
Section: net
Priority: optional
Recommends: ca-certificates
Description: single sign-on in front of web services
 A reverse proxy that signs people in by SAML and OpenID Connect, decides who
 may use which service, and makes their accounts where they need one.
CONTROL
cat > "$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	getent passwd gatehouse >/dev/null || useradd --system --home-dir /var/lib/gatehouse --no-create-home --shell /usr/sbin/nologin --user-group gatehouse
	mkdir -p /etc/gatehouse
	chgrp gatehouse /etc/gatehouse
	chmod 750 /etc/gatehouse
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
		if systemctl --quiet is-active gatehouse.service; then
			/usr/bin/gatehouse upgrade -c /etc/gatehouse/gatehouse.yaml || systemctl try-restart gatehouse.service || true
		fi
	fi
fi
POSTINST
cat > "$root/DEBIAN/prerm" <<'PRERM'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl stop gatehouse.service gatehouse.socket || true
fi
PRERM
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
dpkg-deb --root-owner-group -Zgzip --build "$root" "$out/gatehouse_${version#v}_$arch.deb"
