"""SIGKILL at every system call on the store, of start-up and of the making of a result: nothing wrong, nothing lost.

A calibrating run counts the calls of each kind that an operation makes, in the daemon and in the worker; each (operation,
process, call, number) is a point. A round kills the process right before that call, starts again as a user would, and
looks. The kernel's answers to readers ("reply") are points, too: right before them a result is committed, and nobody
knows. Calls that only look are none: to die before them is to die before the next that changes something. The calls are
counted over all threads, which strace cannot do."""
import errno
import threading

from campaign import Ledger, Read, kill, processes_with, wait_gone, work_bytes, work_path
from load import mount_again
from shim import DAEMON, KILL, WORKER, Shim

SHORT, LONG = 45, 1000
COVERED = 0.95
LOOKS = {"read", "pread", "stat", "readdir", "mmap", "close", "statvfs", "pipe"}
OPERATIONS = {"make": (DAEMON, WORKER), "tree": (DAEMON, WORKER), "start": (DAEMON,), "start after kill -9": (DAEMON,)}


class Points:
    def __init__(self, c, p):
        self.c, self.p = c, p
        self.shim = Shim(c, p)
        p.init(failure_backoff=0)
        p.mount(env=self.shim.env)
        p.task_work()
        p.task("tree", {"version": "1", "inputs": {"id": {"type": "string"}}, "env": {"COUNT": p.count},
                        "output": {"type": "Directory", "path": "out"},
                        "command": ["sh", "-c", 'echo "tree-$INPUT_ID" >>"$COUNT/log"; mkdir -p out/sub; '
                                    'printf "%s" "$INPUT_ID" >out/sub/a']})
        self.ledger = Ledger(c, p)
        self.last = 0
        self.made = []  # (kind, name)

    def ask(self, kind, name):
        path = work_path(name, size=5000) if kind == "make" else "tasks/tree/1/id=%s/sub/a" % name
        oracle = work_bytes(name, 5000) if kind == "make" else name.encode()
        got = []
        t = threading.Thread(target=lambda: got.append(self.p.read(path)))
        t.start()
        t.join(20 * self.c.slow)
        if self.c.judge(got[0] if got else Read(errno.ETIMEDOUT, b""), oracle, name):
            self.ledger.ack(name if kind == "make" else "tree-" + name)
            if (kind, name) not in self.made:
                self.made.append((kind, name))
            return True
        return self.c.expect(bool(got), "%s: never answered" % name) and False

    def before(self, operation):
        """Ready for it; the name that it will ask for."""
        if operation == "start":
            self.p.umount()
        elif operation.startswith("start"):
            self.p.kill9()
        self.last += 1
        return "p%d" % self.last

    def do(self, operation, name):
        if operation.startswith("start"):
            self.p.mem("mount", self.p.mnt, env=dict(self.p.env, **self.shim.env), timeout=20)
        else:
            self.ask(operation, name)

    def list(self):
        points = []
        for operation, processes in OPERATIONS.items():
            for who in processes:
                name = self.before(operation)
                self.shim.count(who)
                self.do(operation, name)
                for call, n in self.shim.counted().items():
                    points += [] if call in LOOKS else [(operation, who, call, i) for i in range(1, n + 1)]
                self.p.daemon = self.p.owner()
        return points

    def again(self, operation, name, rng):
        """After the shot: whatever is left of a start goes, memofs mount works, and all is there."""
        p = self.p
        if operation.startswith("start"):
            pids = processes_with(self.c.memofs, p.mnt)
            for pid in pids:
                kill(pid)
                wait_gone(pid, 20)
            p.daemon = None
        if not p.alive():
            p.daemon = None
            mount_again(self.c, p, env=self.shim.env)
        if not operation.startswith("start"):
            good = self.ask(operation, name) or self.ask(operation, name)  # the first may still hear of the killed worker
            self.c.expect(good, "%s cannot be had after the kill" % name)
        for kind, known in self.made[-2:] + rng.sample(self.made, min(2, len(self.made))):
            self.c.expect(self.ask(kind, known), "%s cannot be read after the kill" % known)
        self.ledger.check()

    def shoot(self, point, rng):
        operation, who, call, n = point
        self.c.beat("%s: %s number %d of the %s" % (operation, call, n, "daemon" if who == DAEMON else "worker"))
        name = self.before(operation)
        self.shim.arm(call, KILL, n, 1, who)
        self.do(operation, name)
        fired = self.shim.disarm()
        if fired and who == DAEMON and self.p.daemon is not None:
            wait_gone(self.p.daemon, 20)  # it may be on its way, after the answer
        self.again(operation, name, rng)
        if fired:
            self.c.hit("kills at " + call)
            self.c.hit("kills of the " + ("daemon" if who == DAEMON else "worker"))
        return fired > 0


def run(c):
    c.need_fuse()
    with c.place() as p:
        points = Points(c, p)
        points.ask("make", points.before("make"))  # what is made only once is there before the count
        everything = points.list()
        c.hit("points", len(everything))
        order = list(everything)
        c.rng("order").shuffle(order)
        reached = set()
        tried = set()
        for r in range(c.rounds):
            if not order:  # those that were not reached come again first: their number varies from run to run
                order = [x for x in everything if x not in reached] + [x for x in everything if x in reached]
            point = order.pop(0)
            tried.add(point)
            if points.shoot(point, c.rng(r)):
                reached.add(point)
                c.hit("kills")
        c.hit("points reached", len(reached))
        c.expect(len(reached) >= COVERED * len(tried) or c.short and len(reached) >= 0.8 * len(tried),
                 "only %d of %d points were reached" % (len(reached), len(tried)))
    c.need("kills", int(c.rounds * 0.8))
    c.need("kills of the worker", c.rounds // 20)
    if c.rounds >= LONG:
        c.need("points reached", int(COVERED * len(everything)))
