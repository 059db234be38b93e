"""A thousand clients that wait for results are killed in random order: all are gone within a second, the kernel has no
open request left, and the daemon gives back what they cost.

Half of them read a path that many wait for, half one of a few. The work goes on without them, and is there afterwards."""
import os
import subprocess
import time

from campaign import Broken, kill, run_process, work_bytes, work_path

SHORT, LONG = 2, 20
SERIAL = True
SECONDS = 1.0
FUSECTL = "/sys/fs/fuse/connections"


def waiting(p):
    """Requests without an answer, or None where the kernel's list cannot be seen."""
    try:
        with open("%s/%d/waiting" % (FUSECTL, os.minor(os.stat(p.mnt).st_dev))) as f:
            return int(f.read())
    except OSError:
        return None


def until(seconds, what):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(w) for w in f.read().split()]
    except OSError:
        return []


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def cost(pid):
    """Descriptors and resident KiB of a process."""
    try:
        with open("/proc/%d/status" % pid) as f:
            resident = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        raise Broken("the daemon has ended")
    return len(os.listdir("/proc/%d/fd" % pid)), resident


class Round:
    def __init__(self, c, p, r, clients):
        self.c, self.p, self.rng, self.clients = c, p, c.rng(r), clients
        self.gate = "d%d" % r
        self.names = ["d%d-%d" % (r, i) for i in range(5)]
        self.crowds = []

    def path(self, name):
        return work_path(name, gate=self.gate)

    def ask(self):
        shares = [self.clients // 2] + [self.clients // 8] * 4
        for name, n in zip(self.names, shares):
            self.crowds.append(subprocess.Popen([self.c.tool("crowd"), str(n), os.path.join(self.p.mnt, self.path(name))],
                                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self.expected = sum(shares)
        if waiting(self.p) is None:
            time.sleep(2)
        else:
            self.c.expect(until(30 * self.c.slow, lambda: waiting(self.p) >= self.expected),
                          "only %s of %d clients wait" % (waiting(self.p), self.expected))

    def slay(self):
        pids = [pid for crowd in self.crowds for pid in children(crowd.pid)]
        self.rng.shuffle(pids)
        self.c.hit("clients killed", len(pids))
        for i, pid in enumerate(pids):
            kill(pid)
            if i % 50 == 49:
                time.sleep(self.rng.uniform(0, 0.01))
        begin = time.monotonic()
        gone = until(10, lambda: not any(alive(pid) for pid in pids))
        took = time.monotonic() - begin
        if not gone:
            self.p.gate_open(self.gate)  # lets them go
        self.c.max("seconds until all were gone", round(took, 3), " s")
        self.c.expect(gone and took <= SECONDS * self.c.slow, "the last killed client was gone after %.2f s" % took)
        if waiting(self.p) is not None:
            self.c.expect(until(SECONDS * self.c.slow, lambda: waiting(self.p) == 0),
                          "the kernel still has %s requests without an answer" % waiting(self.p))
            self.c.hit("looks at the kernel's list")
        for crowd in self.crowds:
            crowd.wait()

    def end(self):
        self.p.gate_open(self.gate)
        for name in self.names:
            got = self.p.cat(self.path(name))
            self.c.expect(self.c.judge(got, work_bytes(name), name), "%s cannot be read afterwards" % name)
            n = self.p.executions(name)
            self.c.expect(n == 1, "%s was executed %d times" % (name, n))


def run(c):
    c.need_fuse()
    if os.geteuid() == 0 and not os.path.isdir(FUSECTL + "/."):
        c.skip("no fusectl in this kernel")
    if os.geteuid() == 0 and not os.listdir(FUSECTL):
        run_process(["mount", "-t", "fusectl", "none", FUSECTL], 10)
    clients = 320 if c.short else 1000
    with c.place() as p:
        p.init()
        p.must("config", "cpus", 8)
        p.mount()
        p.task_work()
        before = None
        for r in c.each_round(120):
            one = Round(c, p, r, clients)
            one.ask()
            one.slay()
            one.end()
            time.sleep(0.2)
            now = cost(p.daemon)
            if before is None:
                before = now  # the first round warms up: what its peak leaves behind is the allocator's
            c.max("descriptors of the daemon", now[0])
            c.max("resident KiB of the daemon", now[1])
            c.expect(now[0] <= before[0] * 1.05 + 4, "descriptors: %d, at first %d" % (now[0], before[0]))
            c.expect(now[1] <= before[1] * 1.05 + 4096, "resident KiB: %d, at first %d" % (now[1], before[1]))
    c.need("clients killed", c.rounds * clients)
