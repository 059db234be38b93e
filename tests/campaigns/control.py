"""The control socket under malformed frames, by the million, and 200 clients that send half a frame and wait: those who ask
properly are answered within 50 ms (p99), and the daemon lives.

tests/tools/frames.c makes the frames: lengths of zero and beyond the limit, truncated, random bytes, JSON of other kinds, too
deep, not UTF-8, requests with members that make no sense. Half of them come from a user who may change nothing; the owner's
must not change anything either, since none of them is whole."""
import os
import re
import subprocess

from campaign import run_process

SHORT, LONG = 40, 10000    # rounds of FRAMES
FRAMES = 100
SLOW = 200
NOBODY = 65534
P99_US = 50000


def run(c):
    c.need_fuse()
    frames = c.tool("frames")
    root = os.geteuid() == 0
    with c.place() as p:
        p.mount()
        p.task_work()
        p.read("tasks/work/1/id=a")
        socket = os.path.join(p.store, "control.sock")
        settings = p.must("config", "--json")
        tasks = p.must("tasks", "--json")
        held = subprocess.Popen([frames, "slow", socket, str(SLOW), "3600"], stdout=subprocess.PIPE,
                                **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if root else {}))
        opened = held.stdout.readline()
        c.hit("half-open clients", int(opened.split()[1]))
        batches = 2 if c.short else 20
        each = c.rounds // batches
        for r in c.each_round(limit=600):
            if r >= batches:
                break
            seconds = 2 if c.short else 10
            asking = subprocess.Popen([frames, "ask", socket, str(seconds)], stdout=subprocess.PIPE)
            done = run_process([frames, "fuzz", socket, str(c.seed * 7919 + r), str(each * FRAMES)],
                               timeout=500 * c.slow, user=NOBODY if root and r % 2 else None)
            answers = asking.communicate()[0].decode()
            text = done.out.decode(errors="replace")
            for line in text.split("\n"):
                if line.startswith("wrong:"):
                    c.failed(line[7:])
            last = re.search(r"sent (\d+) refused (\d+) closed (\d+) wrong (\d+)", text)
            if not c.expect(last is not None and p.alive(), "frames: exit %d: %s%s" % (
                    done.status, done.err.decode(errors="replace"), "" if p.alive() else "; the daemon has ended")):
                break
            c.hit("malformed frames", int(last[1]))
            c.hit("refused", int(last[2]))
            asked = re.search(r"asked (\d+) failed (\d+) p50 (\d+) p99 (\d+) most (\d+)", answers)
            c.hit("proper requests", int(asked[1]))
            c.expect(int(asked[2]) == 0, "%s proper requests failed" % asked[2])
            c.max("p99 of a proper request", int(asked[4]) / 1000, " ms")
            c.expect(int(asked[4]) <= P99_US * c.slow, "p99 of a proper request is %.1f ms" % (int(asked[4]) / 1000))
        c.expect(p.alive(), "the daemon has ended")
        c.expect(p.must("config", "--json") == settings, "a malformed request changed the settings")
        c.expect(p.must("tasks", "--json") == tasks, "a malformed request changed the registry")
        c.expect(p.read("cached/work/1/id=a").status == 0, "a malformed request took a result away")
        held.terminate()
        held.wait()
    c.need("malformed frames", c.rounds // batches * batches * FRAMES)
    c.need("refused", c.rounds * FRAMES // 4)
    c.need("half-open clients", SLOW)
    c.need("proper requests", 100)
