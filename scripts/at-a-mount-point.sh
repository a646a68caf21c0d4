#!/bin/sh
# at-a-mount-point.sh COMMAND…: run COMMAND, in the same folder, with / bound to itself. Run as root, in a mount
# namespace of its own. The bind goes over /proc because that is a mount we may make private first: bound anywhere else
# it would spread to the machine around the chroot. Inside the bind, /proc is the old one.
set -eu
here=$(pwd)
mount --make-private /proc
mount --rbind --make-rslave / /proc
# shellcheck disable=SC2016  # the inner shell expands these
exec chroot /proc sh -c 'cd "$1" && shift && exec "$@"' sh "$here" "$@"
