"""Names that mean nothing, by the million, through the mount: refused with the right error, and nothing is executed.

A small program makes them (tests/tools/names.c): bad escapes, wrong types, unknown and repeated inputs, overlong UTF-8, control
characters, handles that lead nowhere, lengths up to the kernel's own limit, and what prompts and indexers probe for. One in
ten is a good name in a random spelling, for which readlink must give the one canonical spelling: encode(decode(x)) = x."""
import re

from campaign import run_process, sh

SHORT, LONG = 60, 5000     # rounds of NAMES
NAMES = 200
WAYS = 11
TABLE_BYTES = 400 << 20    # memory that may be held for names that the kernel still knows


def memory(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s*(\d+)", f.read())[1]) * 1024


def run(c):
    c.need_fuse()
    names = c.tool("names")
    with c.place() as p:
        p.mount()
        p.task("names", {"version": "1",
                         "inputs": {"n": {"type": "int", "minimum": 1},
                                    "s": {"type": "string", "pattern": "^[a-z]{1,4}$", "default": "a"},
                                    "t": {"type": "string", "default": ""}},
                         "env": {"COUNT": p.count},
                         "command": sh('echo names >>"$COUNT/log"; echo done')})
        before = memory(p.daemon)
        at_once = max(1, c.rounds // 50)
        for r in c.each_round(limit=120):
            if r % at_once:
                continue
            count = NAMES * min(at_once, c.rounds - r)
            done = run_process([names, p.mnt, str(c.seed * 1000003 + r), str(count)], timeout=100 * c.slow)
            text = done.out.decode(errors="replace")
            for line in text.split("\n"):
                if line.startswith("wrong:"):
                    c.wrong(line[7:])
            last = re.search(r"ways (\d+) names (\d+) links (\d+) wrong (\d+)", text)
            if not c.expect(last is not None, "names: exit %d: %s" % (done.status, done.err.decode(errors="replace"))):
                break
            c.hit("names", int(last[2]))
            c.hit("spellings", int(last[3]))
            c.expect(int(last[1]) == WAYS, "only %s of %d ways to be wrong were tried" % (last[1], WAYS))
            c.expect(p.alive(), "the daemon has ended")
            if not p.alive():
                break
        c.expect(p.executions() == 0, "%d names were executed" % p.executions())
        c.expect(p.read("tasks/names/1/n=1").data == b"done\n" and p.executions() == 1, "a good name is not executed")
        if p.alive():
            grown = memory(p.daemon) - before
            c.max("MiB of memory more", grown / (1 << 20))
            c.expect(grown < TABLE_BYTES * c.slow, "memory grew by %d MiB" % (grown >> 20))
    c.need("names", c.rounds * NAMES)
    c.need("spellings", c.rounds * NAMES // 15)
