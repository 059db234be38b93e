"""A place of its own for a campaign (store, mount, tasks, counters), and the ledger of what was acknowledged."""
import collections
import errno
import json
import os
import tempfile
import threading
import time

from machine import (Broken, Read, kill, mounts_below, processes_below, run_process, sweep_mount, wait_gone)

# ---- the tasks that all campaigns know -----------------------------------------------------------------------------


def sh(text):
    """A command that gives the text to a shell (braces are the task file's own, so they are doubled)."""
    return ["sh", "-c", text.replace("{", "{{").replace("}", "}}")]


# The counter first, then the wait, then the bytes; builtins only, so that an execution is cheap.
WORK = r"""
echo "$INPUT_ID" >>"$COUNT/log"
[ "$INPUT_NAP" = 0 ] || sleep "$INPUT_NAP"
[ "$INPUT_GATE" = - ] || while [ ! -e "$COUNT/gate-$INPUT_GATE" ]; do sleep 0.02; done
s="$INPUT_ID|"
while [ ${#s} -lt "$INPUT_SIZE" ]; do s=$s$s; done
[ "$INPUT_SIZE" = 0 ] || printf "%.${INPUT_SIZE}s" "$s"
[ "$INPUT_FAIL" = false ]
"""


def work_name(name, size=64, nap="0", gate="-", fail=False):
    """The canonical component of an instance of the task "work"."""
    parts = []
    if fail:
        parts.append("fail=true")
    if gate != "-":
        parts.append("gate=" + gate)
    parts.append("id=" + name)
    if nap != "0":
        parts.append("nap=" + nap)
    if size != 64:
        parts.append("size=%d" % size)
    return ",".join(parts)


def work_path(name, **inputs):
    return "tasks/work/1/" + work_name(name, **inputs)


def work_bytes(name, size=64, **_):
    """The oracle: what the instance gives."""
    part = (name + "|").encode()
    return (part * (size // len(part) + 1))[:size]


class Place:
    """A store, a mount and task files of their own. Counters lie outside the store: they survive what it goes through."""

    def __init__(self, c, store=None):
        self.c = c
        self.dir = tempfile.mkdtemp(prefix="place-", dir=c.dir)
        os.chmod(self.dir, 0o755)
        self.store = store or os.path.join(self.dir, "store")
        self.mnt = os.path.join(self.dir, "mnt")
        self.tasks = os.path.join(self.dir, "tasks")
        self.count = os.path.join(self.dir, "count")
        for d in (self.mnt, self.tasks, self.count):
            os.mkdir(d)
        os.chmod(self.count, 0o1777)
        self.env = dict(os.environ, XDG_DATA_HOME=os.path.join(self.dir, "xdg"), LC_ALL="C.UTF-8")
        for name in ("MEMOFS_STORE", "MEMOFS_MOUNT"):
            self.env.pop(name, None)
        self.daemon = None
        self.mount_seconds = 0.0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        return False

    # -- commands

    def mem(self, *args, timeout=60, user=None, env=None):
        """memofs --store … ARGS: Done."""
        return run_process([self.c.memofs, "--store", self.store, *map(str, args)], timeout * self.c.slow, user,
                           env or self.env)

    def must(self, *args, **how):
        """The same, and it has to succeed: its standard output as text."""
        done = self.mem(*args, **how)
        if done.status != 0:
            raise Broken("memofs %s: exit %d: %s" % (" ".join(map(str, args)), done.status,
                                                      done.err.decode(errors="replace").strip()))
        return done.out.decode(errors="replace")

    def init(self, **settings):
        """Makes the store. Tasks may write their counters."""
        if not os.path.exists(os.path.join(self.store, "format")):
            self.must("init", self.store)
        self.must("config", "writable", self.count)
        for key, value in settings.items():
            self.must("config", key, value)

    # -- the daemon

    def mount(self, *options, wrapper=(), env=None, timeout=60):
        """Mounts; the store is made first when there is none. Remembers the daemon and how long it took."""
        if not os.path.exists(os.path.join(self.store, "format")):
            self.init()
        begin = time.monotonic()
        done = run_process([*wrapper, self.c.memofs, "--store", self.store, "mount", self.mnt, *options],
                           timeout * self.c.slow, None, dict(self.env, **(env or {})))
        self.mount_seconds = time.monotonic() - begin
        if done.status != 0:
            raise Broken("mount: exit %d: %s" % (done.status, done.err.decode(errors="replace").strip()))
        self.daemon = self.owner()
        if self.daemon is None:
            raise Broken("mount: no daemon holds the store")
        return done

    def owner(self):
        """The process that has the store, by the lock file's text when that names a living memofs, else by looking."""
        lock = os.path.join(self.store, "lock")
        try:
            with open(lock) as f:
                pid = int(f.read().split()[0])
            if os.path.basename(os.readlink("/proc/%d/exe" % pid)) == os.path.basename(self.c.memofs):
                return pid
        except (OSError, ValueError, IndexError):
            pass
        for link in processes_below(self.store):
            try:
                if any(os.readlink("/proc/%d/fd/%s" % (link, fd)) == lock for fd in os.listdir("/proc/%d/fd" % link)):
                    return link
            except OSError:
                continue
        return None

    def kill9(self):
        """SIGKILL to the daemon; returns when it is gone. The dead mount stays, as after any crash."""
        pid, self.daemon = self.daemon, None
        if pid is None:
            return
        kill(pid)
        if not wait_gone(pid, 20):
            raise Broken("the daemon %d is still there 20 s after SIGKILL" % pid)

    def umount(self, timeout=60):
        """The proper end: unmounts and waits for the daemon."""
        done = self.mem("umount", self.mnt, timeout=timeout)
        pid, self.daemon = self.daemon, None
        if done.status != 0:
            raise Broken("umount: exit %d: %s" % (done.status, done.err.decode(errors="replace").strip()))
        if pid is not None and not wait_gone(pid, timeout * self.c.slow):
            raise Broken("the daemon is still there %d s after umount" % timeout)

    def alive(self):
        return self.daemon is not None and not wait_gone(self.daemon, 0)

    def stop(self):
        """Ends what is there, by the proper way when a daemon is alive."""
        if self.alive():
            self.umount()
        elif mounts_below(self.mnt):
            sweep_mount(self.mnt)

    # -- tasks

    def task(self, name, definition, files=None):
        """Registers a task; "memofs" and "name" are filled in, files are those beside task.json."""
        d = os.path.join(self.tasks, name)
        os.makedirs(d, exist_ok=True)
        for file, text in (files or {}).items():
            with open(os.path.join(d, file), "w") as f:
                f.write(text)
            os.chmod(os.path.join(d, file), 0o755)
        with open(os.path.join(d, "task.json"), "w") as f:
            json.dump({"memofs": 1, "name": name, **definition}, f)
        return self.must("add", os.path.join(d, "task.json"))

    def task_work(self):
        """The task "work": inputs id, size, nap (seconds to sleep), gate (a file to wait for), fail."""
        self.task("work", {
            "version": "1",
            "inputs": {"id": {"type": "string"}, "size": {"type": "int", "default": 64},
                       "nap": {"type": "string", "default": "0"}, "gate": {"type": "string", "default": "-"},
                       "fail": {"type": "boolean", "default": False}},
            "env": {"COUNT": self.count},
            "command": sh(WORK)})

    def gate_open(self, gate):
        with open(os.path.join(self.count, "gate-" + gate), "w"):
            pass

    def executions(self, name=None):
        """How often the id was executed; all executions without one."""
        try:
            with open(os.path.join(self.count, "log"), errors="replace") as f:
                lines = f.read().split("\n")[:-1]
        except FileNotFoundError:
            return 0
        return len(lines) if name is None else lines.count(name)

    # -- reading

    def read(self, path, limit=1 << 31):
        """Reads the whole file by plain calls of this process: Read. Waits as long as the mount lets it wait: the
        watchdog is the limit. For many readers use threads, or cat()."""
        data = bytearray()
        try:
            fd = os.open(os.path.join(self.mnt, path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            return Read(e.errno, b"")
        try:
            while len(data) < limit:
                part = os.read(fd, 1 << 17)
                if not part:
                    break
                data += part
            return Read(0, bytes(data))
        except OSError as e:
            return Read(e.errno, bytes(data))
        finally:
            os.close(fd)

    def cat(self, path, timeout=60, user=None):
        """The same through cat in a process of its own; the status is EIO for any failure, ETIMEDOUT for none."""
        done = run_process(["cat", os.path.join(self.mnt, path)], timeout * self.c.slow, user)
        status = 0 if done.status == 0 else errno.ETIMEDOUT if done.status == -9 else errno.EIO
        return Read(status, done.out)


class Ledger:
    """What was acknowledged, and whether any of it was executed again. Safe for threads.

    The log of executions is read once, line by line: a line for an id that was acknowledged before the line was written is
    a lost result. An id is what the task wrote into the log; name what is acknowledged by that."""

    def __init__(self, c, place):
        self.c = c
        self.path = os.path.join(place.count, "log")
        self.mu = threading.Lock()
        self.at = 0
        self.acked = {}  # id -> anything that the campaign wants to keep with it
        self.runs = collections.Counter()

    def _follow(self):
        try:
            with open(self.path, "rb") as f:
                f.seek(self.at)
                data = f.read()
        except FileNotFoundError:
            return
        data = data[:data.rfind(b"\n") + 1]
        self.at += len(data)
        for line in data.decode(errors="replace").split("\n")[:-1]:
            self.runs[line] += 1
            if line in self.acked:
                self.c.lost("%s was acknowledged and is executed again" % line)

    def ack(self, name, what=None):
        with self.mu:
            self._follow()
            self.acked[name] = what

    def forget(self, name):
        """It may be executed again from now on (it was invalidated on purpose)."""
        with self.mu:
            self._follow()
            self.acked.pop(name, None)

    def check(self):
        """Counts what was executed again since the last look. Returns how many are acknowledged."""
        with self.mu:
            self._follow()
            return len(self.acked)

    def executions(self, name):
        with self.mu:
            self._follow()
            return self.runs[name]
