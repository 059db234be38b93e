"""Every system call on the store fails in turn: the 1st, the 2nd, … until the operation passes untouched, once and
lastingly, with each of six errors. Nothing wrong, nothing lost, the daemon lives, and all works when the fault ends.

The operations: "make" computes a new file, "tree" a new directory, "hit" opens a result for the first time in the
daemon's life, "start" is memofs mount itself. A run with the shim counting says which calls an operation makes; each call,
error and manner is then a sweep of its own, and the rounds (one injection each) are dealt out to the sweeps in turn. --only fsync,write: these calls alone."""
import errno
import os
import shutil
import threading
import time

from campaign import Broken, Ledger, Read, work_bytes, work_path
from shim import DAEMON, FOREVER, WORKER, Shim, error_name

SHORT, LONG = 70, 4000
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM, errno.EINTR)
EINTR_TIMES = 50  # a call that is interrupted for ever is rightly made for ever
MOST = 60  # of the same call within one operation
LIFE = 40  # results for "hit" that are made at a time
REBUILD = 500  # injections between two looks whether the receipts alone have everything
TREE = {"a": "first|", "sub/b": "second|"}


class Sweep:
    def __init__(self, operation, call, error, lasting):
        self.operation, self.call, self.error, self.lasting = operation, call, error, lasting
        self.n = 1
        self.turn = 0

    def __str__(self):
        return "%s: %s of %s number %d" % (self.operation, error_name(self.error),
                                           self.call + (", lasting, from" if self.lasting else ""), self.n)


class Faults:
    def __init__(self, c, p):
        self.c, self.p = c, p
        self.shim = Shim(c, p)
        p.init(failure_backoff=0)
        p.mount(env=self.shim.env)
        p.task_work()
        p.task("tree", {"version": "1", "inputs": {"id": {"type": "string"}}, "env": {"COUNT": p.count},
                        "output": {"type": "Directory", "path": "out"},
                        "command": ["sh", "-c", 'echo "tree-$INPUT_ID" >>"$COUNT/log"; mkdir -p out/sub; printf "%s" '
                                    '"first|$INPUT_ID" >out/a; printf "%s" "second|$INPUT_ID" >out/sub/b']})
        self.ledger = Ledger(c, p)
        self.made = 0  # results for "hit": f0, f1, …
        self.unopened = []  # those that this daemon's life has not opened yet
        self.last = 0
        self.stock()

    # -- operations: each returns True when what it asked for was right, False when it failed

    def timed(self, path):
        """Reads in a thread: a read that a lasting fault holds up is let go by the end of the fault."""
        got = []
        t = threading.Thread(target=lambda: got.append(self.p.read(path)))
        t.start()
        t.join(4 * self.c.slow)
        if t.is_alive():
            self.c.hit("reads that waited for the end of a fault")
            self.shim.disarm()
            t.join(20 * self.c.slow)
        return got[0] if got else Read(errno.ETIMEDOUT, b"")

    def work(self, name, size):
        got = self.timed(work_path(name, size=size))
        if self.c.judge(got, work_bytes(name, size), name):
            self.ledger.ack(name)
            return True
        return self.c.expect(got.status != errno.ETIMEDOUT, "%s: never answered" % name) and False

    def make(self, name):
        return self.work(name, 5000)

    def tree(self, name):
        for file, text in TREE.items():
            got = self.timed("tasks/tree/1/id=%s/%s" % (name, file))
            if not self.c.judge(got, (text + name).encode(), name):
                return False
        self.ledger.ack("tree-" + name)
        return True

    def hit(self, name):
        return self.work(name, 70)

    def stock(self):
        """More results, and a new life of the daemon, so that all are unopened."""
        names = ["f%d" % (self.made + i) for i in range(LIFE)]
        for name in names:
            self.c.expect(self.work(name, 70), "%s cannot be made without a fault" % name)
        self.made += LIFE
        self.p.umount()
        self.mount()

    def mount(self):
        self.p.mount(env=self.shim.env)
        self.unopened = ["f%d" % i for i in range(self.made)]

    def name_for(self, operation):
        if operation == "hit":
            if not self.unopened:
                self.stock()
            return self.unopened.pop()
        self.last += 1
        return "n%d" % self.last

    def start(self, _):
        """The daemon was stopped, or killed every other time."""
        done = self.p.mem("mount", self.p.mnt, env=dict(self.p.env, **self.shim.env), timeout=20)
        self.shim.disarm()
        self.p.daemon = self.p.owner() if done.status == 0 else None
        if done.status == 0:
            return self.c.expect(self.p.alive(), "mount said yes, but there is no daemon")
        text = done.err.decode(errors="replace")
        self.c.expect(done.status == 4 and "memofs: " in text, "mount: exit %d: %s" % (done.status, text))
        return False

    def before(self, operation):
        if operation == "start":
            if self.last % 2:
                self.p.kill9()
            else:
                self.p.umount()

    # -- one injection

    def calibrate(self, operation):
        self.before(operation)
        name = self.name_for(operation)
        self.shim.count()
        good = getattr(self, operation)(name)
        calls = self.shim.counted()
        self.c.expect(good, "%s does not work without a fault" % operation)
        return calls

    def after(self, s, name):
        """The fault is over: the daemon lives, the same can be had, and what was there still is."""
        c, p = self.c, self.p
        end = time.monotonic() + 10 * c.slow
        if s.operation == "start":
            if p.daemon is None:
                self.mount()
            self.unopened = ["f%d" % i for i in range(self.made)]
        elif not p.alive():
            c.failed("%s: the daemon died" % s)
            self.mount()
        else:
            while not getattr(self, s.operation)(name):
                if time.monotonic() > end:
                    c.failed("%s: still does not work 10 s after it" % s)
                    break
                time.sleep(0.02)
        for known in c.rng("known", self.last).sample(range(self.made), 2):
            c.expect(self.work("f%d" % known, 70), "%s: a known result cannot be read afterwards" % s)
            if "f%d" % known in self.unopened:
                self.unopened.remove("f%d" % known)
        self.ledger.check()

    def rebuild(self):
        """Without the manifest: all that was acknowledged comes back from the receipts."""
        self.p.umount()
        shutil.rmtree(os.path.join(self.p.store, "db"))
        self.mount()
        for name in list(self.ledger.acked):
            self.c.beat("reading %s from its receipt" % name)
            if name.startswith("tree-"):
                good = self.tree(name[len("tree-"):])
            else:
                good = self.work(name, 70 if name.startswith("f") else 5000)
            self.c.expect(good, "%s cannot be read" % name)
        self.ledger.check()
        self.c.hit("rebuilds from receipts")

    def inject(self, s):
        """False: the operation passed untouched, so the sweep is at its end."""
        self.c.beat(str(s), 90)
        self.before(s.operation)
        name = self.name_for(s.operation)
        times = 1 if not s.lasting else EINTR_TIMES if s.error == errno.EINTR else FOREVER
        self.shim.arm(s.call, s.error, s.n, times, DAEMON | WORKER)
        good = getattr(self, s.operation)(name)
        fired = self.shim.disarm()
        self.after(s, name)
        if fired == 0:
            self.c.hit("sweeps to their end")
            return False
        self.c.hit("injections")
        self.c.hit("faults that the reader did not see" if good else "faults that the reader saw")
        self.c.hit("calls failed: " + s.call)
        return True


def run(c):
    c.need_fuse()
    with c.place() as p:
        f = Faults(c, p)
        sweeps = []
        for operation in ("make", "tree", "hit", "start"):
            for call in f.calibrate(operation):
                if call != "reply" and (c.only is None or call in c.only):  # (a reply is no matter of the store)
                    sweeps += [Sweep(operation, call, e, lasting) for e in ERRORS for lasting in (False, True)]
        rng = c.rng("order")
        rng.shuffle(sweeps)
        turn = {}
        for s in sweeps:  # the calls take turns, so that a short run meets all of them
            s.turn = turn[s.call] = turn.get(s.call, 0) + 1
        sweeps.sort(key=lambda s: s.turn)
        c.hit("sweeps", len(sweeps))
        done = 0
        while sweeps and done < c.rounds:
            s = sweeps.pop(0)
            try:
                more = f.inject(s)
            except Broken as e:
                c.failed("%s: %s" % (s, e))
                p.daemon = p.owner()
                p.kill9()
                f.mount()
                more = True
            done += more
            s.n += rng.randrange(1, 6) if c.short else 1
            if more and s.n <= MOST:
                sweeps.append(s)
            if more and done % REBUILD == 0:
                f.rebuild()
        f.rebuild()
    c.need("injections", min(c.rounds, 3000))
    c.need("rebuilds from receipts")
    kinds = len([h for h in c.hits if h.startswith("calls failed: ")])
    c.expect(kinds >= 15 or c.only is not None, "only %d kinds of calls were made to fail" % kinds)
