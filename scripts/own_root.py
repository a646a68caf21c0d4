"""Make a chroot the root of a mount namespace of its own, because container engines need that.

`own_root.py --chrooted` exits 0 when / is not the root of our mount namespace: there, an engine cannot unpack images,
and `exec` into a container would land outside the chroot. `own_root.py COMMAND…` runs COMMAND in the same folder, in a
new namespace whose root is this chroot. Mounts made there do not spread to the machine around. Both need root
(CAP_SYS_ADMIN and CAP_SYS_CHROOT).
"""

import ctypes
import os
import sys

# <sched.h>, <linux/mount.h>
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 1 << 12, 1 << 14, 1 << 18, 1 << 19
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: bytes | int | None) -> None:
    """Call the C library; raises OSError naming the call."""
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def chrooted() -> bool:
    """Whether the root of our mount namespace is another folder than /. A child asks, and loses its root by asking."""
    child = os.fork()
    if child == 0:
        ours = os.stat("/")
        try:
            call("unshare", CLONE_NEWNS)
            to_namespace_root()
            os._exit(0 if os.path.samestat(ours, os.stat("/")) else 1)
        except OSError:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def to_namespace_root() -> None:
    """Make the root of our mount namespace our root: setns(2) does that even for the namespace we are in."""
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    call("setns", namespace, CLONE_NEWNS)
    os.close(namespace)


def own_root() -> None:
    """Pivot into the chroot, see pivot_root(2): the new root must be a mount, and its parent must not be shared."""
    here = os.getcwd()
    call("unshare", CLONE_NEWNS)
    chroot = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    to_namespace_root()
    call("mount", None, b"/", None, MS_SLAVE | MS_REC, None)
    # Seen from the namespace's root, the chroot has a path; entering it anew after the bind enters the bind.
    os.fchdir(chroot)
    path = os.getcwd().encode()
    call("mount", path, path, None, MS_BIND | MS_REC, None)
    os.chdir(path)
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir(here)


if __name__ == "__main__":
    if sys.argv[1:] == ["--chrooted"]:
        sys.exit(0 if chrooted() else 1)
    try:
        own_root()
    except OSError as failure:
        sys.exit(
            f"\nerror: this chroot cannot have a mount namespace of its own ({failure})\n"
            "mend:  set DOCKER_HOST to a container engine outside of it, or use a virtual machine or systemd-nspawn"
        )
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the caller's own command
