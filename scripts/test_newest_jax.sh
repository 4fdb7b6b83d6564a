#!/usr/bin/env bash
# The tests with the newest jax that is allowed, which needs a newer Python than Debian 12 has: in a Debian 13 beside it.
# Needs root, debootstrap (apt-get install debootstrap) and 4 GB. Arguments are those of pytest; by default all tests.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
system=${NEWEST:-/tmp/reparax-newest}

if ! test -x "$system/usr/bin/python3"; then
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,git,make trixie "$system" \
    http://deb.debian.org/debian
fi
cp /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/" # of a proxy, where there is one
cp /etc/resolv.conf "$system/etc/"
mkdir -p "$system/root/shared"
mountpoint -q "$system/proc" || mount --bind /proc "$system/proc"
mountpoint -q "$system/dev" || mount --bind /dev "$system/dev"
if test -d "$here/../shared"; then
  mountpoint -q "$system/root/shared" || mount --bind "$here/../shared" "$system/root/shared"
fi
# What is not committed is tested too, into the environment of the last time.
mkdir -p "$system/root/main" && rm -rf "$system/root/main/src" "$system/root/main/tests"
git -C "$here" ls-files -co --exclude-standard -z | tar -C "$here" --null --ignore-failed-read -T - -cf - | tar -C "$system/root/main" -xf -
chroot "$system" env -u PIP_FIND_LINKS make -C /root/main install
# There are no cores to count without /sys, and warnings are errors. Types are checked against the locked releases alone.
test $# -gt 0 || set -- tests
chroot "$system" env LOKY_MAX_CPU_COUNT=1 XLA_FLAGS=--xla_backend_optimization_level=0 JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
  bash -c 'cd /root/main && exec .venv/bin/python -m pytest -n "${JOBS:-2}" --dist worksteal -m "not full" "$@"' run "$@"
