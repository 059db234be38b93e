"""kill -9 of the daemon at random moments, while it works and while it starts: nothing wrong, nothing lost.

At a random moment of a round's reads the daemon is killed, and mounted again as a user would: by "memofs mount" alone.
Every seventh round the mount is killed, too, while it starts."""
import subprocess
import time

from campaign import kill, processes_with, wait_gone
from load import Load, mount_again

SHORT, LONG = 40, 2000
SIZES = (0, 1, 64, 1000, 4096, 4097, 70000) * 3 + (600000,)
NAPS = ("0", "0", "0", "0.01", "0.03")


def mount_killed(c, p, rng):
    """A start that is killed on its way, with all its processes."""
    command = subprocess.Popen([c.memofs, "--store", p.store, "mount", p.mnt], env=p.env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        command.wait(rng.uniform(0.001, 0.03))
    except subprocess.TimeoutExpired:
        c.hit("strikes at a start")
    quiet = 0
    while quiet < 3:  # the command, its children and the daemon all have the mount point in their arguments
        pids = processes_with(c.memofs, p.mnt)
        quiet = 0 if pids else quiet + 1
        time.sleep(0.02 if quiet else 0)  # one that is being made may not be in the listing yet
        for pid in pids:
            kill(pid)
            if pid != command.pid:
                wait_gone(pid, 20)
        command.poll()
    command.wait()


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount()
        p.task_work()
        load = Load(c, p, "k", SIZES, NAPS)
        for r in c.each_round():
            rng = c.rng(r)
            load.struck(load.batch(r, rng), rng, p.kill9, 0.05)
            if r % 7 == 6:
                mount_killed(c, p, rng)
            mount_again(c, p)
            load.ledger.check()
        load.end()
    c.need("strikes in flight", c.rounds * 3 // 5)
    c.need("inputs", c.rounds * 6)
    c.need("strikes at a start", c.rounds // 20)
