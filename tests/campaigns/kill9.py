"""kill -9 of the daemon at random moments, while it works and while it starts: nothing wrong, nothing lost.

Each round several readers ask for results at once: new ones, some that were interrupted before, and some that were
acknowledged long ago. At a random moment the daemon is killed, and mounted again as a user would: by "memofs mount" alone.
Every seventh round the mount is killed, too, while it starts."""
import concurrent.futures
import subprocess
import time

from campaign import Ledger, kill, processes_with, wait_gone, work_bytes, work_path

SHORT, LONG = 50, 2000
READERS = 10
NEW = 7
RESTART_SECONDS = 5


def shape(rng):
    """Size and pause of an execution: mostly small and quick, some across many pages."""
    size = rng.choice((0, 1, 64, 1000, 4096, 4097, 70000)) if rng.random() < 0.95 else 600000
    return {"size": size, "nap": rng.choice(("0", "0", "0", "0.01", "0.03"))}


class Kill9:
    def __init__(self, c, place):
        self.c, self.place = c, place
        self.ledger = Ledger(c, place)
        self.shapes = {}
        self.open = []  # asked for, not acknowledged yet
        self.pool = concurrent.futures.ThreadPoolExecutor(READERS)
        self.usual = 0.03  # how long a batch takes that nobody kills

    def ask(self, name):
        how = self.shapes[name]
        got = self.place.read(work_path(name, **how))
        if self.c.judge(got, work_bytes(name, **how), name):
            self.ledger.ack(name)
            return True
        return False

    def batch(self, r, rng):
        new = ["r%d-%d" % (r, i) for i in range(NEW)]
        for name in new:
            self.shapes[name] = shape(rng)
        self.c.hit("inputs", len(new))
        self.open += new
        again = [n for n in self.open if n not in new]
        rng.shuffle(again)
        known = list(self.ledger.acked)
        return new + again[:2] + [rng.choice(known)] if known else new + again[:3]

    def kill_in_batch(self, names, rng):
        begin = time.monotonic()
        asked = [self.pool.submit(self.ask, n) for n in names]
        concurrent.futures.wait(asked, rng.uniform(0, 1.3 * self.usual))
        flying = sum(not a.done() for a in asked)
        self.place.kill9()
        self.c.hit("kills")
        if flying:
            self.c.hit("kills in flight")
            self.c.hit("reads in flight", flying)
        else:
            self.usual = 0.9 * self.usual + 0.1 * (time.monotonic() - begin)
        for name, a in zip(names, asked):
            if a.result() and name in self.open:
                self.open.remove(name)
        if flying:
            self.usual = min(self.usual * 1.02, 1)

    def mount_killed(self, rng):
        """A start that is killed on its way, with all its processes."""
        p = self.place
        command = subprocess.Popen([self.c.memofs, "--store", p.store, "mount", p.mnt], env=p.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            command.wait(rng.uniform(0.001, 0.03))
        except subprocess.TimeoutExpired:
            self.c.hit("kills of a start")
        while True:  # the command, its children and the daemon all have the mount point in their arguments
            pids = processes_with(self.c.memofs, p.mnt)
            if not pids:
                break
            for pid in pids:
                kill(pid)
                if pid != command.pid:
                    wait_gone(pid, 20)
            command.poll()
        command.wait()

    def mount(self):
        self.place.mount()
        self.c.hit("restarts")
        self.c.max("seconds of a restart", self.place.mount_seconds, " s")
        self.c.expect(self.place.mount_seconds < RESTART_SECONDS * self.c.slow,
                      "a restart took %.1f s" % self.place.mount_seconds)


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount()
        p.task_work()
        k = Kill9(c, p)
        for r in c.each_round():
            rng = c.rng(r)
            k.kill_in_batch(k.batch(r, rng), rng)
            if r % 7 == 6:
                k.mount_killed(rng)
            k.mount()
            k.ledger.check()
        for name in list(k.open) + list(k.ledger.acked):
            c.beat("reading %s at the end" % name)
            c.expect(k.ask(name), "%s cannot be read at the end" % name)
        c.hit("acknowledged", k.ledger.check())
        k.pool.shutdown()
    c.need("kills in flight", c.rounds * 3 // 4)
    c.need("inputs", c.rounds * 6)
    c.need("kills of a start", c.rounds // 20)
