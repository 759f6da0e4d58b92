#!/bin/bash
# sandbox.sh EMPTY-FOLDER REPOSITORY COMMAND...: runs COMMAND as root of a folder tree that is this machine's at the start. Whatever it
# writes, removes or mounts is gone at its end, and never reaches the machine: every file system it can write is in memory.
# Called within namespaces of its own (mount, pid, net, uts, ipc).
set -euo pipefail
new=$1 repository=$2; shift 2
[ "$$" = 1 ] || { echo "sandbox.sh: only as the first process of a pid namespace" >&2; exit 2; }
mount --make-rprivate /
mount -t tmpfs -o mode=0755 rehearsal "$new"
mkdir "$new/changes" "$new/work" "$new/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$new/changes,workdir=$new/work" "$new/root"
root=$new/root
touch "$root/.rehearsal"
for folder in tmp run var/tmp dev sys; do mount -t tmpfs -o mode=0755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp" "$root/var/tmp"
mount -t proc proc "$root/proc"
# The kernel's settings are the machine's own.
for path in "$root/proc/sys" "$root/proc/sysrq-trigger"; do
  if [ -e "$path" ]; then mount --bind "$path" "$path"; mount -o remount,bind,ro "$path"; fi
done
mknod -m 0666 "$root/dev/null" c 1 3; mknod -m 0666 "$root/dev/zero" c 1 5; mknod -m 0666 "$root/dev/full" c 1 7
mknod -m 0666 "$root/dev/random" c 1 8; mknod -m 0666 "$root/dev/urandom" c 1 9; mknod -m 0666 "$root/dev/tty" c 5 0
ln -s /proc/self/fd "$root/dev/fd"; ln -s /proc/self/fd/0 "$root/dev/stdin"; ln -s /proc/self/fd/1 "$root/dev/stdout"; ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir -m 1777 "$root/dev/shm"; mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir -p "$root/run/lock"
mkdir -p "$root$repository"
mount --bind "$repository" "$root$repository"
mount -o remount,bind,ro "$root$repository"
ip link set lo up
for address in 10.0.2.1 10.0.2.2 10.0.2.3; do ip address add "$address/32" dev lo; done
cd "$root"
mkdir -p .machine
pivot_root . .machine
cd /
umount -l /.machine
rmdir /.machine
if ! [ -e /.rehearsal ] || [ -e /.machine ] || ! grep -q '^overlay / overlay ' /proc/self/mounts; then
  echo "sandbox.sh: the folder tree is not one in memory; nothing was run" >&2; exit 2
fi
hostname rehearsal
cd "$repository"
exec "$@"
