"""Fork bombs, escapees, hogs and what will not end, ended in every way: no process is left, and cached reads stay fast.

In a round a few tasks of different nature run at once and are then ended: by cancel, by their time limit, by kill -9 of the
daemon, by kill -9 of their workers, by the bound of their processes or memory, or by themselves with processes left behind.
Two seconds later none of their processes may be there. A process belongs to a task by its environment, which all that comes
from it inherits; /proc is searched for it. All the while another thread reads a cached result."""
import os
import shutil
import subprocess
import threading
import time

from campaign import kill, sh, wait_gone

SHORT, LONG = 8, 100
SERIAL = True
LEFT_S = 2.0  # until the last process has to be gone
BEGIN_S = 20.0  # for the tasks of a round to begin
SLOW_MS = 200.0  # p99 of the cached reads, on a machine that may be busy; the bar on a quiet one is 20 ms
MARK = b"INPUT_MARK="

# Nature of a task -> what it does, and how many processes it has at least when it has begun.
NATURES = {
    "sleeper": ("sleep 1000", 2),
    "stubborn": ("trap '' TERM INT HUP QUIT; while :; do sleep 0.1; done", 1),
    "escapee": ("setsid sh -c 'trap \"\" TERM HUP; setsid sleep 1000 & setsid setsid sleep 1000 & exit 0' & "
                "(trap '' TERM; sleep 1000 & sleep 1000 & exit 0) & sleep 1000", 5),
    "stopped": ("sleep 1000 & kill -STOP $!; kill -STOP $$; sleep 1000", 2),
    "crowd": ("i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i + 1)); done; wait", 100),
}
# More than any task may have, and yet an end: where nothing holds them the machine must survive it.
MOST = 2 * (1024 + 64 * (os.cpu_count() or 1))
BOMBS = {
    "bomb": "i=0; while [ $i -lt %d ]; do sleep 1000 & i=$((i + 1)); done; wait" % MOST,
    "doubling bomb": "f() { [ $1 -gt 0 ] || exec sleep 1000; f $(($1 - 1)) & f $(($1 - 1)) & wait; }; f %d" % (
        (MOST // 2).bit_length()),
    "daemon bomb": "i=0; while [ $i -lt %d ]; do setsid sleep 1000 & i=$((i + 1)); done; wait" % MOST,
}
LEAVES = ("(trap '' TERM HUP; while :; do echo late; sleep 0.01; done) & setsid sleep 1000 & "
          "(setsid sleep 1000 &) ; echo \"$INPUT_MARK\"")
HOG = "import time; x = [b'x' * (1 << 20) for i in range(400)]; time.sleep(1000)"
PYTHON = "/usr/bin/python3"

ENDS = ("cancel", "time", "daemon", "worker", "bomb", "leaves", "memory", "daemon and bomb")


def of_mark(mark):
    """Processes that carry the mark."""
    want = MARK + mark.encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as f:
                if any(v.startswith(want) for v in f.read().split(b"\0")):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def workers(p):
    """The workers of this store."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                args = os.fsdecode(f.read()).split("\0")
            with open("/proc/%s/comm" % pid) as f:
                comm = f.read().strip()
        except OSError:
            continue
        if comm == "memofs-worker" and any(a.startswith(p.store + "/") for a in args):
            found.append(int(pid))
    return found


class Reader(threading.Thread):
    """Reads one cached result over and over, unless it is told to pause."""

    def __init__(self, c, p, path, oracle):
        super().__init__(daemon=True)
        self.c, self.p, self.path, self.oracle = c, p, path, oracle
        self.took = []
        self.pause = threading.Lock()
        self.stop = False

    def run(self):
        while not self.stop:
            with self.pause:
                begin = time.monotonic()
                got = self.p.read(self.path)
                self.took.append((time.monotonic() - begin) * 1000)
                if self.c.judge(got, self.oracle, self.path):
                    self.c.hit("cached reads")
                else:
                    self.c.failed("a cached read gave errno %d" % got.status)
            time.sleep(0.01)


def add_tasks(p):
    for name, requirements in (("control", {}), ("timed", {"time": 1}), ("bounded", {"memory": "200 MiB"})):
        command = [PYTHON, "-c", HOG] if name == "bounded" else sh('eval "$INPUT_DO"')
        p.task(name, {"version": "1", "inputs": {"mark": {"type": "string"}, "do": {"type": "string", "default": ""}},
                      "requirements": requirements, "command": command})


class Round:
    """The tasks of a round: a client for each, and the marks by which their processes are known."""

    def __init__(self, c, p, r):
        self.c, self.p, self.r = c, p, r
        self.clients = []  # (nature, mark, Popen)

    def start(self, nature, do, task="control"):
        mark = "tc-%d-%d-%d-%s." % (os.getpid(), self.c.seed, self.r, nature.replace(" ", "-"))
        args = [self.c.memofs, "--store", self.p.store, "get", task, "mark=" + mark] + (["do=" + do] if do else [])
        client = subprocess.Popen(args, env=self.p.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.clients.append((nature, mark, client))
        self.c.hit("tasks")
        return mark

    def wait_begun(self, mark, least):
        end = time.monotonic() + BEGIN_S * self.c.slow
        while len(of_mark(mark)) < least:
            if time.monotonic() > end:
                self.c.failed("%s has not begun: %d processes of %d" % (mark, len(of_mark(mark)), least))
                return
            time.sleep(0.02)

    def wait_ended(self, client, what, seconds):
        """The client's status and what it said; -1 when it still waits."""
        try:
            out, err = client.communicate(timeout=seconds * self.c.slow)
            return client.returncode, out, err.decode(errors="replace")
        except subprocess.TimeoutExpired:
            self.c.failed("%s: it was not ended" % what)
            client.kill()
            client.communicate()
            return -1, b"", ""

    def check_gone(self, how):
        """No process of the round is left, two seconds after the last was to end."""
        begin = time.monotonic()
        for nature, mark, _ in self.clients:
            while True:
                left = of_mark(mark)
                if not left:
                    self.c.hit("ended by " + how)
                    break
                if time.monotonic() - begin > LEFT_S * self.c.slow:
                    self.c.failed("%s ended by %s: %d processes are left" % (nature, how, len(left)))
                    for _ in range(5):
                        for pid in of_mark(mark):
                            kill(pid)
                    break
                time.sleep(0.02)
        self.c.max("time to the last process", time.monotonic() - begin, " s")


def start_all(run, task="control"):
    marks = [(run.start(nature, do, task), least) for nature, (do, least) in NATURES.items()]
    for mark, least in marks if task == "control" else ():  # one with a time limit may be over before it is seen
        run.wait_begun(mark, least)


def end_by_cancel(run):
    start_all(run)
    for _, mark, _ in run.clients:
        nature = mark.split("-")[-1].rstrip(".")
        run.p.must("cancel", "control", "mark=" + mark, "do=" + NATURES[nature][0])
    run.check_gone("cancel")
    for nature, _, client in run.clients:
        status, _, err = run.wait_ended(client, nature, 10)
        run.c.expect(status != 0, "%s was cancelled, and its client ended with 0 (%s)" % (nature, err))


def end_by_time(run):
    start_all(run, "timed")
    for nature, _, client in run.clients:
        _, _, err = run.wait_ended(client, nature + " with a time limit", 10)
        run.c.expect("requirements.time" in err, "%s: the message is %r" % (nature, err))
    run.check_gone("time")


def end_by_worker(run):
    start_all(run)
    for pid in workers(run.p):
        kill(pid)
    run.check_gone("kill -9 of the worker")
    for nature, _, client in run.clients:
        status, _, _ = run.wait_ended(client, nature + " whose worker was killed", 10)
        run.c.expect(status != 0, "%s: its worker was killed, and its client ended with 0" % nature)


def end_by_daemon(run, reader, bombs=False):
    if bombs:
        for name, do in BOMBS.items():
            run.start(name, do)
        time.sleep(run.c.rng(run.r).uniform(0.1, 0.6))  # they are growing, or their bound has ended some of them
    else:
        start_all(run)
    with reader.pause:
        run.p.kill9()
        for _, _, client in run.clients:  # they would ask the next daemon again
            client.kill()
            client.communicate()
        run.check_gone("kill -9 of the daemon")
        run.p.mount()
        run.c.hit("daemons killed")


def end_by_bound(run):
    name = list(BOMBS)[run.r % len(BOMBS)]
    run.start(name, BOMBS[name])
    _, _, err = run.wait_ended(run.clients[0][2], name, 15)
    run.c.expect("processes and threads" in err, "%s: the message is %r" % (name, err[-300:]))
    run.check_gone("the bound of processes")


def end_by_memory(run):
    run.start("hog", "", "bounded")
    _, _, err = run.wait_ended(run.clients[0][2], "the hog", 15)
    run.c.expect("more than its memory, 200 MiB" in err, "the hog: the message is %r" % err[-300:])
    run.check_gone("the bound of memory")


def end_by_itself(run):
    mark = run.start("leaves", LEAVES)
    status, out, err = run.wait_ended(run.clients[0][2], "a task that leaves processes", 15)
    run.check_gone("itself")
    if run.c.expect(status == 0, "a task that leaves processes: exit %d: %s" % (status, err[-300:])):
        lines = set(out.decode().split("\n"))
        run.c.expect(mark in lines and lines <= {mark, "late", ""}, "a task that leaves processes: it gave %r" % out[:200])
        again = run.p.mem("get", "control", "mark=" + mark, "do=" + LEAVES)
        if again.out != out:
            run.c.wrong("a task that leaves processes: its result changed afterwards")


def run(c):
    c.need_fuse()
    if not os.access(PYTHON, os.X_OK) or shutil.which("setsid") is None:
        c.skip("%s or setsid is missing" % PYTHON)
    with open("/proc/sys/kernel/pid_max") as f:
        if int(f.read()) < 6 * MOST:
            c.skip("the machine has too few process numbers for a bomb of %d" % MOST)
    with c.place() as p:
        p.init(cpus=64)
        p.mount()
        p.task_work()
        add_tasks(p)
        path = "tasks/work/1/id=cached,size=4096"
        oracle = p.read(path).data
        c.expect(len(oracle) == 4096, "the cached result has %d bytes" % len(oracle))
        reader = Reader(c, p, path, oracle)
        reader.start()
        for r in c.each_round(120):
            how = ENDS[r % len(ENDS)]
            c.beat("round %d, %s" % (r, how), 120)
            one = Round(c, p, r)
            {"cancel": end_by_cancel, "time": end_by_time, "worker": end_by_worker, "bomb": end_by_bound,
             "memory": end_by_memory, "leaves": end_by_itself,
             "daemon": lambda x: end_by_daemon(x, reader),
             "daemon and bomb": lambda x: end_by_daemon(x, reader, True)}[how](one)
            c.expect(p.alive(), "the daemon is gone")
        reader.stop = True
        reader.join(20)
        c.expect(p.executions("cached") == 1, "the cached result was executed %d times" % p.executions("cached"))
    took = sorted(reader.took)
    p99 = took[len(took) * 99 // 100]
    c.max("p99 of cached reads", p99, " ms")
    c.expect(p99 <= SLOW_MS * c.slow, "cached reads took %.0f ms (p99) meanwhile" % p99)
    for how, least in (("cancel", 5), ("time", 5), ("kill -9 of the daemon", 5), ("kill -9 of the worker", 5),
                       ("the bound of processes", 1), ("the bound of memory", 1), ("itself", 1)):
        if c.rounds >= len(ENDS):
            c.need("ended by " + how, least)
    c.need("tasks", c.rounds)
    c.need("cached reads", c.rounds * 10)
