#!/bin/sh
# stop-dockerd.sh PIDFILE: stop the dockerd of that pid file and wait until it is gone. Run as root.
pid=$(cat "$1" 2>/dev/null) || exit 0
kill "$pid" 2>/dev/null || exit 0
for _ in $(seq 60); do
    kill -0 "$pid" 2>/dev/null || exit 0
    sleep 0.5
done
kill -KILL "$pid"
