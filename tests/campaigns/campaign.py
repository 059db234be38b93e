"""The frame of the campaigns: what each of them needs, so that a campaign is only its own idea.

A campaign is a file NAME.py beside this one:

    \"\"\"One line that says what is tried.

    More for the reader.\"\"\"
    SHORT, LONG = 40, 2000       # rounds; the short form takes at most 15 s on a quiet machine
    SERIAL = True                # only where times are measured: scripts/test runs it alone
    def run(c): ...              # c: Campaign

    def run(c):
        c.need_fuse()                                  # or need_root(), need_program("strace"), skip("reason")
        with c.place() as p:                           # store, mount, tasks, counters
            p.mount()
            p.task_work()                              # or p.task(name, definition)
            ledger = Ledger(c, p)                      # what was acknowledged
            for r in c.each_round():                   # also tells the watchdog that it goes on
                rng = c.rng(r)                         # the same for the same seed
                got = p.read(work_path("a%d" % r))     # status, data
                if c.judge(got, work_bytes("a%d" % r), "a%d" % r):
                    ledger.ack("a%d" % r)
                c.hit("reads")
            ledger.check()
        c.need("reads", c.rounds)                      # fewer: the campaign fails

"Wrong" is a read that succeeded with other bytes than the oracle's, or a failed one that gave what is no prefix of it.
"Lost" is an acknowledged result that was executed again. "Failed" is any other promise that was not kept. Each of them
makes the campaign fail, and so does what had to be hit and was not.

Everything lies below one temporary directory. It is swept (mounts, processes, loop devices, files) when the campaign
ends, however it ends: a small process of its own waits for the end of this one, even by SIGKILL.

Mutants: mutants/NAME.patch, a unified diff (-p1, few lines) with "Campaign: NAME" in its first line and a sentence on the
bug after it; "Rounds: N" in a line of its own where the short form is not enough, "Seed: N" where another is wanted, "Only:
WORDS" where --only WORDS gets there sooner.
"""
import argparse
import collections
import ctypes
import errno
import faulthandler
import importlib
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "..", ".."))
MUTANTS = os.path.join(HERE, "mutants")
SEED = 4
SKIPPED = 77
SHOWN = 12  # of each kind of complaint

Read = collections.namedtuple("Read", "status data")  # status: 0 or an errno
Done = collections.namedtuple("Done", "status out err seconds")


class Skip(Exception):
    """The campaign cannot be run here."""


class GiveUp(Exception):
    """So much is wrong that the rest says nothing new."""


class Broken(Exception):
    """The product did not do what the campaign needs to go on (counts as failed)."""


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
                args = os.fsdecode(f.read()).split("\0")  # empty for a zombie
        except OSError:
            continue
        if all(w in args for w in words):
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


def sweep_mount(mnt):
    """Detaches a dead mount."""
    for point in mounts_below(mnt):
        if os.geteuid() == 0:
            ctypes.CDLL(None).umount2(os.fsencode(point), 2)
        else:
            subprocess.run(["fusermount3", "-uz", point], stderr=subprocess.DEVNULL, timeout=20)


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


# ---- the campaign --------------------------------------------------------------------------------------------------


class Campaign:
    def __init__(self, name, rounds, seed, short, build, only=None):
        self.name, self.rounds, self.seed, self.short = name, rounds, seed, short
        self.only = set(only.split(",")) if only else None  # what that means is the campaign's
        self.build = os.path.realpath(build)
        self.memofs = os.path.join(self.build, "src", "cli", "memofs")
        self.tools = os.path.join(self.build, "tests", "tools")
        self.slow = float(os.environ.get("MEMOFS_SLOW", "1"))
        self.hits = collections.Counter()
        self.most = {}
        self.needs = {}
        self.enough = 100  # complaints: then it gives up
        self.bad = {"wrong": 0, "lost": 0, "failed": 0}
        self.mu = threading.Lock()
        self.doing = "starting"
        self.deadline = None
        self.done = False
        self.begin = time.monotonic()
        self.dir = tempfile.mkdtemp(suffix=".memofs-campaign")
        os.chmod(self.dir, 0o755)  # campaigns become other users, too
        self.janitor = subprocess.Popen([sys.executable, "-I", os.path.realpath(__file__), "--janitor", self.dir],
                                        stdin=subprocess.PIPE, start_new_session=True)

    # -- what is needed here

    def skip(self, reason):
        raise Skip(reason)

    def need_fuse(self):
        if not os.path.exists("/dev/fuse"):
            self.skip("no /dev/fuse here")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skip("/dev/fuse may not be used by this user")
        if os.geteuid() != 0:
            self.need_program("fusermount3")

    def need_root(self, why):
        if os.geteuid() != 0:
            self.skip("needs root: " + why)

    def need_program(self, *names):
        for name in names:
            if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
                self.skip("%s is missing" % name)

    # -- rounds

    def rng(self, *key):
        """Random numbers that depend on the seed and the key alone."""
        return random.Random("%d/%s" % (self.seed, "/".join(map(str, key))))

    def each_round(self, limit=60):
        """0, 1, … rounds - 1; each may take that many seconds before the watchdog ends the campaign."""
        for r in range(self.rounds):
            self.beat("round %d" % r, limit)
            yield r
        self.beat("ending", limit)

    def beat(self, doing, limit=60):
        """Says that it goes on: the next beat has to come within the limit."""
        if sum(self.bad.values()) >= self.enough:
            raise GiveUp
        self.doing = doing
        self.deadline = time.monotonic() + limit * self.slow

    def place(self, store=None):
        return Place(self, store)

    def tool(self, name):
        path = os.path.join(self.tools, name)
        if not os.path.exists(path):
            raise Broken("%s is not built" % path)
        return path

    # -- counting

    def hit(self, what, n=1):
        with self.mu:
            self.hits[what] += n

    def max(self, what, value, unit=""):
        """Keeps the largest of a figure."""
        with self.mu:
            if value > self.most.get(what, (value - 1, ""))[0]:
                self.most[what] = (value, unit)

    def need(self, what, least=1):
        """The campaign fails when this was hit less often."""
        self.needs[what] = least

    def _complain(self, kind, text):
        with self.mu:
            self.bad[kind] += 1
            if self.bad[kind] <= SHOWN:
                print("%s: %s: %s (%s)" % (self.name, kind.upper(), text, self.doing), flush=True)

    def wrong(self, text):
        self._complain("wrong", text)

    def lost(self, text):
        self._complain("lost", text)

    def failed(self, text):
        self._complain("failed", text)

    def expect(self, good, text):
        if not good:
            self.failed(text)
        return good

    def judge(self, got, oracle, what):
        """Compares a Read with the oracle. True: it succeeded and is exact, so it is acknowledged."""
        if got.status == 0 and got.data == oracle:
            return True
        if got.status == 0:
            self.wrong("%s: %d bytes, want %d: %r… instead of %r…" % (what, len(got.data), len(oracle),
                                                                     got.data[:40], oracle[:40]))
        elif not oracle.startswith(got.data):
            self.wrong("%s: failed with %s after bytes that are not its own: %r…" % (
                what, errno.errorcode.get(got.status, got.status), got.data[:40]))
        return False

    # -- the end

    def _watch(self):
        while not self.done:
            time.sleep(0.2)
            if self.deadline is not None and time.monotonic() > self.deadline and not self.done:
                self.failed("nothing moves any more: the time limit is over")
                faulthandler.dump_traceback(all_threads=True)
                self.report(None)
                sys.stdout.flush()
                sweep(self.dir)
                os._exit(1)

    def report(self, file):
        missing = ["%s: %d of at least %d" % (k, self.hits[k], n) for k, n in self.needs.items() if self.hits[k] < n]
        stat = ["%d %s" % (n, what) for what, n in sorted(self.hits.items())]
        stat += ["most %s %.4g%s" % (what, v, u) for what, (v, u) in sorted(self.most.items())]
        print("%s: seed %d, rounds %d: hit %s" % (self.name, self.seed, self.rounds, ", ".join(stat) or "nothing"))
        for text in missing:
            print("%s: not hit often enough: %s" % (self.name, text))
        if not self.hits:
            missing.append("nothing was hit")
        print("%s: wrong %d, lost %d, failed %d, not hit %d; %.1f s" % (
            self.name, self.bad["wrong"], self.bad["lost"], self.bad["failed"], len(missing),
            time.monotonic() - self.begin), flush=True)
        if file:
            with open(file, "w") as f:
                json.dump({**self.bad, "missing": missing, "hits": self.hits}, f)
        return 1 if missing or any(self.bad.values()) else 0

    def close(self):
        self.done = True
        sweep(self.dir)
        self.janitor.stdin.close()
        self.janitor.wait()


def on_signal(sig, _frame):
    raise SystemExit(128 + sig)


def run_campaign(name, module, args):
    short = args.short or args.rounds is not None and args.rounds <= module.SHORT
    rounds = args.rounds if args.rounds is not None else module.SHORT if args.short else module.LONG
    if not os.access(os.path.join(args.build, "src", "cli", "memofs"), os.X_OK):
        print("campaign: %s: nothing is built there" % args.build, file=sys.stderr)
        return 2
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, on_signal)
    c = Campaign(name, rounds, args.seed, short, args.build, args.only)
    c.enough = args.enough
    try:
        threading.Thread(target=c._watch, daemon=True).start()
        c.beat("starting")
        try:
            module.run(c)
        except Broken as e:
            c.failed(str(e))
        except GiveUp:
            print("%s: gives up" % name)
        c.deadline = None
        return c.report(args.report)
    except Skip as e:
        print("%s: skipped: %s" % (name, e))
        return SKIPPED
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()  # a fault of the campaign itself: no verdict
        return 2
    finally:
        c.close()


# ---- mutants -------------------------------------------------------------------------------------------------------


class Mutant:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)[:-len(".patch")]
        with open(path, errors="replace") as f:
            head = f.read().split("\n--- ", 1)[0]
        self.campaign = self._field(head, r"\ACampaign: *(\S+)")
        self.rounds = self._field(head, r"^Rounds: *(\d+)")
        self.seed = self._field(head, r"^Seed: *(\d+)")
        self.only = self._field(head, r"^Only: *(\S+)")
        if self.campaign not in campaigns():
            raise SystemExit("campaign: %s: its first line must be \"Campaign: NAME\" with one of %s" % (
                path, " ".join(campaigns())))

    @staticmethod
    def _field(head, pattern):
        m = re.search(pattern, head, re.M)
        return m[1] if m else None

    def patch(self, tree, *options):
        """Applies (or with "-R" takes back). Says what is wrong, or nothing."""
        with open(self.path, "rb") as f:
            p = subprocess.run(["patch", "-p1", "-s", "-f", "--no-backup-if-mismatch", "-r", "-", "-d", tree, *options],
                               stdin=f, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return "" if p.returncode == 0 else p.stdout.decode(errors="replace").strip()


def mutants(campaign=None):
    found = [Mutant(os.path.join(MUTANTS, f)) for f in sorted(os.listdir(MUTANTS)) if f.endswith(".patch")] \
        if os.path.isdir(MUTANTS) else []
    return [m for m in found if campaign in (None, m.campaign)]


def check_mutants():
    """Every mutant applies, and every campaign has one."""
    bad = 0
    all_of_them = mutants()
    for m in all_of_them:
        said = m.patch(ROOT, "--dry-run")
        if said:
            bad += 1
            print("campaign: the mutant %s does not apply any more: %s" % (m.name, said))
    for name in campaigns():
        if not any(m.campaign == name for m in all_of_them):
            bad += 1
            print("campaign: %s has no mutant that it must catch" % name)
    print("%d mutants of %d campaigns, %d complaints" % (len(all_of_them), len(campaigns()), bad))
    return 1 if bad else 0


def tracked_files():
    p = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if p.returncode == 0:
        return [f for f in p.stdout.decode(errors="surrogateescape").split("\0") if f]
    found = []  # an unpacked archive
    for top, dirs, files in os.walk(ROOT):
        dirs[:] = [d for d in dirs if not d.startswith("build") and not d.startswith(".git")]
        found += [os.path.relpath(os.path.join(top, f), ROOT) for f in files]
    return found


class Tree:
    """A copy of the sources with a build of its own, for mutants."""

    def __init__(self, directory):
        self.dir = os.path.join(directory, "tree")
        self.build = os.path.join(directory, "build")
        self.env = dict(os.environ, CCACHE_BASEDIR=directory, CCACHE_NOHASHDIR="1")
        if "CC" not in self.env and shutil.which("ccache"):
            self.env["CC"] = "ccache gcc"
        for file in tracked_files():
            to, of = os.path.join(self.dir, file), os.path.join(ROOT, file)
            if not os.path.isfile(of):
                continue
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if not os.path.exists(to) or open(to, "rb").read() != open(of, "rb").read():
                shutil.copy(of, to)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            self._do(["meson", "setup", self.build, self.dir], 300)
        self._do(["ninja", "-C", self.build, "build.ninja"], 300)  # the list of targets may be an old one
        p = subprocess.run(["meson", "introspect", "--targets", self.build], stdout=subprocess.PIPE, check=True)
        wanted = [os.path.relpath(f, self.build) for t in json.loads(p.stdout) for f in t["filename"]]
        self.targets = [f for f in wanted if f in ("src/cli/memofs", "src/worker/memofs-worker")
                        or f.startswith("tests/tools/")]

    def _do(self, argv, limit):
        p = subprocess.run(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
        if p.returncode != 0:
            raise SystemExit("campaign: %s failed:\n%s" % (" ".join(argv[:2]),
                                                           p.stdout.decode(errors="replace")[-4000:]))

    def make(self):
        self._do(["nice", "ninja", "-C", self.build, *self.targets], 1800)

    def run(self, campaign, rounds, seed, only):
        """The campaign on this build: exit status, what it printed, its report."""
        report = os.path.join(os.path.dirname(self.dir), "report.json")
        if os.path.exists(report):
            os.unlink(report)
        argv = [sys.executable, os.path.join(ROOT, "scripts", "campaign"), campaign, "--build", self.build,
                "--report", report, "--enough", "3"]
        argv += ["--rounds", rounds] if rounds else ["--short"]
        argv += ["--seed", seed] if seed else []
        argv += ["--only", only] if only else []
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600)
        found = json.load(open(report)) if os.path.exists(report) else None
        return p.returncode, p.stdout.decode(errors="replace"), found


def try_mutant(tree, m):
    """True when its campaign found it. A campaign that breaks off has found nothing, unless the watchdog did it."""
    said = m.patch(tree.dir)
    if said:
        print("mutant %s: does not apply any more: %s" % (m.name, said))
        return False
    try:
        tree.make()
        status, text, report = tree.run(m.campaign, m.rounds, m.seed, m.only)
    finally:
        m.patch(tree.dir, "-R")
    caught = status == 1 and (report is None and "nothing moves any more" in text
                              or report is not None and any(report[k] for k in ("wrong", "lost", "failed")))
    last = text.strip().split("\n")[-1]
    print("mutant %s: %s: %s" % (m.name, "caught" if caught else "NOT CAUGHT", last), flush=True)
    if not caught:
        print(text)
    return caught


def try_mutants(chosen, keep):
    """Builds and tries them. The same forms must pass without a bug, or what they say of the mutants means nothing."""
    if not chosen:
        print("campaign: there is no such mutant", file=sys.stderr)
        return 2
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, on_signal)
    directory = keep or tempfile.mkdtemp(suffix=".memofs-mutants")
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)  # other users run what is built there
    try:
        tree = Tree(directory)
        sane = {}
        caught = skipped = 0
        for m in chosen:
            form = (m.campaign, m.rounds, m.seed, m.only)
            if form not in sane:
                tree.make()
                status, text, _ = tree.run(*form)
                sane[form] = status
                print("without a bug: %s" % text.strip().split("\n")[-1], flush=True)
                if status not in (0, SKIPPED):
                    print(text)
            if sane[form] == SKIPPED:
                skipped += 1
            elif sane[form] == 0 and try_mutant(tree, m):
                caught += 1
        print("%d of %d mutants caught%s" % (caught, len(chosen), ", %d skipped" % skipped if skipped else ""))
        return 0 if caught + skipped == len(chosen) else 1
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


# ---- the command ---------------------------------------------------------------------------------------------------


def campaigns():
    """The files that say how many rounds they take; the others are what several campaigns share."""
    found = []
    for file in os.listdir(HERE):
        if file.endswith(".py"):
            with open(os.path.join(HERE, file)) as f:
                if re.search(r"^SHORT, LONG = ", f.read(), re.M):
                    found.append(file[:-3])
    return sorted(found)


def command(argv):
    if argv[:1] == ["--janitor"]:
        return janitor(argv[1])
    p = argparse.ArgumentParser(prog="scripts/campaign", description="Runs a campaign; see tests/campaigns/campaign.py.")
    p.add_argument("name", nargs="*", metavar="NAME", help="a campaign; with --mutants alone also patches")
    p.add_argument("--list", action="store_true", help="name, short rounds, long rounds, parallel or serial, what it tries")
    p.add_argument("--rounds", type=int, metavar="N")
    p.add_argument("--seed", type=int, default=SEED, metavar="S")
    p.add_argument("--short", action="store_true", help="the form that scripts/test runs")
    p.add_argument("--only", metavar="WORDS", help="a part of the campaign; what words there are is the campaign's")
    p.add_argument("--build", default=os.path.join(ROOT, "build"), metavar="DIR")
    p.add_argument("--mutants", action="store_true", help="builds with one seeded bug each must be caught")
    p.add_argument("--check-mutants", action="store_true", help="only whether they apply")
    p.add_argument("--tree", metavar="DIR", help="keeps the mutants' build there for the next time")
    p.add_argument("--enough", type=int, default=100, metavar="N", help="gives up after so many complaints")
    p.add_argument("--report", metavar="FILE", help="also writes the counts as JSON")
    args = p.parse_args(argv)
    if args.check_mutants:
        return check_mutants()
    if args.list:
        for name in campaigns():
            m = importlib.import_module(name)
            print("%-14s %5d %6d %-8s %s" % (name, m.SHORT, m.LONG,
                                           "serial" if getattr(m, "SERIAL", False) else "parallel",
                                           m.__doc__.split("\n")[0]))
        return 0
    if args.mutants:
        names = {os.path.basename(n).removesuffix(".patch") for n in args.name}
        return try_mutants([m for m in mutants() if not names or m.name in names or m.campaign in names], args.tree)
    if len(args.name) != 1 or args.name[0] not in campaigns():
        print("campaign: name one of: %s" % " ".join(campaigns()), file=sys.stderr)
        return 2
    return run_campaign(args.name[0], importlib.import_module(args.name[0]), args)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
