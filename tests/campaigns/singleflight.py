"""A thousand readers of one path that nobody has asked for before: one execution, and every reader gets every byte.

Every other round they all wait until a gate opens, in the others the first answers come while the last still ask. As root
they are several users."""
import os
import subprocess
import time

from campaign import work_bytes, work_path

SHORT, LONG = 4, 50
SERIAL = True
USERS = ("0", "1001", "1002", "65534")


def fnv(data):
    """The checksum of tests/tools/crowd."""
    h = 14695981039346656037
    for b in data:
        h = ((h ^ b) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return h


def run(c):
    c.need_fuse()
    readers = 250 if c.short else 1000
    users = USERS if os.geteuid() == 0 else ()
    with c.place() as p:
        p.mount(*(("-o", "allow_other") if users else ()))
        p.task_work()
        for r in c.each_round(120):
            rng = c.rng(r)
            name, gated, size = "s%d" % r, r % 2 == 0, rng.choice((1, 5000, 70000))
            how = {"size": size, **({"gate": "g%d" % r} if gated else {"nap": "0.05"})}
            crowd = subprocess.Popen([c.tool("crowd"), str(readers), os.path.join(p.mnt, work_path(name, **how)), *users],
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if gated:
                time.sleep(rng.uniform(0.2, 0.8))
                p.gate_open("g%d" % r)
            begin = time.monotonic()
            words = crowd.communicate(timeout=100 * c.slow)[0].decode().split()
            c.max("seconds for all", round(time.monotonic() - begin, 2), " s")
            got = dict(zip(words[::2], words[1::2]))
            c.hit("readers", int(got.get("ok", 0)))
            c.expect(got.get("failed") == "0", "%s of %d readers of %s failed" % (got.get("failed"), readers, name))
            good = work_bytes(name, size)
            if got.get("different") != "0" or got.get("bytes") != str(size) or got.get("sum") != "%016x" % fnv(good):
                c.wrong("readers of %s got: %s" % (name, " ".join(words)))
            n = p.executions(name)
            c.hit("executions", n)
            c.expect(n == 1, "%s was executed %d times" % (name, n))
    c.need("readers", c.rounds * readers)
