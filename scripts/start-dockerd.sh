#!/bin/sh
# start-dockerd.sh PIDFILE LOG: start dockerd as a background process on the default socket. Run as root.
# Only for machines without systemd: there, the service of the package does this.
set -eu
pidfile=$1 log=$2

# A pid left over from before a reboot may belong to another program by now; dockerd would refuse to start.
if [ -e "$pidfile" ] && [ "$(cat "/proc/$(cat "$pidfile")/comm" 2>/dev/null)" != dockerd ]; then
    rm -f "$pidfile"
fi

# Where the kernel has only the older packet filter, dockerd alone is given the older tools: the system's choice stays.
if ! iptables -t nat -S >/dev/null 2>&1 && iptables-legacy -t nat -S >/dev/null 2>&1; then
    tools=$(dirname "$pidfile")/iptables-legacy
    mkdir -p "$tools"
    ln -sf /usr/sbin/iptables-legacy "$tools/iptables"
    ln -sf /usr/sbin/ip6tables-legacy "$tools/ip6tables"
    PATH=$tools:$PATH
fi

# In a session of its own, so that Ctrl-C in the terminal reaches Naru first and not the engine under it.
PATH=$PATH:/usr/sbin:/sbin setsid dockerd --host unix:///var/run/docker.sock --pidfile "$pidfile" \
    </dev/null >"$log" 2>&1 &
