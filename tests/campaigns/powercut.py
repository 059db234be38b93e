"""The power goes while results are made, on ext4 and XFS: what was acknowledged is there afterwards, whole.

The store lies on a file system in a file. FS_IOC_SHUTDOWN without a flush of the log stops it at a random moment, so that
nothing more reaches the "disk", not even what the kernel has in its caches; then the daemon is killed and the file system
mounted again, with its own recovery. Only that finds a missing fsync: after a mere kill the kernel still has everything.
Even rounds are ext4, odd ones XFS; every EPOCH rounds both are made anew. For what these two keep though it was never
promised (the order of their logs) see strictcut."""
import ctypes
import fcntl
import os
import struct
import subprocess
import time

from campaign import Broken, kill, processes_below, run_process, sweep_mount, wait_gone
from load import Load, mount_again

SHORT, LONG = 24, 1000
EPOCH = 100
NEW_NAMESPACE = 0x20000
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)
KINDS = {"ext4": ("64M", ["mkfs.ext4", "-q", "-F", "-m", "0"]),
         "xfs": ("320M", ["mkfs.xfs", "-q", "-f"])}


class Disk:
    """A file system of its own in a sparse file."""

    def __init__(self, c, kind):
        self.c, self.kind = c, kind
        self.dir = os.path.join(c.dir, "disk-%s-%d" % (kind, time.monotonic_ns()))
        self.image, self.point = self.dir + ".img", self.dir
        os.mkdir(self.point)
        size, make = KINDS[kind]
        self._do("truncate", "-s", size, self.image)
        self._do(*make, self.image)
        self.attach()

    def _do(self, *argv):
        done = run_process(argv, 60, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
        if done.status != 0:
            raise Broken("%s: %s" % (" ".join(argv), done.err.decode(errors="replace").strip()))

    def attach(self):
        self._do("mount", "-o", "loop,nodev,nosuid", self.image, self.point)

    def flush(self):
        """As the kernel does by itself now and then."""
        fd = os.open(self.point, os.O_RDONLY)
        try:
            os.fsync(fd)
            subprocess.run(["sync", "-f", self.point], timeout=60)
        finally:
            os.close(fd)

    def cut(self):
        fd = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def detach(self):
        """Waits until nobody uses it: a file system that is only detached lazily would come back as it was."""
        end = time.monotonic() + 20 * self.c.slow
        while True:
            for pid in processes_below(self.point):
                kill(pid)
                wait_gone(pid, 5)
            done = run_process(["umount", self.point], 30)
            if done.status == 0:
                break
            if time.monotonic() > end:
                raise Broken("umount of the cut disk: %s" % done.err.decode(errors="replace").strip())
            time.sleep(0.02)
        while self.held():  # by a copy of the mount in another name space, such as a task's that is just ending
            if time.monotonic() > end:
                raise Broken("the cut disk is unmounted, but something still holds its loop device")
            time.sleep(0.01)

    def held(self):
        for loop in os.listdir("/sys/block"):
            try:
                with open("/sys/block/%s/loop/backing_file" % loop) as f:
                    if f.read().rstrip("\n").startswith(self.image):
                        return True
            except OSError:
                continue
        return False

    def remove(self):
        self.detach()
        os.unlink(self.image)


class Machine:
    """A store on a disk, and what is known of it."""

    def __init__(self, c, kind, epoch):
        self.c, self.kind, self.epoch = c, kind, epoch
        self.disk = Disk(c, kind)
        self.place = c.place(os.path.join(self.disk.point, "store"))
        self.place.mount()
        self.place.task_work()
        self.load = Load(c, self.place, kind[0], (1, 64, 4096, 9000, 70000), ("0", "0", "0.02"))

    def strike(self):
        self.disk.cut()
        self.place.kill9()
        self.c.hit("cuts of " + self.kind)

    def cycle(self, r, rng):
        before = self.disk.flush if rng.random() < 0.2 else None
        self.load.struck(self.load.batch(r, rng), rng, self.strike, 0.25, before)
        sweep_mount(self.place.mnt)
        self.disk.detach()
        self.disk.attach()
        mount_again(self.c, self.place)
        self.load.check(self.load.some(rng, 12, 4))

    def end(self):
        self.load.end()
        self.place.umount()
        done = self.place.mem("fsck")
        self.c.hit("fsck")
        self.c.expect(done.status == 0, "fsck on %s: exit %d: %s" % (
            self.kind, done.status, (done.out + done.err).decode(errors="replace")[-600:]))
        self.disk.remove()


def alone():
    """A mount name space of our own: in another one a copy of the mount could outlive the cut, and with it what was lost."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NAMESPACE) != 0:
        raise Broken("unshare: %s" % os.strerror(ctypes.get_errno()))
    done = run_process(["mount", "--make-rprivate", "/"], 10)
    if done.status != 0:
        raise Broken("mount --make-rprivate: %s" % done.err.decode(errors="replace").strip())


def run(c):
    c.need_fuse()
    c.need_root("a file system is made, stopped and mounted")
    c.need_program("mkfs.ext4", "mkfs.xfs", "mount", "umount")
    alone()
    machines = {}
    for r in c.each_round(120):
        rng = c.rng(r)
        kind = ("ext4", "xfs")[r % 2]
        if kind not in machines:
            try:
                machines[kind] = Machine(c, kind, r // EPOCH)
            except Broken as e:
                if "loop" in str(e):
                    c.skip("no loop device can be used here: %s" % e)
                raise
        machines[kind].cycle(r, rng)
        if r % EPOCH >= EPOCH - 2:
            machines.pop(kind).end()
    for m in machines.values():
        m.end()
    c.need("cuts of ext4", c.rounds // 2)
    c.need("cuts of xfs", c.rounds // 2)
    c.need("strikes in flight", c.rounds // 2)
    c.need("acknowledged before a strike", c.rounds * 2)
