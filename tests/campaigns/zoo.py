"""The zoo of outputs: each kind of thing that a task may leave behind is stored as documented, or refused by its name.

A round is one output, written down as steps that the task carries out; what has to become of it is worked out here from
the same steps. Nothing outside the store may change (canaries), nothing may stay in staging, and what is refused is
refused soon."""
import hashlib
import json
import os
import stat
import time

from campaign import run_process

SHORT, LONG = 19, 380
WIDE, GIANT = 2000, 100000  # entries
SOON = 20  # seconds, for what is refused

SCRIPT = r"""#!/usr/bin/env python3
import ctypes, fcntl, json, os, socket, struct, sys

raw = bytes.fromhex
libc = ctypes.CDLL(None, use_errno=True)

def do(what, *a):
    if what == "dir":
        os.mkdir(raw(a[0]))
    elif what == "file":
        with open(raw(a[0]), "wb") as f:
            f.write(raw(a[1]))
    elif what == "mode":
        os.chmod(raw(a[0]), a[1])
    elif what == "link":
        os.symlink(raw(a[1]), raw(a[0]))
    elif what == "hard":
        os.link(raw(a[1]), raw(a[0]))
    elif what == "fifo":
        os.mkfifo(raw(a[0]))
    elif what == "socket":
        socket.socket(socket.AF_UNIX).bind(raw(a[0]))
    elif what == "device":
        os.mknod(raw(a[0]), 0o600 | a[1], os.makedev(1, 3))
    elif what == "xattr":
        os.setxattr(raw(a[0]), a[1], raw(a[2]))
    elif what == "sparse":
        with open(raw(a[0]), "wb") as f:
            for at, text in a[2]:
                f.seek(at)
                f.write(raw(text))
            f.truncate(a[1])
    elif what == "many":
        for i in range(a[1]):
            if i % 500 == 0:
                d = raw(a[0]) + b"/%d" % i
                os.mkdir(d)
            with open(d + b"/%d" % i, "wb") as f:
                f.write(b"%d\n" % i)
    elif what == "deep":
        here = os.getcwd()
        os.chdir(raw(a[0]))
        for _ in range(a[1]):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(here)
    elif what == "locked":
        fd = os.open(raw(a[0]), os.O_RDONLY)
        flags = struct.unpack("L", fcntl.ioctl(fd, 0x80086601, struct.pack("L", 0)))[0]  # FS_IOC_GETFLAGS, SETFLAGS
        fcntl.ioctl(fd, 0x40086602, struct.pack("L", flags | a[1]))
        os.close(fd)
    elif what == "mount":
        if libc.mount(b"none", raw(a[0]), b"tmpfs", 0, None) != 0:
            raise OSError(ctypes.get_errno(), "mount")

for step in json.load(open(sys.argv[1])):
    do(*step)
"""

# How a name may look; a slash and NUL are all that cannot be in one.
NAMES = [b"plain", b"with space", b"new\nline", b"tab\t", b"\xff\xfe\x80", b"per%cent%2F", b"-rf", b"@default", b"a=b,c=d",
         b"\x1b[31mred", b"*?[", b"\xe2\x80\xae\xf0\x9f\x92\xa9", b"x" * 255, b"...", b"\\", b"'\"$(id)`"]


class Output:
    """Steps, and what they are to become: path -> (type, bytes or target or None, executable)."""

    def __init__(self, rng):
        self.rng, self.steps, self.want, self.refused = rng, [], {}, None

    def do(self, what, path, *args):
        self.steps.append([what, path.hex(), *[a.hex() if isinstance(a, bytes) else a for a in args]])

    def dir(self, path):
        self.do("dir", path)
        if path != b"o":
            self.want[path[2:]] = ("d", None, False)

    def file(self, path, data=None, mode=None):
        data = self.rng.randbytes(self.rng.choice((0, 1, 100, 5000, 70000))) if data is None else data
        self.do("file", path, data)
        if mode is not None:
            self.do("mode", path, mode)
        self.want[path[2:]] = ("f", data, (mode or 0) & 0o111 != 0)
        return data

    def link(self, path, target):
        self.do("link", path, target)
        self.want[path[2:]] = ("l", target, False)


def modes(o, _):
    for i in range(6):
        o.file(b"o/%d" % i, mode=o.rng.randrange(0o10000))


def directories(o, _):
    o.dir(b"o/a")
    o.dir(b"o/a/b")
    o.file(b"o/a/b/f")
    for path in (b"o/a/b", b"o/a", b"o"):
        o.do("mode", path, o.rng.choice((0, 0o111, 0o222, 0o7777, 0o2755, 0o444)))


def names(o, _):
    for name in o.rng.sample(NAMES, 8):
        if o.rng.random() < 0.3:
            o.dir(b"o/" + name)
            o.file(b"o/" + name + b"/" + o.rng.choice(NAMES))
        elif o.rng.random() < 0.2:
            o.link(b"o/" + name, b"to " + name[:200])
        else:
            o.file(b"o/" + name)


def attributes(o, _):
    o.file(b"o/f", mode=0o755)
    o.file(b"o/large", o.rng.randbytes(10) * 300000)
    acl = bytes.fromhex("0200000001000600ffffffff020007000100000004000400ffffffff10000700ffffffff20000400ffffffff")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    for path in (b"o/f", b"o/large", b"o"):
        o.do("xattr", path, "user.note", b"x" * o.rng.randrange(1, 1000))
        o.do("xattr", path, "system.posix_acl_access", acl)
        if path != b"o":
            o.do("xattr", path, "security.capability", capability)
    o.want[b"large"] = ("f", o.want[b"large"][1], True)  # the list's mask became the group's bits


def hard_links(o, canary):
    data = o.file(b"o/a", o.rng.randbytes(o.rng.choice((10, 2 << 20))))
    for i in range(o.rng.randrange(1, 4)):
        o.do("hard", b"o/h%d" % i, b"o/a")
        o.want[b"h%d" % i] = ("f", data, False)
    o.do("hard", b"o/out", os.fsencode(canary))
    with open(canary, "rb") as f:
        o.want[b"out"] = ("f", f.read(), False)


def good_links(o, _):
    o.dir(b"o/d")
    o.dir(b"o/d/e")
    o.file(b"o/d/f")
    for i, target in enumerate((b"../d/f", b"e", b"e/../f", b".", b"nothing", b"./e/..//f", b"..", b"back/d/f")):
        o.link(b"o/d/l%d" % i, target)
    o.link(b"o/d/back", b"..")


def bad_link(o, canary):
    o.dir(b"o/d")
    o.file(b"o/d/f")
    o.link(b"o/d/bad", o.rng.choice((os.fsencode(canary), b"/", b"../..", b"../../x", b"/proc/self/fd/0",
                                     b"../../../../../etc/passwd")))
    o.refused = "'d/bad' is a symbolic link"


def sly_link(o, _):
    """By its own text it stays inside."""
    o.dir(b"o/d")
    o.file(b"o/d/f")
    o.link(b"o/here", b".")
    o.link(b"o/d/up", b"..")
    o.link(b"o/d/bad", o.rng.choice((b"../here/here/../../etc", b"up/..", b"up/d/up/../x", b"up/here/here/../../../d")))
    o.refused = "'d/bad' is a symbolic link"


def special(o, _):
    o.dir(b"o/d")
    o.file(b"o/d/f")
    what = o.rng.choice(("fifo", "socket", "char", "block"))
    if what in ("char", "block"):
        o.do("device", b"o/d/bad", stat.S_IFCHR if what == "char" else stat.S_IFBLK)
    else:
        o.do(what, b"o/d/bad")
    o.refused = "'d/bad' is a %s" % {"fifo": "FIFO", "socket": "socket"}.get(what, "device")


def sparse(o, _):
    size = o.rng.randrange(1 << 20, 1 << 26)
    parts = sorted((o.rng.randrange(size), o.rng.randbytes(50)) for _ in range(4))
    o.steps.append(["sparse", b"o/s".hex(), size, [[at, text.hex()] for at, text in parts]])
    data = bytearray(size + 50)
    for at, text in parts:
        data[at:at + 50] = text
    o.want[b"s"] = ("f", bytes(data[:size]), False)
    if o.rng.random() < 0.5:
        o.do("hard", b"o/t", b"o/s")
        o.want[b"t"] = o.want[b"s"]


def bomb(o, _):
    for i in range(o.rng.randrange(1, 4)):
        o.file(b"o/a%d" % i)
    size = o.rng.choice((1 << 40, 1 << 43, (64 << 30) + (1 << 20)))
    o.steps.append(["sparse", b"o/bomb".hex(), size, [[o.rng.randrange(1 << 30), b"x".hex()]]])
    o.refused = "'bomb': an output may hold at most 64 GiB of holes"


def wide(o, _):
    n = o.rng.randrange(WIDE)
    o.do("many", b"o", n)
    for i in range(n):
        if i % 500 == 0:
            d = b"%d" % i
            o.want[d] = ("d", None, False)
        o.want[d + b"/%d" % i] = ("f", b"%d\n" % i, False)


def giant(o, _):
    o.do("many", b"o", GIANT)
    o.want = None  # counted only


def deep(o, _):
    n = o.rng.randrange(1, 250)
    o.do("deep", b"o", n)
    for i in range(1, n + 1):
        o.want[b"/".join([b"d"] * i)] = ("d", None, False)


def too_deep(o, _):
    o.do("deep", b"o", o.rng.choice((257, 300, 2000)))
    o.refused = "exceeds what one tree may hold"


def deep_rubbish(o, _):
    o.dir(b"rubbish")
    o.want.pop(b"bbish")
    o.do("deep", b"rubbish", 2500)
    o.file(b"o/f")


def locked(o, _):
    o.dir(b"o/d")
    o.file(b"o/d/a")
    o.file(b"o/f", o.rng.randbytes(o.rng.choice((10, 2 << 20))))
    flag = o.rng.choice((0x10, 0x20))  # immutable, append only
    for path in o.rng.sample((b"o/d/a", b"o/f", b"o/d", b"o"), 2):
        o.do("locked", path, flag)
    o.steps.sort(key=lambda s: s[0] == "locked")


def mounted(o, _):
    o.dir(b"o/d")
    o.file(b"o/f")
    o.do("mount", o.rng.choice((b"o", b"o/d")))
    o.refused = "mounted another file system over its output"


def empty(o, _):
    if o.rng.random() < 0.5:
        o.dir(b"o/d")


ROWS = [modes, directories, names, attributes, hard_links, good_links, bad_link, special, sparse, bomb, wide, deep, too_deep,
        deep_rubbish, locked, mounted, empty, sly_link, names]


def look(top):
    """What lies there: as Output.want. Names are bytes."""
    found = {}
    fds = [(os.open(top, os.O_RDONLY | os.O_DIRECTORY), b"")]
    while fds:
        fd, path = fds.pop()
        for name in os.listdir(b"/proc/self/fd/%d" % fd):
            st = os.stat(name, dir_fd=fd, follow_symlinks=False)
            at = path + name
            if stat.S_ISDIR(st.st_mode):
                found[at] = ("d", None, False)
                good = stat.S_IMODE(st.st_mode) == 0o555
                fds.append((os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd), at + b"/"))
            elif stat.S_ISLNK(st.st_mode):
                found[at] = ("l", os.readlink(name, dir_fd=fd), False)
                good = True
            else:
                with open(name, "rb", opener=lambda n, f, d=fd: os.open(n, f | os.O_NOFOLLOW, dir_fd=d)) as f:
                    data = f.read()
                found[at] = ("f", data, st.st_mode & 0o111 != 0)
                good = stat.S_IMODE(st.st_mode) in (0o444, 0o555) and len(data) == st.st_size
            if not good:
                found[at] = ("mode", oct(st.st_mode), st.st_size)
        os.close(fd)
    return found


def canary_state(canary):
    st = os.lstat(canary)
    with open(canary, "rb") as f:
        return st.st_mode, st.st_uid, st.st_ino, st.st_mtime_ns, hashlib.sha256(f.read()).hexdigest()


def check_objects(c, p, name, what):
    """Of the stored tree itself: nobody else's names, no attributes."""
    top = os.path.join(p.store, "objects", name[:2], name + ".d")
    for d, _, files in os.walk(os.fsencode(top)):
        c.expect(not os.listxattr(d), "%s: a directory keeps attributes %s" % (what, os.listxattr(d)))
        for f in files:
            path = os.path.join(d, f)
            st = os.lstat(path)
            if stat.S_ISREG(st.st_mode):
                c.expect(st.st_nlink == 1, "%s: %r has %d links" % (what, f, st.st_nlink))
                c.expect(not os.listxattr(path), "%s: %r keeps %s" % (what, f, os.listxattr(path)))


def message(p, name):
    try:
        with open(os.path.join(p.mnt, "info", name, "origin.json")) as f:
            return json.load(f).get("message", "no message")
    except OSError as e:
        return "no origin.json: %s" % e


def one(c, p, r, row, canary):
    o = Output(c.rng(r))
    o.dir(b"o")
    row(o, canary)
    what = "%s %d" % (row.__name__, r)
    spec = os.path.join(p.dir, "spec-%d.json" % r)
    with open(spec, "w") as f:
        json.dump(o.steps, f)
    before = canary_state(canary)
    name = "zoo/1/spec=" + spec.replace("/", "%2F")
    done = run_process(["ls", "-d", os.path.join(p.mnt, "tasks", name) + "/."], 300 * c.slow)
    if o.refused is not None:
        c.expect(done.status != 0, "%s: is served, though it was to be refused" % what)
        said = message(p, name)
        c.expect(o.refused in said, "%s: %r is not in the message %r" % (what, o.refused, said))
        c.expect(done.seconds < SOON * c.slow, "%s: refused after %.1f s" % (what, done.seconds))
        c.hit("refused")
    elif done.status != 0:
        c.failed("%s: refused: %s" % (what, message(p, name)))
    elif o.want is None:
        n = sum(len(d) + len(f) for _, d, f in os.walk(os.path.join(p.mnt, "tasks", name)))
        c.expect(n == GIANT + GIANT // 500, "%s: %d entries" % (what, n))
        c.max("seconds for %d entries" % GIANT, done.seconds, " s")
        c.hit("kept")
    else:
        found = look(os.path.join(p.mnt, "tasks", name))
        if found != o.want:
            for path in sorted(set(found) | set(o.want)):
                if found.get(path) != o.want.get(path):
                    c.wrong("%s: %r: %r instead of %r" % (what, path, short(found.get(path)), short(o.want.get(path))))
        with open(os.path.join(p.mnt, "info", name, "output_hash")) as f:
            check_objects(c, p, f.read().strip(), what)
        c.hit("kept")
        c.hit("entries", len(found))
    if row is sparse and done.status == 0:
        with open(os.path.join(p.mnt, "info", name, "output_hash")) as f:
            h = f.read().strip()
        used = os.stat(os.path.join(p.store, "objects", h[:2], h + ".d", "s")).st_blocks * 512
        c.expect(used < 1 << 20, "%s: its holes take %d bytes" % (what, used))
    c.expect(canary_state(canary) == before, "%s: a file outside the store was changed" % what)
    c.expect(os.lstat(canary).st_nlink == 1, "%s: a link to a file outside is left" % what)
    c.hit(row.__name__)


def short(entry):
    return entry if entry is None or not isinstance(entry[1], bytes) else (entry[0], entry[1][:40], len(entry[1]), entry[2])


def run(c):
    c.need_fuse()
    c.need_root("devices, mounts and flags")
    with c.place() as p:
        p.init(sandbox="off")
        p.mount()
        p.task("zoo", {"version": "1", "script": "zoo.py", "output": {"type": "Directory", "path": "o"},
                       "inputs": {"spec": {"type": "File"}}}, {"zoo.py": SCRIPT.replace("sys.argv[1]",
                                                                                       'os.environ["INPUT_SPEC"]')})
        canary = os.path.join(p.dir, "canary")
        with open(canary, "wb") as f:
            f.write(b"nobody touches me\n" * 100000)
        os.chmod(canary, 0o640)
        for r in c.each_round(400):
            one(c, p, r, giant if not c.short and r == 7 else ROWS[r % len(ROWS)], canary)
        end = time.monotonic() + 20 * c.slow  # it is removed after the answer
        while os.listdir(os.path.join(p.store, "staging")) and time.monotonic() < end:
            time.sleep(0.1)
        left = [d for d, _, _ in os.walk(os.path.join(p.store, "staging"))][1:]
        c.expect(not left, "left in staging: %s" % left[:5])
        if p.mem("verify", "--all", timeout=300).status != 0:
            c.wrong("verify finds damage")
    for row in set(ROWS):
        c.need(row.__name__, c.rounds // len(ROWS))
