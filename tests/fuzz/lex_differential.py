#!/usr/bin/env python3
"""Programs against their normal forms: an oracle of the language must not see a difference where a lexer left a comment out.

    lex_differential.py LEX-NORMAL [--seed N] [--count N | --seconds S] [LANGUAGE...]

Shell programs are made by a grammar and run by bash, dash and busybox in an empty directory; pieces of real scripts are mutated and
printed by bash without being run. Python is compared as syntax trees, R as parsed expressions, awk as mawk's listing, C as
what the preprocessor leaves. What the oracle refuses, and what the lexer gives up, does not count. Prints what was hit; fails
on a false "same", and when a language whose oracle is there was not hit at all."""
import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import lex_programs as programs

QUICK = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
warnings.simplefilter("ignore")


class Lexer:
    def __init__(self, tool):
        self.p = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def normal(self, name, text):
        """The program that is left and its method; None where the lexer gave up."""
        data = text.encode("utf-8", "surrogatepass")
        self.p.stdin.write(b"%s %d\n" % (name.encode(), len(data)) + data)
        self.p.stdin.flush()
        method, size, _ = self.p.stdout.readline().decode().split(" ", 2)
        left = self.p.stdout.read(int(size)).decode("utf-8")
        if method == "bytes":
            return None
        return left if left.startswith("#!") else left[1:]


def claimed(a, b, mark="#"):
    return a.count(mark) > b.count(mark)


class Shell:
    """Generated programs, run."""
    name = "shell"

    def __init__(self, r, work):
        self.r, self.work = r, work
        self.shells = [s for s in (["bash"], ["dash"], ["busybox", "sh"]) if shutil.which(s[0])]
        self.missing = None if self.shells else "no shell"
        self.here = os.path.join(work, "empty")
        os.makedirs(self.here, exist_ok=True)

    def make(self):
        bash = self.r.random() < .4 and ["bash"] in self.shells
        return ("p.bash" if bash else "p.sh"), programs.shell(self.r, bash)

    def run(self, shell, text):
        path = os.path.join(self.work, "p")
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as f:
            f.write(text)
        try:
            p = subprocess.run(shell + [path], cwd=self.here, env=QUICK, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
        except subprocess.TimeoutExpired:
            return None
        if re.search(rb"yntax error|unexpected|nterminated|bad substitution|unmatched|nvalid|not a valid|rror in", p.stderr):
            return None
        if p.returncode < 0:
            return None  # a function that calls itself for ever: how deep it comes is chance
        return p.returncode, p.stdout

    def same(self, name, a, b):
        seen = False
        if re.search(r"(?<![&>|<])&(?![&>])", re.sub(r"\\.", "", a)):
            return None  # what runs in the background prints in any order
        for shell in self.shells[:1] if name == "p.bash" else self.shells:
            x = self.run(shell, a)
            if x is None:
                continue
            if x != self.run(shell, b) and x == self.run(shell, a):
                return False
            seen = True
        for f in os.listdir(self.here):
            os.unlink(os.path.join(self.here, f))
        return True if seen else None


class Printed:
    """Mutated real scripts, printed by bash and never run."""
    name = "shell-printed"

    def __init__(self, r, work):
        self.r, self.work = r, work
        self.pool = programs.shell_real()
        self.missing = None if self.pool and shutil.which("bash") else "no bash or no scripts"

    def make(self):
        text = self.r.choice(self.pool)
        lines = text.splitlines(True)[1:]
        i = self.r.randrange(max(1, len(lines)))
        text = "".join(lines[i:i + self.r.randint(5, 60)])
        return self.r.choice(["p.sh", "p.bash"]), programs.mutate(self.r, text + programs.comment(self.r) + "\n", programs.BROKEN, .9)

    def show(self, text):
        p = subprocess.run(["bash", "--pretty-print", "/dev/stdin"], input=text.encode("utf-8", "surrogatepass"), env=QUICK, capture_output=True)
        return None if p.returncode else re.sub(rb"\n+", b"\n", p.stdout).strip()

    def same(self, name, a, b):
        x = self.show(a)
        return None if x is None else x == self.show(b)


class Python:
    name = "python"
    missing = None

    def __init__(self, r, work):
        self.r = r
        self.pool = programs.python_real(r)

    def make(self):
        return "p.py", programs.python(self.r, self.pool)

    @staticmethod
    def tree(text):
        try:
            return ast.dump(ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    def same(self, name, a, b):
        x = self.tree(a)
        return None if x is None else x == self.tree(b)


class R:
    name = "r"

    def __init__(self, r, work):
        self.r, self.work = r, work
        self.missing = None if shutil.which("Rscript") else "no Rscript"
        self.pool = [] if self.missing else programs.r_real()
        self.p = None

    LOOP = """con <- file("stdin", "r")
while (length(n <- readLines(con, 1)) > 0) {
  one <- function(f) tryCatch(lapply(as.list(parse(f, keep.source = FALSE, encoding = "UTF-8")), deparse), error = function(e) NULL)
  a <- one(paste0(n, ".a")); b <- one(paste0(n, ".b"))
  cat(if (is.null(a)) "refused" else if (identical(a, b)) "same" else "differ", "\\n"); flush(stdout())
}"""

    def make(self):
        return "p.R", programs.r_program(self.r, self.pool)

    def same(self, name, a, b):
        if self.p is None:
            script = os.path.join(self.work, "loop.R")
            open(script, "w").write(self.LOOP)
            self.p = subprocess.Popen(["Rscript", "--vanilla", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=QUICK, text=True)
        base = os.path.join(self.work, "r")
        for end, text in ((".a", a), (".b", b)):
            open(base + end, "w", encoding="utf-8", errors="surrogatepass").write(text)
        self.p.stdin.write(base + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline().strip()
        return {"refused": None, "same": True, "differ": False}[answer]


class Awk:
    name = "awk"

    def __init__(self, r, work):
        self.r, self.work = r, work
        self.missing = None if shutil.which("mawk") else "no mawk"

    def make(self):
        return "p.awk", programs.awk(self.r)

    def listing(self, text):
        path = os.path.join(self.work, "p.awk")
        open(path, "w", encoding="utf-8", errors="surrogatepass").write(text)
        p = subprocess.run(["mawk", "-W", "dump", "-f", path], stdin=subprocess.DEVNULL, capture_output=True, env=QUICK)
        return None if p.returncode else re.sub(rb"0x[0-9a-f]+", b"@", p.stdout)

    def same(self, name, a, b):
        x = self.listing(a)
        return None if x is None else x == self.listing(b)


class C:
    name = "c"

    def __init__(self, r, work):
        self.r, self.work = r, work
        gcc = shutil.which("gcc")
        self.cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True).stdout.strip() if gcc else ""
        self.missing = None if os.path.exists(self.cc1) else "no gcc"

    def make(self):
        return "p.c", programs.c_program(self.r)

    def left(self, text):
        path = os.path.join(self.work, "p.c")
        open(path, "w", encoding="utf-8", errors="surrogatepass").write(text)
        p = subprocess.run([self.cc1, "-quiet", "-E", "-fpreprocessed", "-P", path], capture_output=True, env=QUICK)
        # this mode does not join lines, and it does not read what follows a lone quote
        if p.returncode or p.stderr:
            return None
        lines = [re.sub(rb"[ \t]+", b" ", x).strip() for x in p.stdout.split(b"\n")]
        return [x for x in lines if x]

    def same(self, name, a, b):
        if "\\\n" in a:
            return None
        x = self.left(a)
        return None if x is None else x == self.left(b)


def hunt(oracle, lexer, count, seconds, show):
    hit = made = gave_up = refused = bad = 0
    end = time.monotonic() + seconds
    while hit < count and time.monotonic() < end:
        name, a = oracle.make()
        made += 1
        b = lexer.normal(name, a)
        if b is None:
            gave_up += 1
            continue
        if not claimed(a, b, "/" if oracle.name == "c" else "#"):
            continue
        same = oracle.same(name, a, b)
        if same is None:
            refused += 1
            continue
        hit += 1
        if not same:
            bad += 1
            print("# FALSE SAME in %s\n# ---- program\n%s\n# ---- normal form\n%s\n# ----" % (name, a, b), flush=True)
            if bad >= show:
                break
    print("# %s: %d programs with a claimed comment, %d false same (%d made, %d given up, %d refused by the oracle)"
          % (oracle.name, hit, bad, made, gave_up, refused), flush=True)
    return hit, bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tool")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--count", type=int, default=10 ** 9, help="programs with a claimed comment, for each language")
    p.add_argument("--seconds", type=float, default=10 ** 9, help="for each language")
    p.add_argument("--show", type=int, default=5, help="false ones, then a language is over")
    p.add_argument("language", nargs="*")
    o = p.parse_intermixed_args()
    oracles = [Shell, Printed, Python, R, Awk, C]
    chosen = [x for x in oracles if not o.language or x.name in o.language]
    lexer, bad = Lexer(o.tool), False
    print("1..%d" % len(chosen))
    for n, kind in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory() as work:
            oracle = kind(random.Random("%d %s" % (o.seed, kind.name)), work)
            if oracle.missing:
                print("ok %d - %s # SKIP %s" % (n, kind.name, oracle.missing))
                continue
            hit, wrong = hunt(oracle, lexer, o.count, o.seconds, o.show)
            fine = hit > 0 and wrong == 0
            bad = bad or not fine
            print("%s %d - %s" % ("ok" if fine else "not ok", n, kind.name), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
