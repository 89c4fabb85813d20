#!/bin/sh
# OpenSSH's sshd on loopback, for files alone, as whoever starts it.
#
#	run.sh PORT FOLDER
#
# It makes its keys in the working directory: host, user (let in by it), and a
# known_hosts with its own key. FOLDER is where the user begins.
set -eu
port=$1 folder=$2 here=$(pwd)

for key in host user; do
    [ -f "$key" ] || ssh-keygen -q -t ed25519 -N '' -f "$key"
done
# sshd does not read keys that others could have written.
chmod 600 host user
echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 host.pub)" >known_hosts
cp user.pub authorized_keys

# Without PAM sshd lets nobody in whose password is locked, not even by key.
pam=no
if [ "$(id -u)" = 0 ]; then
    mkdir -p /run/sshd # where it separates its privileges; no init made it here
    case $(getent shadow root | cut -d: -f2) in '!'*) pam=yes ;; esac
fi
cat >sshd_config <<C
ListenAddress 127.0.0.1:$port
HostKey $here/host
PidFile $here/sshd.pid
AuthorizedKeysFile $here/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM $pam
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d $folder
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTTY no
C
exec /usr/sbin/sshd -D -e -f "$here/sshd_config"
