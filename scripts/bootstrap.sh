# What ./run and ./test share: bring a bare Debian or Ubuntu machine to where Naru can run. Sourced, POSIX sh.
#
# Every step looks first and changes only what is missing, so a second run is quick. Nothing is stopped or
# reconfigured that was there before; what is started here can be stopped again by stop_engine.

# shellcheck shell=sh

# Where a server of this machine and this user keeps its state, as naru.cli.settings has it.
if [ "$(id -u)" -eq 0 ]; then STATE=/var/lib/naru; else STATE=$HOME/.local/state/naru; fi
STATE=${NARU_STATE:-$STATE}
ENGINE_PID=$STATE/dockerd.pid
ENGINE_LOG=$STATE/dockerd.log
STARTED_ENGINE=
AS_ENGINE_USER=
APT_IS_FRESH=

say() { printf '%s\n' "· $*"; }

# die CAUSE MEND
die() {
    printf '\n%s\n%s\n' "error: $1" "mend:  $2" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: run it as root, by sudo where needed.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

# can_be_root WHAT_FOR: stop here, rather than half-way, when there is no way to be root.
can_be_root() {
    [ "$(id -u)" -eq 0 ] || has sudo ||
        die "$1 needs root, and $(id -un) has no sudo" "run the same command as root"
}

# ---------------------------------------------------------------------------------------------- Debian's packages

# need PACKAGE WHY: note a package that is missing; install_needed installs all of them in one go.
NEEDED=
need() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] && return
    say "needs $1: $2"
    NEEDED="$NEEDED $1"
}

install_needed() {
    [ -n "$NEEDED" ] || return 0
    has apt-get || die "this system has no apt-get, and these are missing:$NEEDED" \
        "use Debian 12 or Ubuntu 24.04, or install them with the system's own package manager"
    can_be_root "installing:$NEEDED"
    say "installing:$NEEDED (apt-get, no recommended extras)"
    if [ -z "$APT_IS_FRESH" ]; then
        apt update || die "apt-get update failed: $APT_SAYS" "$(explain_apt_failure)"
        APT_IS_FRESH=yes
    fi
    forbid_service_starts
    # shellcheck disable=SC2086  # one word a package
    apt install --yes --no-install-recommends $NEEDED || {
        allow_service_starts
        die "apt-get could not install$NEEDED: $APT_SAYS" "$(explain_apt_failure)"
    }
    allow_service_starts
    case " $NEEDED " in *" caddy "*) keep_off caddy ;; esac
    NEEDED=
}

# apt ARGUMENT…: apt-get that waits for another one's lock, and is silent when all goes well. Else APT_SAYS why.
apt() {
    wait_for_apt
    apt_output=$(mktemp)
    apt_status=0
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -q -o DPkg::Lock::Timeout=600 "$@" \
        >"$apt_output" 2>&1 || apt_status=$?
    APT_SAYS=$(grep '^E:' "$apt_output" | head -n 1)
    [ $apt_status -eq 0 ] || tail -n 12 "$apt_output" >&2
    rm -f "$apt_output"
    return $apt_status
}

explain_apt_failure() {
    case $APT_SAYS in
    *resolving* | *connect* | *"timed out"* | *unreachable*)
        echo "this machine does not reach its package servers: check the network, DNS and any proxy, then run this again" ;;
    *"Unable to locate"* | *"no installation candidate"*)
        echo "use Debian 12 or Ubuntu 24.04 (there with the universe component), then run this again" ;;
    *"No space"* | *"enough free space"*) echo "free some disk space, then run this again" ;;
    *) echo "mend what apt-get names above, then run this again" ;;
    esac
}

# apt-get waits for dpkg's lock by itself, but not for the one on the package lists, and it says nothing meanwhile.
wait_for_apt() {
    waited=0
    while apt_is_busy; do
        [ $waited -eq 0 ] && say "another program is using apt; waiting up to 10 minutes for it"
        [ $waited -lt 600 ] || die "another program has held apt's lock for 10 minutes" \
            "wait for it (ps ax | grep -E 'apt|dpkg'), then run this again"
        sleep 2
        waited=$((waited + 2))
    done
}

# True when a process holds one of apt's locks. /proc/locks names inodes, so no tool beyond coreutils is needed.
apt_is_busy() {
    for lock in /var/lib/apt/lists/lock /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock; do
        [ -e "$lock" ] || continue
        inode=$(stat -c %i "$lock" 2>/dev/null) || continue
        grep -q "POSIX.*WRITE.*:$inode " /proc/locks 2>/dev/null && return 0
    done
    return 1
}

# Packages bring services that start at once (a web server on port 80, a database). Naru runs its own, so starting is
# forbidden while packages are installed, by the switch that Debian has for it.
POLICY=/usr/sbin/policy-rc.d
OUR_POLICY=
forbid_service_starts() {
    [ -e $POLICY ] && return 0
    printf '#!/bin/sh\nexit 101\n' | as_root tee $POLICY >/dev/null
    as_root chmod 755 $POLICY
    OUR_POLICY=yes
}
allow_service_starts() {
    [ -n "$OUR_POLICY" ] && as_root rm -f $POLICY
    OUR_POLICY=
}

# keep_off SERVICE: a service that came with a package only for its program must not start with the machine.
keep_off() {
    has systemctl && as_root systemctl disable --quiet "$1" >/dev/null 2>&1
    return 0
}

# ------------------------------------------------------------------------------------------------------- Python

python_environment() {
    need python3 "Naru is written in Python"
    need python3-venv "a private environment, so that the system's Python stays as it is"
    need ca-certificates "to check the package registries and image registries it talks to"
    install_needed
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "this system's Python is $(python3 -V 2>&1 | cut -d' ' -f2), and Naru needs 3.11 or newer" \
            "use Debian 12 or Ubuntu 24.04"
    # An environment knows its own path, so one that was moved is made anew; so is one whose Python is gone.
    if [ "$(cat .venv/.home 2>/dev/null || pwd)" != "$(pwd)" ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        say "making the Python environment .venv"
        python3 -m venv --clear .venv ||
            die "python3 -m venv failed" "check that this folder is writable and the disk has room"
        pwd >.venv/.home
    fi
    install_pinned requirements.txt "what Naru imports"
    install_pinned requirements-build.txt "what builds it, with Node.js to fetch the console's JavaScript"
}

# install_pinned FILE WHY: install exactly the hashes of FILE, unless that was done already.
install_pinned() {
    stamp=.venv/.installed-$1
    wanted=$({ .venv/bin/python -V && cat "$1"; } | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    say "installing $1 into .venv: $2 (checked against pinned hashes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$1" ||
        die "pip could not install $1 (its messages are above)" \
            "check that this machine reaches its Python package registry (pip config list), then run this again"
    printf '%s' "$wanted" >"$stamp"
}

install_naru() {
    stamp=.venv/.installed-naru
    wanted=$(pwd && sha256sum pyproject.toml hatch_build.py)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        say "installing naru itself into .venv, and the console's JavaScript"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ||
            die "naru could not be installed (messages above)" "mend what they name, then run this again"
        printf '%s' "$wanted" >"$stamp"
    fi
    .venv/bin/python hatch_build.py || exit 1
}

# ---------------------------------------------------------------------------------------------- container engine

# out_of_chroot COMMAND…: in a plain chroot no engine works, so root's COMMAND is started again in a mount namespace of
# which the chroot is the root. Elsewhere nothing happens.
out_of_chroot() {
    [ "$(id -u)" -eq 0 ] && .venv/bin/python scripts/own_root.py --chrooted || return 0
    say "this is a chroot: going on in a mount namespace of its own, which container engines need"
    exec .venv/bin/python scripts/own_root.py "$@"
}

# find_engine: export DOCKER_HOST for the first engine that answers; false when none does.
find_engine() {
    if [ -n "${DOCKER_HOST:-}" ]; then
        engine_answers "$DOCKER_HOST" || die "DOCKER_HOST is $DOCKER_HOST, and no container engine answers there" \
            "start it, or unset DOCKER_HOST to let Naru find or install one"
        return 0
    fi
    runtime=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
    for socket in /var/run/docker.sock /run/podman/podman.sock "$runtime/docker.sock" "$runtime/podman/podman.sock"; do
        [ -S "$socket" ] || continue
        if [ ! -w "$socket" ] && has sudo; then
            reach_as_group "$socket" || continue
        fi
        engine_answers "unix://$socket" || { AS_ENGINE_USER= && continue; }
        DOCKER_HOST=unix://$socket
        export DOCKER_HOST
        return 0
    done
    return 1
}

# A user who may use sudo but is not in the socket's group gets that group for this run alone.
reach_as_group() {
    group=$(stat -c %G "$1")
    [ "$group" != root ] && [ "$group" != UNKNOWN ] || return 1
    say "$1 belongs to the group $group, and $(id -un) is not in it: using sudo for that group, for this run only"
    AS_ENGINE_USER="sudo -E -u $(id -un) -g $group --"
}

# engine_answers URL: true when a Docker-compatible API answers there. Needs no client program.
engine_answers() {
    $AS_ENGINE_USER "$(pwd)/.venv/bin/python" scripts/engine_answers.py "$1"
}

ensure_engine() {
    find_engine && { say "container engine: $DOCKER_HOST"; return 0; }
    [ "$(uname -s)" = Linux ] || die "no container engine answers" "start Docker Desktop or Podman Desktop, then run this again"
    need docker.io "the container engine, since no Docker or Podman socket answers"
    need iptables "the container engine sets up its network with it"
    install_needed
    start_engine
    find_engine || die "the container engine answers root but not $(id -un)" "run the same command as root"
    say "container engine: $DOCKER_HOST"
}

start_engine() {
    can_be_root "starting a container engine"
    if [ -d /run/systemd/system ]; then
        say "starting the container engine (systemctl start docker)"
        as_root systemctl start docker ||
            die "systemctl start docker failed" "see: journalctl -u docker -n 50"
        STARTED_ENGINE=systemd
        return
    fi
    (umask 077 && mkdir -p "$STATE")
    mount_cgroups
    say "starting the container engine in the background (no systemd here); its log: $ENGINE_LOG"
    as_root sh scripts/start-dockerd.sh "$ENGINE_PID" "$ENGINE_LOG"
    STARTED_ENGINE=process
    waited=0
    until as_root "$(pwd)/.venv/bin/python" scripts/engine_answers.py unix:///var/run/docker.sock; do
        waited=$((waited + 1))
        if [ $waited -gt 60 ] || ! as_root sh -c "kill -0 \"\$(cat '$ENGINE_PID')\"" 2>/dev/null; then
            [ $waited -gt 2 ] || { sleep 1; continue; }
            stop_engine
            ENGINE_SAYS=$(sed -n '/^failed to start/,$p' "$ENGINE_LOG" | tr '\n' ' ')
            die "the container engine did not start: ${ENGINE_SAYS:-its log has the reason}" "$(explain_engine_failure)"
        fi
        sleep 1
    done
}

explain_engine_failure() {
    case $ENGINE_SAYS in
    *iptables* | *nf_tables* | *"network controller"*)
        echo "packet filter rules are refused: this place lacks CAP_NET_ADMIN, or its kernel nf_tables; run on the host" ;;
    *cgroup*) echo "mount the control groups on /sys/fs/cgroup (or bind the host's), then run this again" ;;
    *graphdriver* | *ermitted* | *denied*)
        echo "a container engine may not run here (no CAP_SYS_ADMIN?): run on the host, or set DOCKER_HOST to another engine" ;;
    *) echo "see $ENGINE_LOG, or start an engine yourself and run this again" ;;
    esac
}

# In a bare chroot nobody has mounted the control groups that containers are limited with.
mount_cgroups() {
    [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ] && return 0
    say "mounting control groups on /sys/fs/cgroup: the container engine limits containers with them"
    as_root sh scripts/mount-cgroups.sh ||
        die "control groups cannot be mounted here" \
            "bind the host's /sys/fs/cgroup into this place, or set DOCKER_HOST to an engine elsewhere"
}

# stop_engine: stop the engine that this run started, and no other.
stop_engine() {
    case $STARTED_ENGINE in
    systemd) as_root systemctl stop docker.socket docker containerd ;;
    process) as_root sh scripts/stop-dockerd.sh "$ENGINE_PID" ;;
    esac || true
    STARTED_ENGINE=
}
