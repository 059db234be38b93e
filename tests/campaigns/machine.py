"""What is below the campaigns: processes, mounts, and the sweep that leaves nothing behind.

Run as a program (python3 machine.py DIR) it is the janitor: it waits for the end of its standard input and sweeps DIR."""
import collections
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "..", ".."))
SKIPPED = 77

Read = collections.namedtuple("Read", "status data")  # status: 0 or an errno
Done = collections.namedtuple("Done", "status out err seconds")


class Skip(Exception):
    """The campaign cannot be run here."""


class GiveUp(Exception):
    """So much is wrong that the rest says nothing new."""


class Broken(Exception):
    """The product did not do what the campaign needs to go on (counts as failed)."""


def campaigns():
    """The files that say how many rounds they take; the others are what several campaigns share."""
    found = []
    for file in os.listdir(HERE):
        if file.endswith(".py"):
            with open(os.path.join(HERE, file)) as f:
                if re.search(r"^SHORT, LONG = ", f.read(), re.M):
                    found.append(file[:-3])
    return sorted(found)


# ---- processes and mounts ------------------------------------------------------------------------------------------


def mounts_below(directory):
    """Mount points at or below it, deepest first."""
    found = []
    with open("/proc/self/mountinfo", errors="surrogateescape") as f:
        for line in f:
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
            if point == directory or point.startswith(directory + "/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def processes_below(directory):
    """Processes that have their working directory or an open file below it."""
    found = set()
    mine = {os.getpid(), os.getppid()}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) in mine:
            continue
        links = ["/proc/%s/cwd" % pid]
        try:
            links += ["/proc/%s/fd/%s" % (pid, fd) for fd in os.listdir("/proc/%s/fd" % pid)]
        except OSError:
            pass
        for link in links:
            try:
                to = os.readlink(link)
            except OSError:
                continue
            if to.startswith(directory + "/") and not to.endswith(".log"):
                found.add(int(pid))
                break
    return found


def processes_with(*words):
    """Living processes that have all these words among their arguments."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                args = os.fsdecode(f.read()).split("\0")  # empty for a zombie, and in the middle of exec
            begins = args == [""] and os.readlink("/proc/%s/exe" % pid) == words[0]
        except OSError:
            continue
        if begins or all(w in args for w in words):
            found.append(int(pid))
    return found


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def wait_gone(pid, seconds):
    """True when the process has ended (and given back its files and locks) within the time."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def sweep_mount(mnt):
    """Detaches a dead mount."""
    for point in mounts_below(mnt):
        if os.geteuid() == 0:
            ctypes.CDLL(None).umount2(os.fsencode(point), 2)
        else:
            subprocess.run(["fusermount3", "-uz", point], stderr=subprocess.DEVNULL, timeout=20)


def sweep(directory):
    """Takes away all that was left below the directory, and the directory."""
    for _ in range(5):
        for point in mounts_below(directory):
            if os.geteuid() == 0:
                ctypes.CDLL(None).umount2(os.fsencode(point), 2)  # MNT_DETACH
            else:
                subprocess.run(["fusermount3", "-uz", point], stderr=subprocess.DEVNULL, timeout=20)
        left = processes_below(directory)
        for pid in left:
            kill(pid)
        for pid in left:
            wait_gone(pid, 2)
        if not left and not mounts_below(directory):
            break
    for loop in os.listdir("/sys/block") if os.path.isdir("/sys/block") else ():
        try:
            with open("/sys/block/%s/loop/backing_file" % loop) as f:
                ours = f.read().startswith(directory + "/")
        except OSError:
            continue
        if ours:
            subprocess.run(["losetup", "-d", "/dev/" + loop], stderr=subprocess.DEVNULL, timeout=20)
    shutil.rmtree(directory, ignore_errors=True)


def janitor(directory):
    """The process that sweeps when its parent is gone."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    sys.stdin.buffer.read()
    if os.path.isdir(directory):
        sweep(directory)
    return 0


def on_signal(sig, _frame):
    raise SystemExit(128 + sig)


def run_process(argv, timeout=60, user=None, env=None, cwd=None, text=None):
    """Runs a program to its end. A program that does not end is killed: status -9 and "time limit" in err."""
    begin = time.monotonic()
    how = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
    try:
        p = subprocess.run(argv, input=text, stdin=subprocess.DEVNULL if text is None else None, env=env, cwd=cwd,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **how)
        return Done(p.returncode, p.stdout, p.stderr, time.monotonic() - begin)
    except subprocess.TimeoutExpired as e:
        return Done(-9, e.stdout or b"", (e.stderr or b"") + b" [time limit of %d s]" % timeout,
                    time.monotonic() - begin)


if __name__ == "__main__":
    sys.exit(janitor(sys.argv[1]))
