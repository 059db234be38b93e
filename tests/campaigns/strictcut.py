"""A power cut on the worst file system that POSIX allows: only what was synced is left, each file and each directory by
itself.

ext4 and XFS keep more than they promise: one fsync flushes a log that holds the changes of others, too, so that a
missing fsync of a directory is never seen there. Here every fsync of the daemon and its workers is written down; after the
kill a name is taken away unless its directory was synced with it (it goes back to where it was renamed from, if that was
synced: a rename is whole or not at all), and a file is cut to the length with which it was synced, RocksDB's own files
like all others. Whatever was acknowledged has to survive that. Needs no root."""
import os
import shutil

from campaign import kill, processes_below, wait_gone
from load import Load, mount_again
from shim import Shim

SHORT, LONG = 25, 1000
EPOCH = 20  # rounds that a store lives: in a young one the directories are made, too
INDEX_LOST = 5  # every so many rounds the manifest is gone as well: the receipts alone have to do


class Durable:
    """What is on the imagined disk: sizes by inode, names by directory inode."""

    def __init__(self, c, store, log):
        self.c, self.store, self.log = c, store, log
        self.take_all()

    def take_all(self):
        """What is there now has been there long."""
        self.sizes, self.names = {}, {}
        for top, dirs, files in os.walk(self.store):
            self.names[os.stat(top).st_ino] = set(dirs + files)
            for f in files:
                st = os.lstat(os.path.join(top, f))
                self.sizes[st.st_ino] = st.st_size
        open(self.log, "w").close()

    def _follow(self):
        with open(self.log, "rb") as f:
            lines = f.read().split(b"\n")
        self.renamed = {}
        # A line without its end was not acknowledged to anybody.
        for line in sorted(lines[:-1], key=lambda line: int(line.split(b" ", 2)[1])):
            kind, _, rest = line.split(b" ", 2)
            if kind == b"R":
                old, new = os.fsdecode(rest).split("\t")
                self.renamed[new] = old
                continue
            ino, _, rest = rest.partition(b" ")
            if kind == b"F":
                self.sizes[int(ino)] = int(rest)
            else:
                self.names[int(ino)] = set(os.fsdecode(rest).split("/"))
        self.c.hit("syncs", len(lines) - 1)

    def _go_back(self, path):
        """True when the name is where it was before an unsynced rename."""
        old = self.renamed.get(path)
        if old is None or os.path.lexists(old) or not os.path.isdir(os.path.dirname(old)):
            return False
        if os.path.basename(old) not in self.names.get(os.stat(os.path.dirname(old)).st_ino, ()):
            return False
        os.rename(path, old)
        self.c.hit("renames taken back")
        return True

    def _cut_directory(self, path):
        kept = self.names.get(os.stat(path).st_ino, set())
        for e in list(os.scandir(path)):
            if e.name not in kept:
                if self._go_back(e.path):
                    continue
                self.c.hit("names taken away")
                if e.is_dir(follow_symlinks=False):
                    shutil.rmtree(e.path, ignore_errors=True)
                else:
                    os.unlink(e.path)
            elif e.is_dir(follow_symlinks=False):
                self._cut_directory(e.path)
            elif e.is_file(follow_symlinks=False):
                st = e.stat(follow_symlinks=False)
                size = self.sizes.get(st.st_ino, 0)
                if st.st_size > size:
                    self.c.hit("files cut")
                    os.chmod(e.path, 0o600)
                    os.truncate(e.path, size)
                    os.chmod(e.path, st.st_mode & 0o7777)

    def cut(self):
        self._follow()
        self._cut_directory(self.store)
        self._cut_directory(self.store)  # what went back to a directory that had been looked at
        self.take_all()


class Machine:
    """A store, its imagined disk, and the load on it."""

    def __init__(self, c, epoch):
        self.c, self.place = c, c.place()
        self.shim = Shim(c, self.place, log=True)
        self.place.mount(env=self.shim.env)
        self.place.task_work()
        self.load = Load(c, self.place, "s%d." % epoch, (1, 64, 4096, 70000), ("0", "0", "0.02"))
        self.place.umount()
        self.disk = Durable(c, self.place.store, self.shim.log)
        self.place.mount(env=self.shim.env)

    def strike(self):
        self.place.kill9()
        for pid in processes_below(self.place.store):
            kill(pid)
            wait_gone(pid, 5)
        self.disk.cut()

    def cycle(self, r, rng):
        self.load.struck(self.load.batch(r, rng), rng, self.strike, 0.3)
        if r % INDEX_LOST == INDEX_LOST - 1:
            shutil.rmtree(os.path.join(self.place.store, "db"))
            self.c.hit("indexes lost")
        mount_again(self.c, self.place, env=self.shim.env)
        self.load.check(self.load.some(rng, 12, 4))

    def end(self):
        self.load.end()
        self.place.stop()


def run(c):
    c.need_fuse()
    m = None
    for r in c.each_round():
        if r % EPOCH == 0:
            if m is not None:
                m.end()
            m = Machine(c, r // EPOCH)
        m.cycle(r, c.rng(r))
    if m is not None:
        m.end()
    c.need("strikes in flight", c.rounds // 2)
    c.need("acknowledged before a strike", c.rounds * 2)
    c.need("names taken away", c.rounds)
    c.need("files cut", c.rounds // 4)
    c.need("syncs", c.rounds * 10)
    c.need("indexes lost", c.rounds // INDEX_LOST)
