"""The frame of the campaigns: what each of them needs, so that a campaign is only its own idea.

A campaign is a file NAME.py beside this one:

    \"\"\"One line that says what is tried.

    More for the reader.\"\"\"
    SHORT, LONG = 40, 2000       # rounds; the short form takes at most 15 s on a quiet machine
    SERIAL = True                # only where times are measured: scripts/test runs it alone
    def run(c): ...              # c: Campaign

    def run(c):
        c.need_fuse()                                  # or need_root(), need_program("strace"), skip("reason")
        with c.place() as p:                           # store, mount, tasks, counters
            p.mount()
            p.task_work()                              # or p.task(name, definition)
            ledger = Ledger(c, p)                      # what was acknowledged
            for r in c.each_round():                   # also tells the watchdog that it goes on
                rng = c.rng(r)                         # the same for the same seed
                got = p.read(work_path("a%d" % r))     # status, data
                if c.judge(got, work_bytes("a%d" % r), "a%d" % r):
                    ledger.ack("a%d" % r)
                c.hit("reads")
            ledger.check()
        c.need("reads", c.rounds)                      # fewer: the campaign fails

"Wrong" is a read that succeeded with other bytes than the oracle's, or a failed one that gave what is no prefix of it.
"Lost" is an acknowledged result that was executed again. "Failed" is any other promise that was not kept. Each of them
makes the campaign fail, and so does what had to be hit and was not.

Everything lies below one temporary directory. It is swept (mounts, processes, loop devices, files) when the campaign
ends, however it ends: a small process of its own waits for the end of this one, even by SIGKILL.

Mutants: mutants/NAME.patch, a unified diff (-p1, few lines) with "Campaign: NAME" in its first line and a sentence on the
bug after it; "Rounds: N" in a line of its own where the short form is not enough, "Seed: N" where another is wanted, "Only:
WORDS" where --only WORDS gets there sooner.
"""
import argparse
import collections
import errno
import faulthandler
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import mutant
# Campaigns take all that they need from here.
from machine import (Broken, Done, GiveUp, HERE, ROOT, Read, SKIPPED, Skip, campaigns, kill, mounts_below, on_signal,
                     processes_below, processes_with, run_process, sweep, sweep_mount, wait_gone)
from place import Ledger, Place, sh, work_bytes, work_name, work_path

SEED = 4
SHOWN = 12  # of each kind of complaint


class Campaign:
    def __init__(self, name, rounds, seed, short, build, only=None):
        self.name, self.rounds, self.seed, self.short = name, rounds, seed, short
        self.only = set(only.split(",")) if only else None  # what that means is the campaign's
        self.build = os.path.realpath(build)
        self.memofs = os.path.join(self.build, "src", "cli", "memofs")
        self.tools = os.path.join(self.build, "tests", "tools")
        self.slow = float(os.environ.get("MEMOFS_SLOW", "1"))
        self.hits = collections.Counter()
        self.most = {}
        self.needs = {}
        self.enough = 100  # complaints: then it gives up
        self.bad = {"wrong": 0, "lost": 0, "failed": 0}
        self.mu = threading.Lock()
        self.doing = "starting"
        self.deadline = None
        self.done = False
        self.begin = time.monotonic()
        self.dir = tempfile.mkdtemp(suffix=".memofs-campaign")
        os.chmod(self.dir, 0o755)  # campaigns become other users, too
        self.janitor = subprocess.Popen([sys.executable, "-I", os.path.join(HERE, "machine.py"), self.dir],
                                        stdin=subprocess.PIPE, start_new_session=True)

    # -- what is needed here

    def skip(self, reason):
        raise Skip(reason)

    def need_fuse(self):
        if not os.path.exists("/dev/fuse"):
            self.skip("no /dev/fuse here")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skip("/dev/fuse may not be used by this user")
        if os.geteuid() != 0:
            self.need_program("fusermount3")

    def need_root(self, why):
        if os.geteuid() != 0:
            self.skip("needs root: " + why)

    def need_program(self, *names):
        for name in names:
            if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
                self.skip("%s is missing" % name)

    # -- rounds

    def rng(self, *key):
        """Random numbers that depend on the seed and the key alone."""
        return random.Random("%d/%s" % (self.seed, "/".join(map(str, key))))

    def each_round(self, limit=60):
        """0, 1, … rounds - 1; each may take that many seconds before the watchdog ends the campaign."""
        for r in range(self.rounds):
            self.beat("round %d" % r, limit)
            yield r
        self.beat("ending", limit)

    def beat(self, doing, limit=60):
        """Says that it goes on: the next beat has to come within the limit."""
        if sum(self.bad.values()) >= self.enough:
            raise GiveUp
        self.doing = doing
        self.deadline = time.monotonic() + limit * self.slow

    def place(self, store=None):
        return Place(self, store)

    def tool(self, name):
        path = os.path.join(self.tools, name)
        if not os.path.exists(path):
            raise Broken("%s is not built" % path)
        return path

    # -- counting

    def hit(self, what, n=1):
        with self.mu:
            self.hits[what] += n

    def max(self, what, value, unit=""):
        """Keeps the largest of a figure."""
        with self.mu:
            if value > self.most.get(what, (value - 1, ""))[0]:
                self.most[what] = (value, unit)

    def need(self, what, least=1):
        """The campaign fails when this was hit less often."""
        self.needs[what] = least

    def _complain(self, kind, text):
        with self.mu:
            self.bad[kind] += 1
            if self.bad[kind] <= SHOWN:
                print("%s: %s: %s (%s)" % (self.name, kind.upper(), text, self.doing), flush=True)

    def wrong(self, text):
        self._complain("wrong", text)

    def lost(self, text):
        self._complain("lost", text)

    def failed(self, text):
        self._complain("failed", text)

    def expect(self, good, text):
        if not good:
            self.failed(text)
        return good

    def judge(self, got, oracle, what):
        """Compares a Read with the oracle. True: it succeeded and is exact, so it is acknowledged."""
        if got.status == 0 and got.data == oracle:
            return True
        if got.status == 0:
            self.wrong("%s: %d bytes, want %d: %r… instead of %r…" % (what, len(got.data), len(oracle),
                                                                     got.data[:40], oracle[:40]))
        elif not oracle.startswith(got.data):
            self.wrong("%s: failed with %s after bytes that are not its own: %r…" % (
                what, errno.errorcode.get(got.status, got.status), got.data[:40]))
        return False

    # -- the end

    def _watch(self):
        while not self.done:
            time.sleep(0.2)
            if self.deadline is not None and time.monotonic() > self.deadline and not self.done:
                self.failed("nothing moves any more: the time limit is over")
                faulthandler.dump_traceback(all_threads=True)
                self.report(None)
                sys.stdout.flush()
                sweep(self.dir)
                os._exit(1)

    def report(self, file):
        missing = ["%s: %d of at least %d" % (k, self.hits[k], n) for k, n in self.needs.items() if self.hits[k] < n]
        stat = ["%d %s" % (n, what) for what, n in sorted(self.hits.items())]
        stat += ["most %s %.4g%s" % (what, v, u) for what, (v, u) in sorted(self.most.items())]
        print("%s: seed %d, rounds %d: hit %s" % (self.name, self.seed, self.rounds, ", ".join(stat) or "nothing"))
        for text in missing:
            print("%s: not hit often enough: %s" % (self.name, text))
        if not self.hits:
            missing.append("nothing was hit")
        print("%s: wrong %d, lost %d, failed %d, not hit %d; %.1f s" % (
            self.name, self.bad["wrong"], self.bad["lost"], self.bad["failed"], len(missing),
            time.monotonic() - self.begin), flush=True)
        if file:
            with open(file, "w") as f:
                json.dump({**self.bad, "missing": missing, "hits": self.hits}, f)
        return 1 if missing or any(self.bad.values()) else 0

    def close(self):
        self.done = True
        sweep(self.dir)
        self.janitor.stdin.close()
        self.janitor.wait()


def run_campaign(name, module, args):
    short = args.short or args.rounds is not None and args.rounds <= module.SHORT
    rounds = args.rounds if args.rounds is not None else module.SHORT if args.short else module.LONG
    if not os.access(os.path.join(args.build, "src", "cli", "memofs"), os.X_OK):
        print("campaign: %s: nothing is built there" % args.build, file=sys.stderr)
        return 2
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, on_signal)
    c = Campaign(name, rounds, args.seed, short, args.build, args.only)
    c.enough = args.enough
    try:
        threading.Thread(target=c._watch, daemon=True).start()
        c.beat("starting")
        try:
            module.run(c)
        except Broken as e:
            c.failed(str(e))
        except GiveUp:
            print("%s: gives up" % name)
        c.deadline = None
        return c.report(args.report)
    except Skip as e:
        print("%s: skipped: %s" % (name, e))
        return SKIPPED
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()  # a fault of the campaign itself: no verdict
        return 2
    finally:
        c.close()


# ---- the command ---------------------------------------------------------------------------------------------------


def command(argv):
    p = argparse.ArgumentParser(prog="scripts/campaign", description="Runs a campaign; see tests/campaigns/campaign.py.")
    p.add_argument("name", nargs="*", metavar="NAME", help="a campaign; with --mutants alone also patches")
    p.add_argument("--list", action="store_true", help="name, short rounds, long rounds, parallel or serial, what it tries")
    p.add_argument("--rounds", type=int, metavar="N")
    p.add_argument("--seed", type=int, default=SEED, metavar="S")
    p.add_argument("--short", action="store_true", help="the form that scripts/test runs")
    p.add_argument("--only", metavar="WORDS", help="a part of the campaign; what words there are is the campaign's")
    p.add_argument("--build", default=os.path.join(ROOT, "build"), metavar="DIR")
    p.add_argument("--mutants", action="store_true", help="builds with one seeded bug each must be caught")
    p.add_argument("--check-mutants", action="store_true", help="only whether they apply")
    p.add_argument("--tree", metavar="DIR", help="keeps the mutants' build there for the next time")
    p.add_argument("--enough", type=int, default=100, metavar="N", help="gives up after so many complaints")
    p.add_argument("--report", metavar="FILE", help="also writes the counts as JSON")
    args = p.parse_args(argv)
    if args.check_mutants:
        return mutant.check_mutants()
    if args.list:
        for name in campaigns():
            m = importlib.import_module(name)
            print("%-14s %5d %6d %-8s %s" % (name, m.SHORT, m.LONG,
                                           "serial" if getattr(m, "SERIAL", False) else "parallel",
                                           re.split(r"(?<=[.]) ", " ".join(m.__doc__.split()))[0]))
        return 0
    if args.mutants:
        names = {os.path.basename(n).removesuffix(".patch") for n in args.name}
        return mutant.try_mutants([m for m in mutant.mutants() if not names or m.name in names or m.campaign in names], args.tree)
    if len(args.name) != 1 or args.name[0] not in campaigns():
        print("campaign: name one of: %s" % " ".join(campaigns()), file=sys.stderr)
        return 2
    return run_campaign(args.name[0], importlib.import_module(args.name[0]), args)
