"""Inputs and tools that change before, while and after they are hashed and read: no result under what was not read.

The task prints the hash of what it read. So each result of the store must say what is in its own key, whatever was done to
the input meanwhile: written in place, replaced, set back with its old times, reached by a link that is turned, written by
a mapping. Afterwards, at rest, a read must give the hash of what is there now."""
import collections
import concurrent.futures
import errno
import glob
import hashlib
import json
import mmap
import os
import threading
import time

from campaign import run_process

SHORT, LONG = 42, 1008
SIZES = (8, 70000, (3 << 20) // 2, 4 << 20)

# What it reads lies between two gates, which are there when the campaign wants to do something in between.
WAIT = r"""
gate() { [ ! -e "$COUNT/hold-$b" ] || { : >"$COUNT/$1-$b"; while [ ! -e "$COUNT/go-$1-$b" ]; do sleep 0.01; done; }; }
"""
FILE = WAIT + r"""
b=${INPUT_F##*/}
gate begin
h=$(sha256sum <"$INPUT_F")
gate end
echo "${h%% *}"
"""
DIRECTORY = WAIT + r"""
b=${INPUT_F##*/}
gate begin
h=$( (echo "memofs-tree 1"; cd "$INPUT_F" && for f in *; do
	s=$(sha256sum <"$f"); echo "f ${s%% *} $(stat -c %s "$f") $f"; done) | sha256sum)
gate end
echo "${h%% *}"
"""
TOOL = WAIT + r"""
b=$INPUT_ID
gate begin
h=$(campaign-tool)
gate end
echo "$h"
"""


def content(rng, size):
    return (rng.randbytes(min(size, 1000)) * (size // 1000 + 1))[:size]


class File:
    """An input file and the ways to change it. A and B have the same size."""

    sizes = SIZES

    def __init__(self, c, p, rng, r, top=None):
        self.size = rng.choice(self.sizes)
        self.a, self.b = content(rng, self.size), content(rng, self.size)
        self.path = os.path.join(top or p.dir, "in-%d" % r)
        self.base = os.path.basename(self.path)
        with open(self.path, "wb") as f:
            f.write(self.a)
        self.name = "eat/1/f=" + self.path.replace("/", "%2F")

    def write(self, data, back=False):
        """In place; with the old times put back."""
        st = os.stat(self.path)
        with open(self.path, "r+b") as f:
            f.write(data)
        if back:
            os.utime(self.path, ns=(st.st_atime_ns, st.st_mtime_ns))

    def replace(self, data):
        with open(self.path + ".new", "wb") as f:
            f.write(data)
        os.rename(self.path + ".new", self.path)

    def digest(self):
        with open(self.path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()


class Large(File):
    sizes = SIZES[2:]  # which is not simply copied


class Small(File):
    sizes = SIZES[:1]


class Directory(File):
    def __init__(self, c, p, rng, r, top=None):
        self.size = rng.choice(SIZES)
        self.a, self.b = content(rng, self.size), content(rng, self.size)
        self.top = os.path.join(p.dir, "in-%d" % r)
        os.mkdir(self.top)
        for name in ("f", "z"):
            with open(os.path.join(self.top, name), "wb") as f:
                f.write(self.a)
        self.path, self.base = os.path.join(self.top, "f"), os.path.basename(self.top)
        self.name = "eatdir/1/f=" + self.top.replace("/", "%2F")

    def digest(self):
        text = "memofs-tree 1\n"
        for name in sorted(os.listdir(self.top)):
            with open(os.path.join(self.top, name), "rb") as f:
                data = f.read()
            text += "f %s %d %s\n" % (hashlib.sha256(data).hexdigest(), len(data), name)
        return hashlib.sha256(text.encode()).hexdigest()


class Tool(File):
    """The tool that the task finds through PATH."""

    def __init__(self, c, p, rng, r, top=None):
        self.path, self.base = os.path.join(p.dir, "bin", "campaign-tool"), "id-%d" % r
        self.a, self.b = (b"#!/bin/sh\necho v%08d\n" % (2 * r + i) for i in range(2))
        self.replace(self.a)
        self.name = "tooled/latest/id=" + self.base

    def write(self, data, back=False):
        if not back:
            self.replace(data)  # a program that runs cannot be written
            return
        st = os.stat(self.path)
        self.replace(data)
        os.utime(self.path, ns=(st.st_atime_ns, st.st_mtime_ns))

    def replace(self, data):
        File.replace(self, data)
        os.chmod(self.path, 0o755)

    def digest(self):
        with open(self.path, "rb") as f:
            return f.read().split()[2].decode()


class Held:
    """A read that stops twice in its task: before and after it reads the input."""

    def __init__(self, c, p, f):
        self.c, self.p, self.f, self.got = c, p, f, None
        open(os.path.join(p.count, "hold-" + f.base), "w").close()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        self.got = self.p.read("tasks/" + self.f.name)

    def reached(self, gate):
        """True when the task stands there; False when it has not come so far, and the read is over."""
        end = time.monotonic() + 20 * self.c.slow
        while time.monotonic() < end and self.reader.is_alive():
            if os.path.exists(os.path.join(self.p.count, gate + "-" + self.f.base)):
                return True
            time.sleep(0.002)
        return False

    def go(self, gate):
        open(os.path.join(self.p.count, "go-%s-%s" % (gate, self.f.base)), "w").close()

    def end(self):
        for gate in ("begin", "end"):
            self.go(gate)
        self.reader.join(60 * self.c.slow)
        return self.got


def around(c, p, f, change, back=None):
    """Changes it before the task reads, and perhaps back before it ends."""
    h = Held(c, p, f)
    if h.reached("begin"):
        change()
        c.hit("changed while it ran")
        h.go("begin")
        if back is not None and h.reached("end"):
            back()
            c.hit("set back while it ran")
    return h.end()


def meanwhile(p, f, rng, change, seconds=0.12):
    """Changes it without end while it is asked for."""
    stop = threading.Event()

    def flip():
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.is_set():
            change(rng.choice((f.a, f.b)))
            time.sleep(rng.choice((0, 0, 0.001, 0.004, 0.01)))

    t = threading.Thread(target=flip)
    t.start()
    time.sleep(rng.uniform(0, 0.02))
    got = p.read("tasks/" + f.name)
    stop.set()
    t.join()
    return got


def ticks(c, p, f, rng):
    """Written, read, and written again within one tick of a clock that tells ticks. Both contents are known already, so
    that a read takes no longer."""
    f.write(f.b)
    got = p.read("tasks/" + f.name)
    f.write(f.a)
    p.read("tasks/" + f.name)
    for i in range(30):
        f.write(f.b if i % 2 == 0 else f.a)
        now = p.read("tasks/" + f.name)
        if now.status != 0 or now.data.decode().strip() != f.digest():
            c.wrong("two writes in one tick: it reads %s, the input is %s" % (now, f.digest()))
        c.hit("writes around a tick")
    return got


def mapped_later(c, p, f):
    """By a mapping that is made while the task runs, and whose pages are read before they are written."""
    made = []

    def change():
        with open(f.path, "r+b") as g:
            made.append(mmap.mmap(g.fileno(), f.size))
        made[0].find(b"\xff\x00\xff\x00\xff")  # nearly all of it
        made[0][:] = f.b

    def back():
        made[0][:] = f.a
        made[0].close()

    return around(c, p, f, change, back)


def mapped(c, p, f):
    """Written through a mapping whose pages were dirty before the hashing began."""
    fd = os.open(f.path, os.O_RDWR)
    m = mmap.mmap(fd, f.size)
    os.close(fd)

    def write(data):
        m[:] = data

    write(f.a)
    time.sleep(0.04)  # settled, by the stamps
    got = around(c, p, f, lambda: write(f.b), lambda: write(f.a))
    m.flush()
    m.close()
    os.utime(f.path)
    return got


def turned(c, p, f):
    """The input is a link, which is turned elsewhere while the task runs."""
    real = f.path + "-real"
    os.rename(f.path, real)
    with open(f.path + "-other", "wb") as g:
        g.write(f.b)

    def turn(to):
        os.symlink(to, f.path + ".new")
        os.rename(f.path + ".new", f.path)

    turn(real)
    return around(c, p, f, lambda: turn(f.path + "-other"), lambda: turn(real))


def grown(c, p, f):
    def grow():
        with open(f.path, "ab") as g:
            g.write(b"more")

    return around(c, p, f, grow, lambda: os.truncate(f.path, f.size))


def moved(c, p, f):
    """Another file in its place, and the same one again."""

    def away():
        os.rename(f.path, f.path + ".away")
        with open(f.path, "wb") as g:
            g.write(f.b)

    return around(c, p, f, away, lambda: os.rename(f.path + ".away", f.path))


def at_once(c, p, f, rng):
    """Written right before it is asked for, and right after."""
    f.write(f.b)
    t = threading.Timer(rng.uniform(0, 0.03), lambda: f.write(f.a))
    t.start()
    got = p.read("tasks/" + f.name)
    t.join()
    return got


def mount(p, kind, *options):
    """A file system in memory; its directory. None: not here."""
    at = os.path.join(p.dir, kind)
    os.mkdir(at)
    done = run_process(["mount", "-t", kind, *options, "none", at])
    return at if done.status == 0 else None


def scenes(memory, coarse):
    yield File, lambda c, p, f, rng: at_once(c, p, f, rng)
    yield File, lambda c, p, f, rng: meanwhile(p, f, rng, f.write)
    yield File, lambda c, p, f, rng: meanwhile(p, f, rng, lambda d: f.write(d, True))
    yield File, lambda c, p, f, rng: meanwhile(p, f, rng, f.replace)
    yield Large, lambda c, p, f, rng: around(c, p, f, lambda: f.write(f.b))
    yield File, lambda c, p, f, rng: around(c, p, f, lambda: f.write(f.b, True), lambda: f.write(f.a, True))
    yield File, lambda c, p, f, rng: around(c, p, f, lambda: f.replace(f.b))
    yield File, lambda c, p, f, rng: grown(c, p, f)
    yield File, lambda c, p, f, rng: moved(c, p, f)
    yield Large, lambda c, p, f, rng: turned(c, p, f)
    yield Large, lambda c, p, f, rng: mapped(c, p, f)
    yield Directory, lambda c, p, f, rng: around(c, p, f, lambda: f.write(f.b, True), lambda: f.write(f.a, True))
    yield Directory, lambda c, p, f, rng: meanwhile(p, f, rng, f.write)
    yield Directory, lambda c, p, f, rng: moved(c, p, f)
    yield Tool, lambda c, p, f, rng: around(c, p, f, lambda: f.write(f.b))
    yield Tool, lambda c, p, f, rng: around(c, p, f, lambda: f.write(f.b, True), lambda: f.write(f.a, True))
    yield Tool, lambda c, p, f, rng: meanwhile(p, f, rng, f.replace)
    if memory is not None:
        yield lambda c, p, rng, r: Large(c, p, rng, r, memory), lambda c, p, f, rng: mapped(c, p, f)
        yield lambda c, p, rng, r: Large(c, p, rng, r, memory), lambda c, p, f, rng: mapped_later(c, p, f)
        yield lambda c, p, rng, r: File(c, p, rng, r, memory), lambda c, p, f, rng: meanwhile(p, f, rng, f.write)


    if coarse is not None:  # one whose stamps are those of the clock's ticks, on newer kernels too
        yield lambda c, p, rng, r: Small(c, p, rng, r, coarse), ticks


def tasks(p):
    one = {"version": "1", "env": {"COUNT": p.count}}
    p.task("eat", {**one, "inputs": {"f": {"type": "File"}}, "script": "run.sh"}, {"run.sh": "#!/bin/sh\n" + FILE})
    p.task("eatdir", {**one, "inputs": {"f": {"type": "Directory"}}, "script": "run.sh"},
           {"run.sh": "#!/bin/sh\n" + DIRECTORY})
    bin = os.path.join(p.dir, "bin")
    os.mkdir(bin)
    p.must("config", "path", bin + ":/usr/local/bin:/usr/bin:/bin")
    with open(os.path.join(bin, "campaign-tool"), "w") as f:
        f.write("#!/bin/sh\n")
    os.chmod(f.name, 0o755)
    p.task("tooled", {"env": {"COUNT": p.count}, "inputs": {"id": {"type": "string"}}, "tools": ["campaign-tool"],
                      "script": "run.sh"}, {"run.sh": "#!/bin/sh\n" + TOOL})


def in_key(found, said):
    """A File is in the key by name and hash, a Directory by the hash of both."""
    f = found["key"]["inputs"]["f"]
    if isinstance(f, dict):
        return f["sha256"] == said
    base = os.path.basename(found["inputs"]["f"])
    return f == hashlib.sha256(("memofs-directory 1\n%s\n%s\n" % (base, said)).encode()).hexdigest()


def audit(c, p):
    """Every result says what its key says. Returns how many there are."""
    codes, n = collections.defaultdict(set), 0
    for path in glob.glob(os.path.join(p.store, "receipts", "*", "*")):
        with open(path) as f:
            found = json.loads(f.read().split("\n")[1])
        if not isinstance(found.get("key"), dict) or "result" not in found:
            continue
        name = found["result"]["hash"]
        with open(os.path.join(p.store, "objects", name[:2], name)) as f:
            said = f.read().strip()
        n += 1
        if found["key"]["task"] == "tooled":
            codes[found["key"]["code"]].add(said)
        elif not in_key(found, said):
            c.wrong("%s: the task read %s, which is not in its key" % (json.dumps(found["key"]["inputs"]), said))
    for code, said in codes.items():
        if len(said) != 1:
            c.wrong("the tool of one fingerprint gave %s" % sorted(said))
    return n


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.init(failure_backoff=0)
        p.mount()
        tasks(p)
        root = os.geteuid() == 0
        memory = mount(p, "tmpfs", "-o", "size=64m") if root else None
        coarse = mount(p, "ramfs") if root else None
        every = list(scenes(memory, coarse))
        for r in c.each_round(120):
            rng = c.rng(r)
            make, act = every[r % len(every)]
            f = make(c, p, rng, r)
            got = act(c, p, f, rng)
            what = "round %d, %s of %d bytes" % (r, f.name.split("/")[0], getattr(f, "size", 0))
            if not c.expect(got is not None, "%s: never answered" % what):
                continue
            c.expect(got.status in (0, errno.EIO, errno.EAGAIN), "%s: errno %s" % (what, got.status))
            c.hit("answered" if got.status == 0 else "refused because it changed")
            for held in glob.glob(os.path.join(p.count, "hold-*")):
                os.unlink(held)
            now = p.read("tasks/" + f.name)  # at rest, and at once
            want = f.digest()
            if now.status != 0:
                c.failed("%s: at rest, and errno %d" % (what, now.status))
            elif now.data.decode().strip() != want:
                c.wrong("%s: at rest it reads %s, the input is %s" % (what, now.data, want))
            c.hit("at rest")
            if f.path.startswith((p.dir + "/tmpfs/", p.dir + "/ramfs/")):
                os.unlink(f.path)
        c.hit("results", audit(c, p))
    c.need("changed while it ran", c.rounds // 4)
    c.need("set back while it ran", c.rounds // 8)
    c.need("results", c.rounds)
