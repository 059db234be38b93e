#!/usr/bin/env python3
"""How many of this machine's own scripts the lexers read, and how many edits of comments keep the fingerprint.

    lex_coverage.py LEX-NORMAL [--shell PERCENT] [--python PERCENT] [--reasons] [ROOT...]

A file counts once, whatever its copies. Fails where less than PERCENT of the files of a language are handled (0: never)."""
import argparse
import collections
import hashlib
import os
import random
import re
import subprocess
import sys

SHELLS = re.compile(rb"#!\s*(\S*/)?(env\s+)?(sh|bash|dash)(\s|$)")
PYTHON = re.compile(rb"#!\s*(\S*/)?(env\s+)?python[0-9.]*(\s|$)")
SKIPPED = {"proc", "sys", "dev", "run", "tmp"}


def language(name, head):
    if name.endswith(".sh") or name.endswith(".bash") or SHELLS.match(head):
        return "shell" if not head.startswith(b"#!") or SHELLS.match(head) else None
    return "python" if name.endswith(".py") or PYTHON.match(head) else None


def files(roots):
    seen = set()
    for root in roots:
        for folder, below, names in os.walk(root):
            if folder == "/":
                below[:] = [b for b in below if b not in SKIPPED]
            for name in names:
                path = os.path.join(folder, name)
                try:
                    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 1 << 20:
                        continue
                    with open(path, "rb") as f:
                        head = f.read(128)
                        kind = language(name, head)
                        data = head + f.read() if kind else b""
                except OSError:
                    continue
                digest = hashlib.sha256(data).digest()
                if kind and digest not in seen:
                    seen.add(digest)
                    yield kind, path, data


class Lexer:
    def __init__(self, tool):
        self.p = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def normal(self, path, data):
        name = re.sub(r"\s", "_", os.path.basename(path)).encode("utf-8", "surrogateescape")
        self.p.stdin.write(b"%s %d\n" % (name, len(data)) + data)
        self.p.stdin.flush()
        method, size, reason = self.p.stdout.readline().decode().rstrip("\n").split(" ", 2)
        return method, reason, self.p.stdout.read(int(size))


def edited(r, data):
    """Another wording of one comment that has a line of its own."""
    lines = data.split(b"\n")
    own = [i for i, x in enumerate(lines) if re.match(rb"\s*# ?[a-z]", x)]
    if not own:
        return None
    lines[r.choice(own)] += b" edited"
    return b"\n".join(lines)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tool")
    p.add_argument("--shell", type=float, default=0)
    p.add_argument("--python", type=float, default=0)
    p.add_argument("--reasons", action="store_true")
    p.add_argument("root", nargs="*", default=["/"])
    o = p.parse_intermixed_args()
    lexer, r = Lexer(o.tool), random.Random(1)
    count, handled, lines = collections.Counter(), collections.Counter(), collections.Counter()
    edits, kept = collections.Counter(), collections.Counter()
    why = collections.Counter()
    for kind, path, data in files(o.root):
        method, reason, left = lexer.normal(path, data)
        count[kind] += 1
        handled[kind] += method != "bytes"
        lines[kind] += method.endswith("-lines")
        why[kind, reason] += method == "bytes"
        other = edited(r, data) if method != "bytes" else None
        if other is not None:
            edits[kind] += 1
            kept[kind] += lexer.normal(path, other)[2] == left
    fine = True
    for kind, least in (("shell", o.shell), ("python", o.python)):
        share = 100 * handled[kind] / max(1, count[kind])
        fine = fine and share >= least
        print("%s: %d files, %.1f %% handled (%d by lines); %d edits of a comment, %d kept"
              % (kind, count[kind], share, lines[kind], edits[kind], kept[kind]))
    for (kind, reason), n in why.most_common() if o.reasons else []:
        print("%6d %s: %s" % (n, kind, reason)) if n else None
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
