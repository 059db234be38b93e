"""Writers that outlive their task: descriptors, mappings, directories and links that it gave away change no result.

A process outside (this one) gets what the task passes to it over a socket, keeps it until the result was read, and then
writes by every way that it has. The sandbox is off, so that nothing but the freezing of the output stands in between.
"storm" writes from the moment on at which it can: then the result is refused, or it is one content and stays it."""
import array
import hashlib
import mmap
import os
import socket
import threading

SHORT, LONG = 48, 240
SMALL, LARGE = (1, 100, 70000), (3 << 20,)
HOWS = ("descriptor", "mapping", "reading", "link", "fork", "storm", "directory", "none")
SHAPES = ("file", "out", "dir")

SCRIPT = r"""#!/usr/bin/env python3
import array, os, socket, sys, time

how, shape, ident = os.environ["INPUT_HOW"], os.environ["SHAPE"], os.environ["INPUT_ID"]
size, count = int(os.environ["INPUT_SIZE"]), os.environ["COUNT"]
part = (ident + "|").encode()
data = (part * (size // len(part) + 1))[:size]
path = {"file": "o/f", "out": "/proc/self/fd/1", "dir": "o/sub/f"}[shape]
if shape != "out":
    os.makedirs(os.path.dirname(path))
with open(path, "wb") as f:
    f.write(data)

def give(fd):
    s = socket.socket(socket.AF_UNIX)
    s.connect(count + "/holder")
    s.sendmsg([(how + " " + ident).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    s.recv(1)

if how in ("descriptor", "mapping", "storm"):
    give(os.open(path, os.O_RDWR))
elif how == "reading":
    give(os.open(path, os.O_RDONLY))
elif how == "directory":
    give(os.open("o/sub" if shape == "dir" else ".", os.O_RDONLY))
elif how == "link":
    os.link("../stdout" if shape == "out" else path, count + "/link-" + ident)
elif how == "fork":
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            fd = os.open(path, os.O_RDWR)
            time.sleep(3)  # long after the task
            for _ in range(400):
                os.pwrite(fd, b"X" * size, 0)
                time.sleep(0.005)
        os._exit(0)
    os.wait()
"""


class Holder:
    """Takes what tasks give away; one life for the whole campaign."""

    def __init__(self, path):
        self.listen = socket.socket(socket.AF_UNIX)
        self.listen.bind(path)
        self.listen.listen(16)
        self.held = {}  # id -> descriptor or mapping
        self.storm = {}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            s, _ = self.listen.accept()
            fds = array.array("i")
            text, extra, _, _ = s.recvmsg(200, socket.CMSG_LEN(4))
            for _, _, data in extra:
                fds.frombytes(data[:4])
            how, ident = text.decode().split()
            if how == "mapping":
                size = os.fstat(fds[0]).st_size
                self.held[ident] = mmap.mmap(fds[0], size)
                self.held[ident][0:1] = self.held[ident][0:1]  # dirty: what is written later makes no fault
                os.close(fds[0])
            else:
                self.held[ident] = fds[0]
            if how == "storm":
                self.storm[ident] = threading.Event()
                threading.Thread(target=self._storm, args=(self.storm[ident], fds[0]), daemon=True).start()
            s.send(b"!")
            s.close()

    @staticmethod
    def _storm(end, fd):
        size, n = os.fstat(fd).st_size, 0
        while not end.is_set():
            n += 1
            os.pwrite(fd, b"%d" % (n % 10) * size, 0)
        os.close(fd)


def strike(p, holder, how, ident, size):
    """Writes by what is held. True when there was something to write by."""
    bad = b"X" * size
    if how == "link":
        with open(os.path.join(p.count, "link-" + ident), "r+b") as f:
            f.write(bad)
        return True
    if how == "storm":
        holder.storm.pop(ident).set()
        return holder.held.pop(ident, None) is not None
    held = holder.held.pop(ident, None)
    if held is None:
        return False
    if how == "mapping":
        held[:] = bad
        held.close()
        return True
    if how == "reading" or how == "directory":
        name = "/proc/self/fd/%d" % held
        for path in [name] if how == "reading" else [name + "/f", name + "/new", name + "/../new"]:
            try:
                with open(path, "wb") as f:
                    f.write(bad)
            except OSError:
                pass  # gone, or not allowed: so much the better
    else:
        os.pwrite(held, bad, 0)
    os.close(held)
    return True


def audit(c, p, ident, path, shape, data):
    """The object is what its name says, and has nothing that the task did not make."""
    with open(os.path.join(p.mnt, "info", path[len("tasks/"):], "output_hash")) as f:
        name = f.read().strip()
    top = os.path.join(p.store, "objects", name[:2], name)
    if shape != "dir":
        with open(top, "rb") as f:
            found = f.read()
        if hashlib.sha256(found).hexdigest() != name:
            c.wrong("%s: its object differs from its name" % ident)
        return found
    files = {os.path.relpath(os.path.join(d, f), top + ".d") for d, _, fs in os.walk(top + ".d") for f in fs}
    if files != {"sub/f"}:
        c.wrong("%s: its directory holds %s" % (ident, sorted(files)))
    with open(top + ".d/sub/f", "rb") as f:
        found = f.read()
    with open(top) as f:
        if hashlib.sha256(found).hexdigest() not in f.read():
            c.wrong("%s: a file of its directory differs from the listing" % ident)
    return found


def run(c):
    c.need_fuse()
    c.need_root("what the task gives away is written by its owner and by root")
    with c.place() as p:
        p.init(sandbox="off")
        p.mount()
        for shape in SHAPES:
            output = {"file": {"type": "File", "path": "o/f"}, "out": {"type": "File", "from": "stdout"},
                      "dir": {"type": "Directory", "path": "o"}}[shape]
            p.task("leak" + shape, {
                "version": "1", "script": "leak.py", "output": output, "env": {"COUNT": p.count, "SHAPE": shape},
                "inputs": {"id": {"type": "string"}, "how": {"type": "string"}, "size": {"type": "int"}}},
                {"leak.py": SCRIPT})
        holder = Holder(os.path.join(p.count, "holder"))
        for r in c.each_round():
            rng = c.rng(r)
            how, shape = HOWS[r % len(HOWS)], SHAPES[r // len(HOWS) % len(SHAPES)]
            # who may only read a large file and is root might as well open the store's; see base/tree.h
            size = rng.choice(SMALL if how == "reading" else SMALL + LARGE * 3)
            ident = "%s-%s-%d" % (how, shape, r)
            part = (ident + "|").encode()
            data = (part * (size // len(part) + 1))[:size]
            path = "tasks/leak%s/1/how=%s,id=%s,size=%d" % (shape, how, ident, size)
            file = path + "/sub/f" if shape == "dir" else path
            got = p.read(file)
            if how == "storm" and got.status != 0:
                c.hit("refused while it was written")
            elif how == "storm":
                data = got.data
                c.expect(len(data) == size, "%s: %d bytes of %d" % (ident, len(data), size))
            elif not c.judge(got, data, ident):
                c.failed("%s: errno %d: %s" % (ident, got.status, p.mem("log", path).err[-200:]))
                continue
            if how in ("descriptor", "mapping") and shape in ("file", "out", "dir"):
                with open(os.path.join(p.mnt, "info", path[len("tasks/"):], "stderr")) as f:
                    told = "still open for writing" in f.read()
                c.expect(told, "%s: the log does not say that it was still open" % ident)
                c.hit("told", told)
            if strike(p, holder, how, ident, size):
                c.hit("struck by " + how)
            if got.status != 0:
                continue
            if audit(c, p, ident, path, shape, data) != data:
                c.wrong("%s: its object changed after it was read" % ident)
            c.judge(p.read(file), data, ident + " again")
            c.hit("results")
        if p.mem("verify", "--all", timeout=120).status != 0:
            c.wrong("verify finds damage")
    for how in set(HOWS) - {"fork", "none"}:
        c.need("struck by " + how, c.rounds // 10)
    c.need("results", c.rounds * 3 // 4)
    c.need("told", c.rounds // 5)
