"""A full disk, again and again: the daemon lives, what is cached is exact, readers get ENOSPC, work resumes within 10 s of room.

A small file system (tmpfs, ext4, ext4 without inodes) holds the store. It is filled from outside; or by a task that fills it
with its last act, so that its output is finished and cannot be recorded; or by a task whose output does not fit. In some
of the rounds the daemon is killed while the disk is full, and started on the full disk. Then room is made."""
import errno
import os
import shutil
import subprocess
import time

from campaign import run_process, sweep_mount

SHORT, LONG = 3, 200
RESUME = 10
DISK = 64 << 20
KINDS = ("tmpfs", "ext4", "inodes")
FULL = (errno.ENOSPC, errno.EDQUOT)

# The counter; then bytes on stdout; then, if told so, the disk is filled to the last byte (the place is outside the sandbox).
SIZED = r"""
echo "$INPUT_ID" >>"$COUNT/log"
s="$INPUT_ID|"
while [ ${#s} -lt "$INPUT_SIZE" ]; do s=$s$s; done
printf "%.${INPUT_SIZE}s" "$s" || exit 1
if [ "$INPUT_FILL" = true ]; then
	echo x >"$COUNT/fill-$INPUT_ID"
	i=0; while [ ! -e "$COUNT/filled-$INPUT_ID" ] && [ $i -lt 1000 ]; do sleep 0.02; i=$((i + 1)); done
fi
exit 0
"""


def name_of(ident, size=1000, fill=False):
    return ("fill=true," if fill else "") + "id=%s" % ident + (",size=%d" % size if size != 1000 else "")


def path_of(ident, **how):
    return "sized/1/" + name_of(ident, **how)


def bytes_of(ident, size=1000, **_):
    part = (ident + "|").encode()
    return (part * (size // len(part) + 1))[:size]


class Disk:
    def __init__(self, c, kind, directory):
        self.c, self.kind, self.dir = c, kind, directory
        os.makedirs(directory)
        if kind == "tmpfs":
            how = ["mount", "-t", "tmpfs", "-o", "size=%d,mode=755" % DISK, "tmpfs", directory]
        else:
            image = directory + ".img"
            with open(image, "wb") as f:
                f.truncate(DISK)
            inodes = ["-N", "1400"] if kind == "inodes" else []
            self.run("mkfs.ext4", "-q", "-F", "-m", "0", *inodes, image)
            how = ["mount", "-o", "loop", image, directory]
        self.run(*how)
        self.filler = os.path.join(directory, "filler")

    def run(self, *argv):
        done = run_process(argv, 60 * self.c.slow, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
        if done.status != 0:
            self.c.failed("%s: %s" % (" ".join(argv), done.err.decode(errors="replace")))

    def fill(self):
        """To the last byte, or the last inode."""
        os.makedirs(self.filler, exist_ok=True)
        if self.kind == "inodes":
            try:
                for n in range(100000):
                    os.close(os.open(os.path.join(self.filler, "i%d" % n), os.O_WRONLY | os.O_CREAT))
            except OSError as e:
                if e.errno not in FULL:
                    raise
            return
        fd = os.open(os.path.join(self.filler, "bytes"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        os.write(fd, b"\0" * size)
                except OSError as e:
                    if e.errno not in FULL:
                        raise
        finally:
            os.close(fd)

    def ease(self):
        """A little room: a small task would fit, but it is below the floor."""
        if self.kind == "inodes":
            for n in range(60):
                os.unlink(os.path.join(self.filler, "i%d" % n))
        else:
            name = os.path.join(self.filler, "bytes")
            os.truncate(name, os.path.getsize(name) - (2 << 20))

    def room(self):
        shutil.rmtree(self.filler, ignore_errors=True)

    def close(self):
        self.room()
        run_process(["umount", "-l", self.dir], 30)


class Round:
    def __init__(self, c, p, disk, rng):
        self.c, self.p, self.disk, self.rng = c, p, disk, rng
        self.known = {}  # id -> how: acknowledged

    def read(self, ident, **how):
        return self.p.read("tasks/" + path_of(ident, **how))

    def make(self, ident, **how):
        """With room: it has to be exact."""
        got = self.read(ident, **how)
        if self.c.judge(got, bytes_of(ident, **how), ident):
            self.known[ident] = how
        else:
            self.c.failed("%s: with room: errno %d" % (ident, got.status))

    def cached_exact(self, when):
        for ident, how in self.known.items():
            got = self.read(ident, **how)
            if not self.c.judge(got, bytes_of(ident, **how), "%s, %s" % (ident, when)):
                self.c.failed("%s: cached, cannot be read %s: errno %d" % (ident, when, got.status))
            self.c.hit("cached reads")

    def refused(self, ident, **how):
        got = self.read(ident, **how)
        if got.status == 0 and self.c.judge(got, bytes_of(ident, **how), ident):
            self.known[ident] = how
            self.c.hit("fitted after all")
        elif self.c.expect(got.status in FULL, "%s: on a full disk: errno %d, want ENOSPC" % (ident, got.status)):
            self.c.hit("ENOSPC")

    def below_floor(self, ident):
        got = self.read(ident)
        self.c.expect(got.status in FULL, "%s: below the floor: errno %d, want ENOSPC" % (ident, got.status))
        self.c.expect(self.p.executions(ident) == 0, "%s: was begun below the floor" % ident)
        self.c.hit("refused below the floor")

    def resumes(self, ident, **how):
        begin = time.monotonic()
        while True:
            got = self.read(ident, **how)
            if got.status == 0 or time.monotonic() - begin > RESUME * self.c.slow:
                break
            time.sleep(0.1)
        took = time.monotonic() - begin
        if self.c.judge(got, bytes_of(ident, **how), ident):
            self.known[ident] = how
            self.c.hit("resumed")
        else:
            self.c.failed("%s: errno %d %.1f s after there was room" % (ident, got.status, took))

    def parked(self, ident, size):
        """The disk becomes full while the task's last act goes on: its output is there, its record is not."""
        how = {"size": size, "fill": True}
        reader = subprocess.Popen(["cat", os.path.join(self.p.mnt, "tasks", path_of(ident, **how))],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 30 * self.c.slow
        while not os.path.exists(os.path.join(self.p.count, "fill-" + ident)) and time.monotonic() < end:
            time.sleep(0.01)
        self.disk.fill()
        with open(os.path.join(self.p.count, "filled-" + ident), "w"):
            pass
        out, err = reader.communicate(timeout=60 * self.c.slow)
        executed = self.p.executions(ident)
        if reader.returncode == 0:
            if out != bytes_of(ident, **how):
                self.c.wrong("%s: other bytes" % ident)
            self.known[ident] = how
            self.c.hit("fitted after all")
            return None
        if not self.c.expect(b"No space left" in err or b"quota" in err, "%s: the reader got: %r" % (ident, err)):
            done = self.p.mem("why", "/tasks/" + path_of(ident, **how))
            print("fulldisk: %r" % (done.out + done.err), flush=True)
        self.c.hit("ENOSPC")
        waits = b"room" in self.p.mem("status").out
        finished = any("exit.json" in f for _, _, f in os.walk(os.path.join(self.p.store, "staging")))
        if finished:
            self.c.hit("parked")
            self.c.expect(waits, "%s: status does not say that it waits for room" % ident)
            return ident, how, executed
        return None

    def alive(self, when):
        if not self.p.alive():
            self.c.failed("the daemon died %s" % when)
            sweep_mount(self.p.mnt)
            self.p.mount()


def one(c, r):
    rng = c.rng(r)
    kind = KINDS[r % 3]
    with c.place() as p:
        disk = Disk(c, kind, os.path.join(p.dir, "disk"))
        p.store = os.path.join(disk.dir, "store")
        try:
            p.mount()
            p.task("sized", {"version": "1", "inputs": {"id": {"type": "string"}, "size": {"type": "int", "default": 1000},
                                                        "fill": {"type": "boolean", "default": False}},
                             "env": {"COUNT": p.count},
                             "command": ["sh", "-c", SIZED.replace("{", "{{").replace("}", "}}")]})
            x = Round(c, p, disk, rng)
            for i in range(4):
                x.make("c%d" % i, size=rng.choice((1, 1000, 50000)))
            c.hit(kind)
            waiting = x.parked("park", rng.choice((1000, 100000))) if rng.random() < 0.7 or r < 3 else disk.fill()
            x.alive("when the disk became full")
            x.cached_exact("on a full disk")
            for i in range(3):
                x.refused("n%d" % i)
            if r % 2 == 0:
                p.kill9()
                p.mount()
                c.hit("started on a full disk")
                x.cached_exact("after a start on a full disk")
                x.refused("m")
            before = p.executions()
            x.refused("again")
            disk.ease()
            x.below_floor("below")
            x.alive("on the full disk")
            disk.room()
            for i in range(3):
                x.resumes("n%d" % i)
            if waiting:
                ident, how, executed = waiting
                x.resumes(ident, **how)
                if p.executions(ident) != executed:
                    c.lost("%s had finished, and is executed again" % ident)
            x.cached_exact("with room again")
            x.alive("at the end")
            c.expect(p.executions() >= before, "the counter went back")
            for ident in x.known:
                if p.executions(ident) > 1 and ident.startswith("c"):
                    c.lost("%s was cached and is executed again" % ident)
            p.umount()
            p.mount()
            x.cached_exact("after a restart")
            p.umount()
        finally:
            p.kill9()
            sweep_mount(p.mnt)
            disk.close()


def run(c):
    c.need_fuse()
    c.need_root("small file systems are mounted")
    c.need_program("mkfs.ext4")
    for r in c.each_round(180):
        one(c, r)
    c.need("ENOSPC", c.rounds * 3)
    c.need("resumed", c.rounds * 3)
    c.need("refused below the floor", c.rounds)
    c.need("cached reads", c.rounds * 10)
    c.need("parked", c.rounds // 3)
    c.need("started on a full disk", c.rounds // 3)
