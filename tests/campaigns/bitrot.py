"""Bit-rot: one bit in each of many objects and receipts, and a disk that cannot be read; fsck finds exactly these.

A store with results of every kind. Then, one after the other:
 - one bit is turned over in each victim (files, executables, large files, listings and files of trees, receipts): fsck must
   name each of them and nothing else, repair must mend them, and then every read is exact; only what lost its bytes is
   executed again;
 - the same in large files alone, for verify --all, which no open would find;
 - without fsck: objects that are short, gone, of another mode or no file, or (after a restart) have a bit turned over, are
   found by the next open and made again within it;
 - a disk that gives EIO: the reader gets EIO, nothing is executed for it but once for what fails again, and all is well
   when the disk is."""
import errno
import json
import os
import stat

from campaign import Broken, Ledger, sh, work_bytes, work_path

SHORT, LONG = 60, 1200  # victims of the first part: five objects for each receipt

LARGE = 1 << 20  # bytes above which an open does not look at the content
LARGE_SIZE = 1200000

EXEC = r"""
echo "$INPUT_ID" >>"$COUNT/log"
printf '#!/bin/sh\necho %s\n' "$INPUT_ID" >o
chmod +x o
"""
TREE = r"""
echo "$INPUT_ID" >>"$COUNT/log"
mkdir -p o/sub/deep
printf 'one %s\n' "$INPUT_ID" >o/one
printf 'two %s\n' "$INPUT_ID" >o/sub/two
printf 'three %s\n' "$INPUT_ID" >o/sub/deep/three
ln -s sub/two o/link
"""


class Result:
    def __init__(self, name, task, size=64):
        self.name, self.task, self.size = name, task, size

    def files(self):
        """Path in the mount and bytes of each file."""
        below = "tasks/%s/1/id=%s" % (self.task, self.name)
        if self.task == "work":
            return [(work_path(self.name, size=self.size), work_bytes(self.name, self.size))]
        if self.task == "exec":
            return [(below, b"#!/bin/sh\necho %s\n" % self.name.encode())]
        text = self.name.encode()
        return [(below + "/one", b"one %s\n" % text), (below + "/sub/two", b"two %s\n" % text),
                (below + "/sub/deep/three", b"three %s\n" % text)]


def make(c, p, total):
    """The results, by runs over sheets."""
    inputs = {"id": {"type": "string"}}
    p.task_work()
    p.task("exec", {"version": "1", "inputs": inputs, "env": {"COUNT": p.count},
                    "output": {"type": "File", "path": "o"}, "command": sh(EXEC)})
    p.task("tree", {"version": "1", "inputs": inputs, "env": {"COUNT": p.count},
                    "output": {"type": "Directory", "path": "o"}, "command": sh(TREE)})
    results = []
    for i in range(total):
        kind = i % 8
        if i % 40 == 39:
            results.append(Result("large%d" % i, "work", LARGE_SIZE))
        elif kind < 4:
            results.append(Result("file%d" % i, "work", 1 + 37 * i % 5000))
        elif kind < 6:
            results.append(Result("tree%d" % i, "tree"))
        else:
            results.append(Result("exec%d" % i, "exec"))
    for task in ("work", "exec", "tree"):
        sheet = os.path.join(p.dir, task + ".csv")
        with open(sheet, "w") as f:
            f.write("id,size\n" if task == "work" else "id\n")
            for r in results:
                if r.task == task:
                    f.write("%s,%d\n" % (r.name, r.size) if task == "work" else "%s\n" % r.name)
        c.beat("making the results of " + task, 60 + total)
        p.must("run", task, "--sheet", sheet, timeout=60 + total)
    return results


def below(top):
    for d, _, files in os.walk(top):
        for f in files:
            yield os.path.join(d, f)


class Objects:
    """What lies in the store, by where fsck would name it."""

    def __init__(self, p):
        self.files, self.trees, self.receipts = {}, {}, {}
        top = os.path.join(p.store, "objects")
        for path in below(top):
            if os.path.islink(path):
                continue
            where = os.path.relpath(path, p.store)
            if ".d/" in where:
                tree = where[:where.index(".d/") + 2]
                self.trees.setdefault(tree, []).append(path)
            else:
                self.files[where] = path
        for where in self.trees:  # a listing counts with its tree: one of both is damaged
            self.trees[where].append(self.files.pop(where[:-2]))
        for path in below(os.path.join(p.store, "receipts")):
            where = os.path.relpath(path, p.store)
            if not where.startswith("receipts/tasks/") and len(os.path.basename(path)) == 64:
                self.receipts[where] = path


def flip(path, rng):
    """Turns one bit over; times and mode stay."""
    st = os.lstat(path)
    os.chmod(path, st.st_mode | stat.S_IWUSR)
    fd = os.open(path, os.O_RDWR)
    at = rng.randrange(st.st_size)
    byte = os.pread(fd, 1, at)[0]
    os.pwrite(fd, bytes([byte ^ 1 << rng.randrange(8)]), at)
    os.close(fd)
    os.chmod(path, stat.S_IMODE(st.st_mode))
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def fsck(c, p, want, *options):
    """Runs it; the places that it names, by what became of them."""
    done = p.mem("fsck", "--json", *options, timeout=120)
    rows = [json.loads(line) for line in done.out.splitlines()]
    if done.status != want:
        c.failed("fsck %s: exit %d instead of %d: %s" % (" ".join(options), done.status, want, done.err.decode()))
    if not rows or rows[-1]["found"] != "summary":
        raise Broken("fsck: no summary: %s" % done.err.decode())
    return {found: {r["where"] for r in rows if r["found"] == found} for found in ("wrong", "repaired", "failed")}


def same(c, what, got, want):
    for where in sorted(want - got):
        c.wrong("%s: not found: %s" % (what, where))
    for where in sorted(got - want):
        c.wrong("%s: found though nothing is wrong with it: %s" % (what, where))
    c.hit("found by " + what.split()[0], len(got & want))


def read_all(c, p, results, ledger):
    """Every file of every result is exact."""
    for r in results:
        c.beat("reading " + r.name)
        for path, data in r.files():
            c.expect(c.judge(p.read(path), data, path), "%s cannot be read" % path)
            c.hit("exact reads")
        ledger.ack(r.name)


def made_of(p, results):
    """The name of the result that each object is made of (by its bytes)."""
    found = {}
    by_text = {data: r.name for r in results for _, data in r.files()}
    objects = Objects(p)
    for where, path in objects.files.items():
        with open(path, "rb") as f:
            found[where] = by_text.get(f.read())
    for where, paths in objects.trees.items():
        for path in paths:
            if path.endswith("/one"):
                with open(path, "rb") as f:
                    found[where] = by_text.get(f.read())
    return objects, found


def rot(c, p, results, ledger):
    """The first part: fsck against bits."""
    rng = c.rng("rot")
    objects, owner = made_of(p, results)
    receipts = c.rounds // 6
    victims = rng.sample(sorted(objects.files) + sorted(objects.trees), c.rounds - receipts)
    same(c, "clean fsck", fsck(c, p, 0)["wrong"], set())
    want = set()
    for i, where in enumerate(sorted(victims, reverse=True)):
        listing = where in objects.trees and i % 3 == 0
        inside = [path for path in sorted(objects.trees.get(where, ())) if (".d/" in path) != listing]
        path = objects.files.get(where) or rng.choice(inside)
        flip(path, rng)
        want.add(where[:-2] if listing else where)
        c.hit("listings" if listing else "trees" if where in objects.trees else "files")
        ledger.forget(owner[where])
    for where in rng.sample(sorted(objects.receipts), receipts):
        flip(objects.receipts[where], rng)
        want.add(where)
        c.hit("receipts")
    c.beat("fsck", 300)
    same(c, "fsck", fsck(c, p, 1)["wrong"], want)
    c.beat("fsck --repair", 300)
    mended = fsck(c, p, 1, "--repair")
    same(c, "repair", mended["repaired"], want)
    c.expect(not mended["failed"], "repair: could not mend %s" % sorted(mended["failed"])[:3])
    same(c, "second fsck", fsck(c, p, 0)["wrong"], set())
    p.mount()
    before = p.executions()
    read_all(c, p, results, ledger)
    c.hit("executed again", p.executions() - before)
    c.expect(p.executions() - before == len(victims),
             "%d were executed again, %d had lost their bytes" % (p.executions() - before, len(victims)))
    same(c, "fsck after all", fsck(c, p, 0)["wrong"], set())


def rot_large(c, p, results, ledger):
    """verify --all finds what no open looks at."""
    rng = c.rng("large")
    objects, owner = made_of(p, results)
    victims = [w for w, path in objects.files.items() if os.path.getsize(path) > LARGE]
    for where in victims:
        flip(objects.files[where], rng)
        ledger.forget(owner[where])
    done = p.mem("verify", "--all", "--json", timeout=300)
    rows = [json.loads(line) for line in done.out.splitlines()]
    bad = {r["path"] for r in rows if not r["valid"]}
    same(c, "verify --all", {b.split("id=")[1].split(",")[0] for b in bad}, {owner[w] for w in victims})
    c.expect(done.status == 1, "verify --all: exit %d" % done.status)
    c.expect(len(rows) == len(results), "verify --all: %d of %d results" % (len(rows), len(results)))
    read_all(c, p, [r for r in results if r.size > LARGE], ledger)


def spoil(path, how, rng):
    if how == "short":
        os.chmod(path, 0o644)
        os.truncate(path, rng.randrange(os.path.getsize(path)))
        os.chmod(path, 0o444)
    elif how == "mode":
        os.chmod(path, 0o644)
    else:
        os.unlink(path)
        if how == "link":
            os.symlink("/etc/passwd", path)
        elif how == "directory":
            os.mkdir(path)


def rot_open(c, p, results, ledger):
    """Without fsck: the next open finds it."""
    rng = c.rng("open")
    objects, owner = made_of(p, results)
    small = [w for w, path in objects.files.items() if os.path.getsize(path) <= LARGE]
    victims = rng.sample(small + sorted(objects.trees), max(12, c.rounds // 6))
    p.umount()
    for i, where in enumerate(victims):
        how = ("short", "gone", "flip", "link", "mode", "directory")[i % 6]
        path = objects.files.get(where) or rng.choice([f for f in objects.trees[where] if ".d/" in f])
        if how == "flip":
            flip(path, rng)
        else:
            spoil(path, how, rng)
        c.hit("open: " + how)
        ledger.forget(owner[where])
    p.mount()
    lost = {owner[w] for w in victims}
    before = p.executions()
    read_all(c, p, [r for r in results if r.name in lost], ledger)
    c.expect(p.executions() - before == len(victims),
             "open: %d were executed again of %d" % (p.executions() - before, len(victims)))
    same(c, "fsck after opens", fsck(c, p, 0)["wrong"], set())


def is_sanitized(c):
    with open(os.path.join(c.build, "build.ninja")) as f:
        return "-fsanitize" in f.read()


def eio(c, p, results, ledger):
    """A disk that cannot be read: for one object at a time, and for all of them."""
    if is_sanitized(c):
        return
    rng = c.rng("eio")
    objects, owner = made_of(p, results)
    control = os.path.join(p.dir, "eio")

    def bad(text):
        with open(control, "w") as f:
            f.write(text)

    bad("")
    small = {w: path for w, path in objects.files.items() if os.path.getsize(path) <= LARGE and owner[w] is not None}
    by_name = {r.name: r for r in results}
    for i in range(max(3, c.rounds // 12)):
        c.beat("EIO %d" % i)
        p.umount()
        p.mount(env={"MEMO_EIO": control, "LD_PRELOAD": c.tool("eio.so")})
        where = rng.choice(sorted(small))
        r = by_name[owner[where]]
        path, data = r.files()[0]
        tries = rng.choice((1, 1, 2, 5))
        before = p.executions()
        ledger.forget(r.name)
        bad(os.path.basename(where))
        for k in range(tries):
            got = p.read(path)
            c.expect(got.status == errno.EIO, "EIO: read %d of %s gave %s" % (k, path, got.status))
            c.hit("EIO to the reader", got.status == errno.EIO)
        bad("")
        again = p.executions() - before
        c.expect(again == (tries > 1), "EIO: %d reads that failed had it executed %d times" % (tries, again))
        c.judge(p.read(path), data, path)
        c.expect(p.executions() - before == again, "EIO: executed when the disk was well again")
        ledger.ack(r.name)
    p.umount()
    p.mount(env={"MEMO_EIO": control, "LD_PRELOAD": c.tool("eio.so")})
    some = [by_name[owner[w]] for w in rng.sample(sorted(small), min(len(small), 30))]
    before = p.executions()
    for r in some:
        ledger.forget(r.name)
    bad("/objects/")
    for _ in range(3):
        for r in some:
            c.hit("EIO to the reader", p.read(r.files()[0][0]).status == errno.EIO)
    bad("")
    c.max("executed on a dead disk", p.executions() - before)
    c.expect(p.executions() - before <= 8, "a dead disk: %d executions" % (p.executions() - before))
    read_all(c, p, some, ledger)


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.init()
        results = make(c, p, c.rounds + c.rounds // 4)
        ledger = Ledger(c, p)
        for r in results:
            ledger.ack(r.name)
        rot(c, p, results, ledger)
        rot_large(c, p, results, ledger)
        rot_open(c, p, results, ledger)
        eio(c, p, results, ledger)
        ledger.check()
        c.expect(p.alive(), "the daemon is gone")
    c.need("found by fsck", c.rounds)
    c.need("found by repair", c.rounds)
    c.need("found by verify")
    c.need("files")
    c.need("trees")
    c.need("listings")
    c.need("receipts", c.rounds // 6)
    if not is_sanitized(c):
        c.need("EIO to the reader", 3)
