"""Tasks that read the mount: circles are told as EDEADLK and soon, chains far longer than the slots finish, and so do graphs.

Each round has a circle of 1, 2 and 10 tasks and a random graph, whose edges are reads through the mount and declared
needs, asked for from several places at once; half of the graphs have circles in them. What can be computed must be, with
the right value; EDEADLK only for what does reach a circle. All of it on two slots."""
import concurrent.futures
import errno
import os
import time

from campaign import sh

SHORT, LONG = 3, 100
CHAIN = 64
NODES, SHORT_NODES = 200, 24
CIRCLES = (1, 2, 10)
SOON = 10  # seconds for a circle, starts of its tasks included; the most that was seen is printed
PRIME = 1000003

RING = 'read -r x <"$MEMOFS_MOUNT/tasks/ring/1/id=$INPUT_ID,k=$(((INPUT_K + 1) % INPUT_N)),n=$INPUT_N" && echo "$x"'
LINK = r"""
[ "$INPUT_N" -gt 0 ] || { echo 0; exit; }
read -r x <"$MEMOFS_MOUNT/tasks/link/1/id=$INPUT_ID,n=$((INPUT_N - 1))" && echo $((x + 1))
"""
# A node's edges are lines of a file: paths below /tasks. Its value is its number and those of its edges.
NODE = r"""
echo "$INPUT_G-$INPUT_K" >>"$COUNT/log"
v=$INPUT_K
while read -r path; do
	read -r x <"$MEMOFS_MOUNT/tasks/$path" || exit 1
	v=$(((v + x) % 1000003))
done <"$COUNT/graph-$INPUT_G/$INPUT_K"
echo "$v"
"""
BOTH = r"""
read -r x <"$NEED_X" && read -r y <"$NEED_Y" && echo $(((INPUT_K + x + y) % 1000003))
"""


def tasks(p):
    number, text = {"type": "int"}, {"type": "string"}
    p.task("ring", {"version": "1", "inputs": {"id": text, "k": number, "n": number}, "command": sh(RING)})
    p.task("link", {"version": "1", "inputs": {"id": text, "n": number}, "command": sh(LINK)})
    p.task("node", {"version": "1", "inputs": {"g": number, "k": number}, "env": {"COUNT": p.count},
                    "command": sh(NODE)})
    p.task("both", {"version": "1", "inputs": {"g": number, "k": number, "x": number, "y": number},
                    "needs": {n: {"task": "node", "inputs": {"g": "{inputs.g}", "k": "{inputs.%s}" % n}} for n in "xy"},
                    "command": sh(BOTH)})


class Graph:
    """Nodes 0 … n - 1. Edges lead to smaller numbers, but for those that make circles."""

    def __init__(self, p, rng, g, n):
        self.g, self.n = g, n
        self.edges, self.both = {}, {}
        for k in range(n):
            if k >= 4 and rng.random() < 0.3:
                self.both[k] = rng.sample(range(k), 2)
        plain = [k for k in range(n) if k not in self.both]
        for k in self.both:  # a need is a plain node
            self.both[k] = [rng.choice([q for q in plain if q < k]) for _ in range(2)]
            self.edges[k] = set(self.both[k])
        for k in plain:
            most = min(k, rng.choice((0, 1, 1, 2, 3)))
            self.edges[k] = set(rng.sample(range(max(0, k - 30), k), min(most, k)))
        self.circled = []  # of every other graph: nodes that get an edge to where they are reached from
        for _ in range(rng.randrange(1, 4) if g % 2 == 1 else 0):
            high = rng.choice(plain)
            low = rng.choice([k for k in self.below(high) if k not in self.both])
            self.edges[low].add(high)
            self.circled.append(low)
        d = os.path.join(p.count, "graph-%d" % g)
        os.mkdir(d)
        for k in plain:
            order = sorted(self.edges[k])
            rng.shuffle(order)
            with open(os.path.join(d, str(k)), "w") as f:
                f.writelines(self.path(to) + "\n" for to in order)

    def below(self, k):
        """What is reached from it, itself included."""
        found, new = {k}, [k]
        while new:
            fresh = [to for to in self.edges[new.pop()] if to not in found]
            found.update(fresh)
            new += fresh
        return sorted(found)

    def path(self, k):
        if k in self.both:
            return "both/1/g=%d,k=%d,x=%d,y=%d" % (self.g, k, *self.both[k])
        return "node/1/g=%d,k=%d" % (self.g, k)

    def solve(self):
        """Value of each node, or None where a circle is on the way."""
        value = {}
        # what reaches a circle: whatever is not left when nodes without open edges are taken away, again and again
        left = True
        while left:
            left = False
            for k in range(self.n):
                if k not in value and all(to in value for to in self.edges[k]):
                    many = self.both.get(k, self.edges[k])
                    value[k] = (k + sum(value[to] for to in many)) % PRIME
                    left = True
        return value


def circles(c, p, r, rng):
    for n in CIRCLES:
        k = rng.randrange(n)
        begin = time.monotonic()
        got = p.read("tasks/ring/1/id=c%d,k=%d,n=%d" % (r, k, n))
        took = time.monotonic() - begin
        c.expect(got.status == errno.EDEADLK, "a circle of %d: %s" % (n, errno.errorcode.get(got.status, got.status)))
        c.expect(took < SOON * c.slow, "a circle of %d took %.1f s" % (n, took))
        c.max("seconds for a circle of %d" % n, took, " s")
        c.hit("circles")


def graph(c, p, pool, r, rng):
    g = Graph(p, rng, r, SHORT_NODES if c.short else NODES)
    value = g.solve()
    roots = rng.sample(range(g.n), min(g.n, 12)) + [g.n - 1] + g.circled
    for k, got in zip(roots, pool.map(lambda k: p.read("tasks/" + g.path(k)), roots)):
        what = "graph %d, node %d" % (r, k)
        if k in value:
            if not c.judge(got, b"%d\n" % value[k], what):
                c.failed("%s: %s, but it can be computed" % (what, errno.errorcode.get(got.status, got.status)))
            c.hit("values")
        else:
            c.expect(got.status in (errno.EDEADLK, errno.EIO), "%s: it reaches a circle and gives %r, status %d" % (
                what, got.data, got.status))
            c.hit("reach a circle")
            c.hit("told as EDEADLK", got.status == errno.EDEADLK)
    c.hit("graphs")
    c.hit("graphs without a circle", len(value) == g.n)


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.init(cpus=2)
        p.mount()
        tasks(p)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for r in c.each_round(40 if c.short else 400):
                rng = c.rng(r)
                circles(c, p, r, rng)
                if r % 10 == 0:
                    got = p.read("tasks/link/1/id=l%d,n=%d" % (r, CHAIN))
                    c.judge(got, b"%d\n" % CHAIN, "a chain of %d" % CHAIN)
                    c.expect(got.status == 0, "a chain of %d: errno %d" % (CHAIN, got.status))
                    c.hit("chains")
                graph(c, p, pool, r, rng)
    c.need("circles", 3 * c.rounds)
    c.need("chains", (c.rounds + 9) // 10)
    c.need("values", c.rounds)
    c.need("reach a circle", c.rounds // 5)
    c.need("told as EDEADLK", c.rounds // 5)
    c.need("graphs without a circle", c.rounds // 5)
