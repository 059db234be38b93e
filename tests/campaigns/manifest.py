"""One damaged file of the manifest in each round: it starts unaided, all results are there, exact, none is executed again.

A store with some results is stopped, properly or by SIGKILL, and one file of db/ is flipped, cut, zeroed or removed; or one is
damaged under a daemon that runs. A flip in the log, a missing log and a cut MANIFEST are those that RocksDB alone takes for
an older state without a word. Receipts are left alone: they are what nothing may be lost with."""
import glob
import os
import shutil

from campaign import run_process, sweep_mount

SHORT, LONG = 8, 500
KINDS = ("log", "sst", "MANIFEST", "CURRENT", "OPTIONS", "IDENTITY")
WAYS = ("flip", "zero", "cut", "remove")
FIRST = 40  # results of the store that all rounds begin with
MORE = 12  # those of the round


def result(n):
    return b"result %d\n" % n


def path(n):
    return "fill/1/n=%d" % n


def files(db, kind):
    names = {"log": "*.log", "sst": "*.sst", "MANIFEST": "MANIFEST-*"}.get(kind, kind if kind != "OPTIONS" else "OPTIONS-*")
    return sorted(f for f in glob.glob(os.path.join(db, names)) if os.path.getsize(f) > 0)


def records(file):
    """Where the records of one of RocksDB's logs end: a list of tables that is cut there is an older one, and whole."""
    with open(file, "rb") as f:
        data = f.read()
    at, found = 0, []
    while at + 7 <= len(data):
        length = int.from_bytes(data[at + 4:at + 6], "little")
        if length == 0:
            break
        at += 7 + length
        found.append(at)
    return found[1:-1]


def damage(rng, file, way):
    size = os.path.getsize(file)
    if way == "remove":
        os.unlink(file)
        return
    with open(file, "r+b") as f:
        if way == "cut":
            ends = records(file) if "MANIFEST-" in file else []
            f.truncate(rng.choice(ends) if ends and rng.random() < 0.7 else rng.randrange(size))
            return
        at = rng.randrange(size) if way == "flip" else rng.randrange(0, size, 4096)
        f.seek(at)
        old = f.read(1 if way == "flip" else 4096)
        f.seek(at)
        f.write(bytes([old[0] ^ (1 << rng.randrange(8))]) if way == "flip" else bytes(len(old)))


def register(c, p):
    p.init()
    p.task("fill", {"version": "1", "inputs": {"n": {"type": "int"}}, "env": {"COUNT": p.count},
                    "command": ["sh", "-c", 'echo "$INPUT_N" >>"$COUNT/log"; echo "result $INPUT_N"']})


def fill(c, p, first, count, *how):
    done = run_process([c.tool("fill"), "make", p.store, str(first), str(count), *how], 60 * c.slow)
    if done.status not in (0, -9) or b"made=%d" % count not in done.out:
        c.failed("fill: exit %d: %s" % (done.status, done.err.decode(errors="replace")))


def read_all(c, p, rng, total, what):
    """Through /tasks, where a miss would execute, and a few through /cached, where it would be absent."""
    order = list(range(total))
    rng.shuffle(order)
    for n in order:
        view = "cached/" if rng.random() < 0.2 else "tasks/"
        got = p.read(view + path(n))
        if not c.judge(got, result(n), "%s n=%d" % (what, n)):
            c.failed("%s: n=%d cannot be read: errno %d" % (what, n, got.status))


def run(c):
    c.need_fuse()
    with c.place() as base:
        register(c, base)
        fill(c, base, 0, FIRST)
        for r in c.each_round(120):
            rng = c.rng(r)
            # the kinds in turn, so that each form meets them all; those that matter more often
            kind = ("sst", "log", "MANIFEST", "CURRENT", "sst", "log", "MANIFEST",
                    rng.choice(("CURRENT", "OPTIONS", "IDENTITY")))[r % 8]
            way = WAYS[(r * 3 + r // 4) % 4]
            stop = "kill" if kind == "log" or rng.random() < (0.25 if kind == "MANIFEST" else 0.5) else "clean"
            one(c, rng, base, r, kind, way, stop, live=kind == "sst" and r % 8 == 4)
    c.need("rounds with a mount", c.rounds)
    for kind in ("log", "sst", "MANIFEST", "CURRENT"):
        c.need(kind, max(1, c.rounds // 10))
    c.need("under a daemon", max(1, c.rounds // 10))


def one(c, rng, base, r, kind, way, stop, live):
    what = "round %d, %s %s after %s" % (r, way, kind, "no stop" if live else stop)
    with c.place() as p:
        shutil.copytree(base.store, p.store, symlinks=True, ignore=shutil.ignore_patterns("control.sock"))
        p.must("config", "writable", p.count)
        p.task("fill", {"version": "1", "inputs": {"n": {"type": "int"}}, "env": {"COUNT": p.count},
                        "command": ["sh", "-c", 'echo "$INPUT_N" >>"$COUNT/log"; echo "result $INPUT_N"']})
        total = FIRST + MORE
        fill(c, p, FIRST, MORE, *(["kill"] if stop == "kill" and not live else []))
        if live:
            p.mount()
        names = files(os.path.join(p.store, "db"), kind)
        if not names:
            c.failed("%s: there is no such file" % what)
            return
        for name in names if kind == "sst" and way != "remove" else [rng.choice(names)]:
            damage(rng, name, way)
        c.hit(kind)
        c.hit("%s %s" % (kind, way))
        if live:
            c.hit("under a daemon")
        else:
            p.mount()
            c.hit("after " + stop)
        c.hit("rounds with a mount")
        read_all(c, p, rng, total, what)
        if live and not p.alive():
            c.failed("%s: the daemon died" % what)
        p.umount()
        p.mount()
        read_all(c, p, rng, total, what + ", the start after")
        if p.executions():
            c.lost("%s: %d results were executed again" % (what, p.executions()))
        if glob.glob(os.path.join(p.store, "quarantine", "db.*")):
            c.hit("kept in quarantine")
        p.umount()
        shutil.rmtree(p.dir, ignore_errors=True)
