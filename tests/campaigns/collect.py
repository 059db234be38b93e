"""Collection under fire: demands, pins, open files and gc at once, kill -9 in the middle of gc: nothing wrong, nothing dangling.

Each round a few results are read (new ones, chains, some that went), pinned, unpinned, forgotten or held open by a reader while
collections with a small limit run beside them. In three of four rounds the daemon is killed at a random moment of the
collection, or, where strace can be had, at a system call of it (unlink, rename, sync), and mounted again. Afterwards: what is cached is
exact and starts nothing (no dangling hit), what was pinned or open was not executed again, fsck finds nothing wrong, and every
result comes back by being read. Now and then the manifest is taken away: what receipts bring back must be there, too."""
import concurrent.futures
import os
import shutil
import signal
import subprocess
import time

from campaign import kill, sh, wait_gone

SHORT, LONG = 10, 500
NAMES = 24
SIZE = 20000
LIMIT = 120000
CALLS = ("fdatasync", "fdatasync", "fsync", "renameat", "unlinkat")  # of the manifest; receipts; objects twice

BASE = r"""
echo "base-$INPUT_ID" >>"$COUNT/log"
s="$INPUT_ID|"
while [ ${#s} -lt 20000 ]; do s=$s$s; done
printf "%.20000s" "$s"
"""
# Two names of it share their bytes.
NEXT = r"""
echo "next-$INPUT_ID" >>"$COUNT/log"
cat "$NEED_FROM" "$NEED_FROM" | tail -c 20000
"""
TREE = r"""
echo "tree-$INPUT_ID" >>"$COUNT/log"
mkdir -p out/sub
for i in 1 2 3 4; do { echo "$INPUT_ID $i"; cat "$NEED_FROM"; } | head -c 4000 >out/sub/f$i; done
"""


def base(i):
    part = ("%s|" % i).encode()
    return (part * (SIZE // len(part) + 1))[:SIZE]


def tree(i, k):
    return (("%s %d\n" % (i, k)).encode() + base(i))[:4000]


class Round:
    def __init__(self, c, p):
        self.c, self.p = c, p
        self.pinned = set()  # (kind, name)
        self.seen = {}  # executions when it was looked at last
        self.pool = concurrent.futures.ThreadPoolExecutor(8)

    # -- names and oracles

    def path(self, what, view="tasks"):
        kind, i = what
        return "%s/%s/1/id=%s" % (view, kind, i) + ("/sub/f3" if kind == "tree" else "")

    def oracle(self, what):
        kind, i = what
        return tree(i, 3) if kind == "tree" else base(i)[-SIZE:] if kind == "base" else (base(i) * 2)[-SIZE:]

    def random(self, rng):
        return rng.choice(("base", "base", "next", "tree")), "n%d" % rng.randrange(NAMES)

    def ran(self, what):
        return self.p.executions("%s-%s" % what)

    # -- what is done

    def demand(self, what):
        got = self.p.read(self.path(what))
        self.c.hit("reads")
        return self.c.judge(got, self.oracle(what), "%s %s" % what)

    def command(self, *args):
        done = self.p.mem(*args)
        # 3: there is none; 4: whoever served the store was killed, or somebody else opened it
        self.c.expect(done.status in (0, 3, 4), "memofs %s: exit %d: %s" % (" ".join(args), done.status, done.err[-300:]))
        return done.status == 0

    def pin(self, what):
        if self.command("pin", "/tasks/%s/1/id=%s" % what):
            self.pinned.add(what)
            self.c.hit("pins")

    def unpin(self, what):
        self.command("unpin", "/tasks/%s/1/id=%s" % what)
        self.pinned.discard(what)

    def collect(self, limit):
        done = self.p.mem("gc", "--max-size", str(limit), "--json")
        if done.status == 0:
            self.c.hit("collections")
            self.c.hit("collected", done.out.count(b'"kind":"result"'))
        return done.status

    # -- a reader that has it open during all of it

    def hold(self, what):
        """An open descriptor and the executions that were needed for it."""
        try:
            fd = os.open(os.path.join(self.p.mnt, self.path(what)), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        return what, fd, os.read(fd, 100), self.ran(what)

    def let_go(self, held, killed):
        what, fd, head, ran = held
        data = head
        try:
            while part := os.read(fd, 1 << 16):
                data += part
            self.c.expect(data == self.oracle(what), "%s %s: an open file does not go on as it began" % what)
            self.c.hit("held open")
        except OSError:
            self.c.expect(killed, "%s %s: an open file cannot be read to its end" % what)
        os.close(fd)
        self.c.expect(killed or self.demand(what), "%s %s: cannot be read" % what)
        if not killed and self.ran(what) > ran:
            self.c.lost("%s %s was open during gc and is executed again" % what)

    # -- kills

    def kill_at_call(self, rng):
        """The daemon is killed at the n-th of the calls by which things are removed. None: strace is not at hand."""
        if shutil.which("strace") is None:
            return None
        call = rng.choice(CALLS)
        p = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                              "inject=%s:signal=SIGKILL:when=%d" % (call, rng.randrange(1, 5)), "-p",
                              str(self.p.daemon)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            with open("/proc/%d/status" % self.p.daemon) as f:
                if "TracerPid:\t0" not in f.read():
                    break
            time.sleep(0.01)
        return p

    def collecting(self, rng, how):
        """One or two collections, and the end of the daemon as @how says. True: it was killed."""
        p = self.p
        daemon = p.daemon
        tracer = self.kill_at_call(rng) if how == "call" else None
        asked = [self.pool.submit(self.collect, rng.choice((0, 1, LIMIT // 2, LIMIT))) for _ in range(1 if tracer else 2)]
        if tracer is None:  # what is published syncs, too, and the kill is meant for the collection
            asked += [self.pool.submit(self.demand_loose, self.random(rng)) for _ in range(5)]
        if how == "moment" or (how == "call" and tracer is None):
            time.sleep(rng.uniform(0, 0.12))
            p.kill9()
        for a in asked:
            a.result()
        if tracer is not None:
            if wait_gone(daemon, 0.2):
                self.c.hit("kills at a call")
                p.daemon = None
            kill(tracer.pid, signal.SIGTERM)
            tracer.wait()
            if p.daemon is not None:
                p.kill9()
        if how == "none":
            return False
        self.c.hit("kills")
        p.mount()
        return True

    def demand_loose(self, what):
        """It may fail, since the daemon may be killed; but what it gives is right."""
        got = self.p.read(self.path(what))
        self.c.judge(got, self.oracle(what), "%s %s" % what)

    # -- what must be true afterwards

    def check(self):
        """What is cached starts nothing, and is exact; what is pinned is cached."""
        p, c = self.p, self.c
        for kind in ("base", "next", "tree"):
            top = os.path.join(p.mnt, "cached", kind, "1")
            names = [n for n in os.listdir(top) if n.startswith("id=")] if os.path.isdir(top) else []
            for n in names:
                what = (kind, n[3:])
                before = self.ran(what)
                got = p.read(self.path(what, "cached"))
                c.expect(got.status == 0, "%s %s: listed in /cached and cannot be read: errno %d" % (*what, got.status))
                c.judge(got, self.oracle(what), "%s %s in /cached" % what)
                self.demand(what)
                if self.ran(what) > before:
                    c.lost("%s %s: a dangling hit, it is listed and its read executed it" % what)
                c.hit("hits looked at")
        for what in list(self.pinned):
            before = self.ran(what)
            c.expect(os.path.exists(os.path.join(p.mnt, self.path(what, "cached"))), "%s %s: pinned and not cached" % what)
            self.demand(what)
            if self.ran(what) > before:
                c.lost("%s %s was pinned and is executed again" % what)

    def without_manifest(self):
        self.p.umount()
        shutil.rmtree(os.path.join(self.p.store, "db"))
        self.p.mount()
        self.c.hit("rebuilds")

    def fsck(self):
        done = self.p.mem("fsck")
        self.c.expect(done.status == 0, "fsck: exit %d: %s" % (done.status, (done.out + done.err)[-600:].decode(errors="replace")))
        self.c.hit("fsck")

    def one(self, r, rng):
        work = [self.random(rng) for _ in range(8)]
        for a in [self.pool.submit(self.demand, w) for w in work]:
            self.c.expect(a.result(), "a read failed")
        what = rng.choice(work)
        if rng.random() < 0.5:
            self.pin(what)
        if len(self.pinned) > 4:
            self.unpin(rng.choice(sorted(self.pinned)))
        if rng.random() < 0.3:
            free = [w for w in work if w not in self.pinned]
            if free:
                self.command("forget", "/tasks/%s/1/id=%s" % rng.choice(free))
        held = self.hold(rng.choice(work))
        killed = self.collecting(rng, ("none", "call", "moment", "call")[r % 4])
        if held is not None:
            self.let_go(held, killed)
        if r % 4 == 2:
            self.without_manifest()
        self.check()
        if r % 4 == 3:
            self.fsck()


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount()
        one = {"version": "1", "inputs": {"id": {"type": "string"}}, "env": {"COUNT": p.count}}
        need = {"needs": {"from": {"task": "base", "inputs": {"id": "{inputs.id}"}}}}
        p.task("base", {**one, "command": sh(BASE)})
        p.task("next", {**one, **need, "command": sh(NEXT)})
        p.task("tree", {**one, **need, "output": {"type": "Directory", "path": "out"}, "command": sh(TREE)})
        k = Round(c, p)
        for r in c.each_round():
            k.one(r, c.rng(r))
        c.beat("reading all at the end")
        for kind in ("base", "next", "tree"):
            for i in range(NAMES):
                c.expect(k.demand((kind, "n%d" % i)), "%s n%d does not come back" % (kind, i))
        for what in sorted(k.pinned):
            k.unpin(what)
        c.expect(k.collect(0) == 0, "the last collection failed")
        left = sum(len([f for f in files if len(f) >= 64]) for _, _, files in os.walk(os.path.join(p.store, "objects")))
        c.expect(left == 0, "%d objects are left when nothing is pinned and all was collected" % left)
        k.fsck()
        k.pool.shutdown()
    c.need("collected", c.rounds)
    c.need("kills", c.rounds // 2)
    c.need("rebuilds", c.rounds // 4)
    c.need("hits looked at", c.rounds)
    c.need("held open", c.rounds // 5)
    c.need("pins", c.rounds // 5)
