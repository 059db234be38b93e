"""Mutants: builds with one seeded bug each, which the campaign that they name must catch. The form of the files is in
campaign.py."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from machine import HERE, ROOT, SKIPPED, campaigns, on_signal

MUTANTS = os.path.join(HERE, "mutants")


class Mutant:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)[:-len(".patch")]
        with open(path, errors="replace") as f:
            head = f.read().split("\n--- ", 1)[0]
        self.campaign = self._field(head, r"\ACampaign: *(\S+)")
        self.rounds = self._field(head, r"^Rounds: *(\d+)")
        self.seed = self._field(head, r"^Seed: *(\d+)")
        self.only = self._field(head, r"^Only: *(\S+)")
        if self.campaign not in campaigns():
            raise SystemExit("campaign: %s: its first line must be \"Campaign: NAME\" with one of %s" % (
                path, " ".join(campaigns())))

    @staticmethod
    def _field(head, pattern):
        m = re.search(pattern, head, re.M)
        return m[1] if m else None

    def patch(self, tree, *options):
        """Applies (or with "-R" takes back). Says what is wrong, or nothing."""
        with open(self.path, "rb") as f:
            p = subprocess.run(["patch", "-p1", "-s", "-f", "-F0", "--no-backup-if-mismatch", "-r", "-", "-d", tree, *options],
                               stdin=f, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return "" if p.returncode == 0 else p.stdout.decode(errors="replace").strip()


def mutants(campaign=None):
    found = [Mutant(os.path.join(MUTANTS, f)) for f in sorted(os.listdir(MUTANTS)) if f.endswith(".patch")] \
        if os.path.isdir(MUTANTS) else []
    return [m for m in found if campaign in (None, m.campaign)]


def check_mutants():
    """Every mutant applies, and every campaign has one."""
    bad = 0
    all_of_them = mutants()
    for m in all_of_them:
        said = m.patch(ROOT, "--dry-run")
        if said:
            bad += 1
            print("campaign: the mutant %s does not apply any more: %s" % (m.name, said))
    for name in campaigns():
        if not any(m.campaign == name for m in all_of_them):
            bad += 1
            print("campaign: %s has no mutant that it must catch" % name)
    print("%d mutants of %d campaigns, %d complaints" % (len(all_of_them), len(campaigns()), bad))
    return 1 if bad else 0


def tracked_files():
    p = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if p.returncode == 0:
        return [f for f in p.stdout.decode(errors="surrogateescape").split("\0") if f]
    found = []  # an unpacked archive
    for top, dirs, files in os.walk(ROOT):
        dirs[:] = [d for d in dirs if not d.startswith("build") and not d.startswith(".git")]
        found += [os.path.relpath(os.path.join(top, f), ROOT) for f in files]
    return found


class Tree:
    """A copy of the sources with a build of its own, for mutants."""

    def __init__(self, directory):
        self.dir = os.path.join(directory, "tree")
        self.build = os.path.join(directory, "build")
        self.env = dict(os.environ, CCACHE_BASEDIR=directory, CCACHE_NOHASHDIR="1")
        if "CC" not in self.env and shutil.which("ccache"):
            self.env["CC"] = "ccache gcc"
        for file in tracked_files():
            to, of = os.path.join(self.dir, file), os.path.join(ROOT, file)
            if not os.path.isfile(of):
                continue
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if not os.path.exists(to) or open(to, "rb").read() != open(of, "rb").read():
                shutil.copy(of, to)
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            self._do(["meson", "setup", self.build, self.dir], 300)
        self._do(["ninja", "-C", self.build, "build.ninja"], 300)  # the list of targets may be an old one
        p = subprocess.run(["meson", "introspect", "--targets", self.build], stdout=subprocess.PIPE, check=True)
        wanted = [os.path.relpath(f, self.build) for t in json.loads(p.stdout) for f in t["filename"]]
        self.targets = [f for f in wanted if f in ("src/cli/memofs", "src/worker/memofs-worker")
                        or f.startswith("tests/tools/")]

    def _do(self, argv, limit):
        p = subprocess.run(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
        if p.returncode != 0:
            raise SystemExit("campaign: %s failed:\n%s" % (" ".join(argv[:2]),
                                                           p.stdout.decode(errors="replace")[-4000:]))

    def make(self):
        self._do(["nice", "ninja", "-C", self.build, *self.targets], 1800)

    def run(self, campaign, rounds, seed, only):
        """The campaign on this build: exit status, what it printed, its report."""
        report = os.path.join(os.path.dirname(self.dir), "report.json")
        if os.path.exists(report):
            os.unlink(report)
        argv = [sys.executable, os.path.join(ROOT, "scripts", "campaign"), campaign, "--build", self.build,
                "--report", report, "--enough", "3"]
        argv += ["--rounds", rounds] if rounds else ["--short"]
        argv += ["--seed", seed] if seed else []
        argv += ["--only", only] if only else []
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600)
        found = json.load(open(report)) if os.path.exists(report) else None
        return p.returncode, p.stdout.decode(errors="replace"), found


def try_mutant(tree, m):
    """True when its campaign found it. A campaign that breaks off has found nothing, unless the watchdog did it."""
    said = m.patch(tree.dir)
    if said:
        print("mutant %s: does not apply any more: %s" % (m.name, said))
        return False
    try:
        try:
            tree.make()
        except SystemExit as e:
            print("mutant %s: does not build: %s" % (m.name, e), flush=True)
            return False
        status, text, report = tree.run(m.campaign, m.rounds, m.seed, m.only)
    finally:
        m.patch(tree.dir, "-R")
    caught = status == 1 and (report is None and "nothing moves any more" in text
                              or report is not None and any(report[k] for k in ("wrong", "lost", "failed")))
    last = text.strip().split("\n")[-1]
    print("mutant %s: %s: %s" % (m.name, "caught" if caught else "NOT CAUGHT", last), flush=True)
    if not caught:
        print(text)
    return caught


def try_mutants(chosen, keep):
    """Builds and tries them. The same forms must pass without a bug, or what they say of the mutants means nothing."""
    if not chosen:
        print("campaign: there is no such mutant", file=sys.stderr)
        return 2
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, on_signal)
    directory = keep or tempfile.mkdtemp(suffix=".memofs-mutants")
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)  # other users run what is built there
    try:
        tree = Tree(directory)
        sane = {}
        caught = skipped = 0
        for m in chosen:
            form = (m.campaign, m.rounds, m.seed, m.only)
            if form not in sane:
                tree.make()
                status, text, _ = tree.run(*form)
                sane[form] = status
                print("without a bug: %s" % text.strip().split("\n")[-1], flush=True)
                if status not in (0, SKIPPED):
                    print(text)
            if sane[form] == SKIPPED:
                skipped += 1
            elif sane[form] == 0 and try_mutant(tree, m):
                caught += 1
        print("%d of %d mutants caught%s" % (caught, len(chosen), ", %d skipped" % skipped if skipped else ""))
        return 0 if caught + skipped == len(chosen) else 1
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
