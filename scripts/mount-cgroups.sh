#!/bin/sh
# Mount control groups on /sys/fs/cgroup the way this kernel has them set up already. Run as root.
# Version 2 has the one line "0::/…" in /proc/self/cgroup; version 1 has a line for every hierarchy.
set -eu
target=/sys/fs/cgroup
[ -d $target ] || mount -t sysfs sysfs /sys

if ! grep -qv '^0::' /proc/self/cgroup; then
    mount -t cgroup2 cgroup2 $target
    exit
fi

mount -t tmpfs -o mode=755 cgroup $target
while IFS=: read -r hierarchy controllers _; do
    name=${controllers#name=}
    case $hierarchy:$controllers in
    0:*) mkdir $target/unified && mount -t cgroup2 cgroup2 $target/unified ;;
    *:name=*) mkdir "$target/$name" && mount -t cgroup -o "none,name=$name" cgroup "$target/$name" ;;
    *) mkdir "$target/$name" && mount -t cgroup -o "$controllers" cgroup "$target/$name" ;;
    esac
done </proc/self/cgroup
