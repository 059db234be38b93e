"""The clock jumps, from ten years back to a hundred years ahead, at ten moments: nothing wrong, nothing lost, and waits end.

Only the wall clock of the daemon and its workers is a false one (tests/tools/fault.c; libfaketime breaks waits on
conditions of the monotonic clock); the monotonic clock goes on, as it does when somebody sets the time. Nothing may expire, nothing be made twice, a changed input file be missed, or a wait last for ever because of it."""
import errno
import os
import threading
import time

from campaign import Broken, Ledger, work_bytes, work_path
from shim import Shim

SHORT, LONG = 12, 120
DAY = 86400
YEAR = 365 * DAY
JUMPS = (-10 * YEAR, -YEAR, -DAY, -3600, -2, 0, 2, 3600, DAY, YEAR, 10 * YEAR, 100 * YEAR)


class Life:
    def __init__(self, c, p):
        self.c, self.p = c, p
        self.clock = Shim(c, p)
        p.mount(env=self.clock.env)
        p.task_work()
        p.task("reads", {"version": "1", "inputs": {"file": {"type": "File"}}, "env": {"COUNT": p.count},
                         "command": ["sh", "-c", 'echo reads >>"$COUNT/log"; cat "$INPUT_FILE"']})
        p.task("late", {"version": "1", "inputs": {"id": {"type": "string"}},
                        "requirements": {"time": "00:00:01"}, "command": ["sleep", "60"]})
        self.ledger = Ledger(c, p)
        self.made = []
        self.last = 0

    def new(self, **how):
        self.last += 1
        name = "c%d" % self.last
        return name, work_path(name, **how), work_bytes(name)

    def ask(self, name, path):
        if self.c.expect(self.c.judge(self.p.read(path), work_bytes(name), name), "%s cannot be read" % name):
            self.ledger.ack(name)
            if (name, path) not in self.made:
                self.made.append((name, path))

    def again(self, rng, n=4):
        for name, path in rng.sample(self.made, min(n, len(self.made))):
            self.ask(name, path)
        self.ledger.check()

    def jump(self, rng, what):
        self.clock.shift(rng.choice(JUMPS))
        self.c.hit("jumps " + what)

    def restart(self):
        self.p.mount(env=self.clock.env)

    # -- the moments

    def idle(self, rng):
        self.jump(rng, "while nothing happens")

    def stopped(self, rng):
        self.p.umount()
        self.jump(rng, "while it is stopped")
        self.restart()

    def killed(self, rng):
        self.p.kill9()
        self.jump(rng, "after kill -9")
        self.restart()

    def starting(self, rng):
        self.p.umount()
        t = threading.Thread(target=lambda: (time.sleep(0.02), self.jump(rng, "while it starts")))
        t.start()
        self.restart()
        t.join()

    def working(self, rng, **how):
        name, path, _ = self.new(**how)
        t = threading.Thread(target=self.ask, args=(name, path))
        t.start()
        time.sleep(rng.uniform(0.02, 0.1))
        self.jump(rng, "while a task runs")
        t.join(30 * self.c.slow)
        self.c.expect(not t.is_alive(), "%s never ends after a jump" % name)

    def running(self, rng):
        self.working(rng, nap="0.2")

    def committing(self, rng):
        for _ in range(3):
            self.working(rng)

    def limited(self, rng):
        """A task's time limit holds whatever the clock says."""
        self.last += 1
        begin = time.monotonic()
        t = threading.Timer(0.3, self.jump, (rng, "while a time limit runs"))
        t.start()
        got = self.p.read("tasks/late/1/id=l%d" % self.last)
        took = time.monotonic() - begin
        t.join()
        self.c.hit("time limits")
        self.c.max("seconds of a limit of 1 s", round(took, 1), " s")
        self.c.expect(got.status == errno.EIO and 0.9 < took < 10 * self.c.slow,
                      "a task with a limit of 1 s gave %s after %.1f s" % (got.status, took))

    def failing(self, rng):
        """The pause after a failure ends."""
        name, path, _ = self.new(fail=True)
        self.c.expect(self.p.read(path).status == errno.EIO, "a failing task did not give EIO")
        before = self.p.executions(name)
        self.jump(rng, "while a failure is remembered")
        end = time.monotonic() + 10 * self.c.slow
        while self.p.executions(name) == before and time.monotonic() < end:
            self.p.read(path)
            time.sleep(0.1)
        self.c.hit("pauses after a failure")
        self.c.expect(self.p.executions(name) > before, "the pause after a failure does not end")

    def filed(self, rng):
        """A changed input file is noticed, an unchanged one is not hashed into something else."""
        file = os.path.join(self.p.dir, "input")
        path = "tasks/reads/1/file=" + file.replace("/", "%2F")
        for text in (b"one", b"two", b"two"):
            with open(file, "wb") as f:
                f.write(text * (1 + self.last))
            self.jump(rng, "while an input file changes")
            self.c.judge(self.p.read(path), text * (1 + self.last), "the file task")
        self.last += 1

    def retrying(self, rng):
        """A run across a jump."""
        name, path, _ = self.new(nap="0.2")
        t = threading.Timer(0.1, self.jump, (rng, "during a run"))
        t.start()
        done = self.p.mem("run", "work", "id=" + name, "nap=0.2")
        t.join()
        if self.c.expect(done.status == 0, "run: exit %d: %s" % (done.status, done.err.decode(errors="replace")[-300:])):
            self.ask(name, path)


MOMENTS = ("idle", "stopped", "killed", "starting", "running", "committing", "limited", "failing", "filed", "retrying")


def run(c):
    c.need_fuse()
    with c.place() as p:
        life = Life(c, p)
        for _ in range(5):
            life.ask(*life.new()[:2])
        for r in c.each_round():
            rng = c.rng(r)
            moment = MOMENTS[r % len(MOMENTS)]
            c.beat("round %d, %s" % (r, moment))
            try:
                getattr(life, moment)(rng)
            except Broken as e:
                c.failed("%s: %s" % (moment, e))
                p.daemon = p.owner()
                p.kill9()
                life.restart()
            life.again(rng)
            life.ask(*life.new()[:2])
            c.hit("moments")
        life.again(c.rng("end"), len(life.made))
        c.hit("results", len(life.made))
    for what in ("time limits", "pauses after a failure", "jumps while it is stopped", "jumps while a task runs"):
        c.need(what, c.rounds // len(MOMENTS))
    c.need("moments", c.rounds)
