"""Several processes want one store at once: one has it, the others say so within two seconds, and nothing is damaged.

Each round starts two to four of mount (at two places), fsck, gc and get at the same moment, with and without a daemon that
is there already; in half of the latter rounds that daemon has opened and closed every file of its database first, which
takes RocksDB's own lock from it."""
import os
import subprocess
import time

from campaign import Ledger, kill, mounts_below, processes_below, sweep_mount, wait_gone, work_bytes, work_path
from shim import Shim

SHORT, LONG = 16, 100
SECONDS = 2.0


class Race:
    def __init__(self, c, p):
        self.c, self.p = c, p
        self.ledger = Ledger(c, p)
        self.shim = Shim(c, p)
        self.second = p.mnt + "-2"
        os.mkdir(self.second)
        self.commands = [w for w in ("fsck", "gc") if "\n  " + w in p.must("--help")]
        self.known = []

    def owners(self):
        lock = os.path.join(self.p.store, "lock")
        found = []
        for pid in processes_below(self.p.store):
            try:
                if any(os.readlink("/proc/%d/fd/%s" % (pid, fd)) == lock for fd in os.listdir("/proc/%d/fd" % pid)):
                    found.append(pid)
            except OSError:
                pass
        return found

    def start(self, kinds, name):
        c, p = self.c, self.p
        argv = {"mount": ["mount", p.mnt], "mount-2": ["mount", self.second],
                "get": ["get", "work", "id=" + name]}
        env = dict(p.env, **self.shim.env)
        return [(k, time.monotonic(), subprocess.Popen(
            [c.memofs, "--store", p.store, *argv.get(k, [k])], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)) for k in kinds]

    def finish(self, kind, begin, process, name, held):
        c = self.c
        try:
            out, err = process.communicate(timeout=30 * c.slow)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            c.failed("%s does not end" % kind)
            return False
        took = time.monotonic() - begin
        text = err.decode(errors="replace").strip()
        c.hit("%s: exit %d" % (kind.split("-")[0], process.returncode))
        if process.returncode == 4:
            c.hit("losers")
            c.max("seconds until a loser said so", round(took, 2), " s")
            c.expect(took <= SECONDS * c.slow, "%s lost after %.1f s" % (kind, took))
            c.expect("memofs: " in text and self.p.store in text, "%s does not say what is in its way: %s" % (kind, text))
        else:
            c.expect(process.returncode == 0, "%s: exit %d: %s" % (kind, process.returncode, text))
            c.expect(not (held and kind.startswith("mount")), "%s got a store that has a daemon" % kind)
        if kind == "get" and process.returncode == 0:
            if out != work_bytes(name):
                c.wrong("get %s: %r" % (name, out[:60]))
            self.ledger.ack(name)
        return process.returncode == 0

    def after(self, name, r):
        """One owner at most; everything is readable through whoever has won, and made once."""
        c, p = self.c, self.p
        owners = self.owners()
        c.expect(len(owners) <= 1, "%d processes have the store" % len(owners))
        for mnt in (p.mnt, self.second):
            if mounts_below(mnt):
                break
        else:
            mnt = p.mnt
            p.mount(env=self.shim.env)
            owners = self.owners()
        p.daemon = owners[0] if owners else None
        place = os.path.relpath(mnt, p.mnt)
        for n in [name, *c.rng("known", r).sample(self.known, min(3, len(self.known)))]:
            got = p.read(os.path.join(place, work_path(n)))
            if c.expect(c.judge(got, work_bytes(n), n), "%s cannot be read after the race" % n):
                self.ledger.ack(n)
        self.known.append(name)
        self.ledger.check()
        c.expect(self.ledger.executions(name) == 1, "%s was executed %d times" % (name, self.ledger.executions(name)))
        return mnt

    def clear(self, mnt, rng):
        p = self.p
        if rng.random() < 0.5 and p.daemon is not None:
            p.mem("umount", mnt)
            wait_gone(p.daemon, 20)
        for pid in self.owners():
            kill(pid)
            wait_gone(pid, 20)
        p.daemon = None
        for m in (p.mnt, self.second):
            sweep_mount(m)


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount()
        p.task_work()
        p.umount()
        race = Race(c, p)
        for r in c.each_round():
            rng = c.rng(r)
            name = "t%d" % r
            held = r % 2 == 1
            if held:
                p.mount(env=race.shim.env)
                if r % 4 == 1:
                    race.shim.visit_begin()
                    p.read(work_path("v%d" % r))  # makes it call something
                    c.expect(race.shim.visited(), "the daemon made no call at all")
                    c.hit("daemons whose database was visited")
            kinds = ["mount-2", rng.choice(["mount", "get", *race.commands])]
            kinds += rng.sample(["mount", "get", *race.commands], rng.randrange(0, 2))
            running = race.start(kinds, name)
            good = [race.finish(*one, name, held) for one in running]
            mounted = sum(ok for ok, kind in zip(good, kinds) if kind.startswith("mount"))
            c.expect(mounted <= (0 if held else 1), "%d mounts of one store" % (mounted + held))
            c.hit("races")
            race.clear(race.after(name, r), rng)
    c.need("races", c.rounds)
    c.need("losers", c.rounds // 3)
    c.need("daemons whose database was visited", c.rounds // 4)
