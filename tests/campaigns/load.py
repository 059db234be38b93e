"""What the crash campaigns do to a daemon before they strike: readers that ask for new results, for some that were
interrupted, and for some that were acknowledged before."""
import concurrent.futures
import time

from campaign import Ledger, mounts_below, work_bytes, work_path

READERS = 10


class Load:
    """One store's life across crashes. Ids begin with @prefix."""

    def __init__(self, c, place, prefix, sizes, naps, new=7):
        self.c, self.place, self.prefix = c, place, prefix
        self.sizes, self.naps, self.new = sizes, naps, new
        self.ledger = Ledger(c, place)
        self.shapes = {}
        self.open = []  # asked for, not acknowledged yet
        self.pool = concurrent.futures.ThreadPoolExecutor(READERS)
        self.usual = 0.04  # how long a batch takes that nothing interrupts

    def ask(self, name):
        """True: read whole and exact, so it is acknowledged."""
        how = self.shapes[name]
        got = self.place.read(work_path(name, **how))
        if self.c.judge(got, work_bytes(name, **how), name):
            self.ledger.ack(name)
            return True
        return False

    def batch(self, r, rng):
        """The names that are asked for in this round."""
        new = ["%s%d-%d" % (self.prefix, r, i) for i in range(self.new)]
        for name in new:
            self.shapes[name] = {"size": rng.choice(self.sizes), "nap": rng.choice(self.naps)}
        again = list(self.open)
        rng.shuffle(again)
        known = rng.choice(list(self.ledger.acked)) if self.ledger.acked else None
        self.open += new
        self.c.hit("inputs", len(new))
        return new + again[:READERS - self.new - 1] + ([known] if known else [])

    def struck(self, names, rng, strike, last=0.1, before=None):
        """Asks for all of them at once and calls strike() at a random moment, in a share @last of the cases right after
        the last answer. before(): called at a random moment earlier than that."""
        c, begin = self.c, time.monotonic()
        asked = [self.pool.submit(self.ask, n) for n in names]
        if before is not None:
            concurrent.futures.wait(asked, rng.uniform(0, self.usual))
            before()
        late = rng.random() < last
        # Most strikes are to meet reads in flight, whatever the machine does meanwhile.
        often = c.hits["strikes in flight"] >= 0.85 * c.hits["strikes"]
        moment = rng.uniform(0, 1.3 if often else 0.6) * self.usual
        concurrent.futures.wait(asked, 20 * c.slow if late else moment)
        flying = sum(not a.done() for a in asked)
        took = time.monotonic() - begin
        strike()
        c.hit("strikes")
        c.hit("strikes in flight", flying > 0)
        c.hit("reads in flight", flying)
        good = [a.result() for a in asked]
        if not any(good):
            self.usual = min(self.usual * 1.5, 2)  # a slow machine
        else:
            self.usual = min(self.usual * 1.02, 2) if flying else 0.9 * self.usual + 0.1 * took
        c.hit("acknowledged before a strike", sum(good))
        self.open = [n for n in self.open if n not in {m for m, ok in zip(names, good) if ok}]

    def check(self, names):
        """Each of them has to be there now."""
        for name in names:
            self.c.expect(self.ask(name), "%s cannot be read" % name)
            self.c.hit("reads afterwards")
        self.ledger.check()

    def some(self, rng, last, old):
        """Names of what was acknowledged: the last ones and a few of the others."""
        known = list(self.ledger.acked)
        return known[-last:] + rng.sample(known, min(old, len(known)))

    def end(self):
        """Everything that was ever asked for is there."""
        for name in list(self.ledger.acked) + list(self.open):
            self.c.beat("reading %s at the end" % name)
            self.check([name])
        self.open = []
        self.c.hit("acknowledged", self.ledger.check())
        self.pool.shutdown()


def mount_again(c, place, seconds=5, env=None):
    """As a user would: memofs mount, nothing else."""
    place.mount(env=env)
    c.hit("restarts")
    mounts = len(mounts_below(place.mnt))
    c.expect(mounts == 1, "%d mounts at the mount point: dead ones were left there" % mounts)
    c.max("seconds of a restart", round(place.mount_seconds, 3), " s")
    c.expect(place.mount_seconds < seconds * c.slow, "a restart took %.1f s" % place.mount_seconds)
