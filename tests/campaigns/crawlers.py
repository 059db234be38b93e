"""Everything that walks over a mount without wanting a result: 0 executions. And one user who wants everything at once.

Crawlers: find, du, ls -lR, tar, rsync, updatedb, grep -r, git status, shell completion, what file managers stat; over a mount
with results, failed and cancelled instances, results whose input file has changed since, and directories.
Greed: one user asks for many distinct inputs at once. At most `max_waiting` of them wait, the rest is refused within 100 ms, and
another user's cached reads go on meanwhile."""
import errno
import json
import os
import shutil
import subprocess
import threading
import time

from campaign import run_process, sh, work_path

SHORT, LONG = 1, 100       # rounds of all crawlers; WANTED inputs in each
WANTED = 1000
WAITING = 40
GREEDY = 21001
REFUSED_MS, HIT_MS = 100, 50


def crawlers(mnt, out):
    found = {
        "find": ["find", mnt, "-type", "f", "-size", "+1", "-newer", "/etc/passwd"],
        "find -ls": ["find", mnt, "-ls"],
        "du": ["du", "-a", "--apparent-size", mnt],
        "ls": ["ls", "-lRi", "--color=always", mnt],
        "tar": ["tar", "-cf", out + "/all.tar", "-C", mnt, "."],
        "rsync": ["rsync", "-a", "--size-only", mnt + "/tasks/", out + "/copy/"],
        "updatedb": ["updatedb", "-U", mnt, "-o", out + "/db", "--prunefs", "", "--require-visibility", "no"],
        "grep": ["grep", "-r", "nothing-has-this", mnt],
        "git": ["git", "-C", mnt + "/tasks/work/1", "status"],
        "git below": ["git", "-C", mnt + "/tasks", "log", "-1"],
        "python": ["python3", "-c", "import os, sys\nfor d, _, f in os.walk(sys.argv[1]):\n for n in f: os.lstat(os.path.join(d, n))",
                   mnt],
    }
    completion = ('shopt -s nullglob; cd "$1"; compgen -f -- "$1/tasks/work/1/" ; compgen -d -- "$1/tasks/"; '
                  'for f in tasks/*/*/* cached/*/*/* info/*/*/*/*; do [ -e "$f" ] && [ -x "$f" ]; done; '
                  'echo tasks/work/1/*; [ -d .git ] || [ -e tasks/work/1/.envrc ]')
    found["completion"] = ["bash", "-c", completion, "bash", mnt]
    return {name: argv for name, argv in found.items() if shutil.which(argv[0], path=os.environ["PATH"] + ":/usr/sbin")}


# What file managers, prompts, indexers, editors and version control look for, everywhere.
PROBES = [".directory", "desktop.ini", "Thumbs.db", ".hidden", ".git", ".git/HEAD", ".svn", ".hg", "CVS", ".envrc", "__init__.py",
          "package.json", "Makefile", ".trackerignore", ".nomedia", "autorun.inf", ".Trash", ".Trash-0", "folder.jpg", "cover.png",
          "._work", ".DS_Store", "CACHEDIR.TAG", ".editorconfig", "4913", ".work.swp", "#work#", "work~", "index.html", "*", "@", "="]


def probe(c, mnt):
    for where in ("", "tasks", "tasks/work", "tasks/work/1", "cached/work/1", "start/work/1", "info/work/1", "objects", "runs"):
        for name in PROBES:
            path = os.path.join(mnt, where, name)
            for call in (os.stat, os.lstat, lambda n: os.access(n, os.R_OK), os.listxattr, os.readlink,
                         lambda n: os.close(os.open(n, os.O_PATH))):
                try:
                    call(path)
                except OSError:
                    pass
                c.hit("probes")


def prepare(c, p):
    p.task_work()
    p.task("file", {"version": "1", "inputs": {"f": {"type": "File"}}, "env": {"COUNT": p.count},
                    "command": sh('echo file >>"$COUNT/log"; cat "$INPUT_F"')})
    p.task("tree", {"version": "1", "inputs": {"id": {"type": "string"}}, "env": {"COUNT": p.count},
                    "output": {"type": "Directory", "path": "out"},
                    "command": sh('echo tree >>"$COUNT/log"; mkdir -p out/a/b; echo x >out/a/b/c; echo y >out/y')})
    p.task("never", {"version": "1", "inputs": {"id": {"type": "string", "default": "z"}}, "env": {"COUNT": p.count},
                     "command": sh('echo never >>"$COUNT/log"')})
    for n in range(5):
        c.expect(p.read(work_path("c%d" % n)).status == 0, "no result to crawl over")
    c.expect(p.read(work_path("bad", fail=True)).status == errno.EIO, "no failure to crawl over")
    os.listdir(os.path.join(p.mnt, "tasks/tree/1/id=a"))
    files = []
    for name in ("still", "changed", "gone"):
        files.append(os.path.join(p.dir, name))
        with open(files[-1], "w") as f:
            f.write(name)
        time.sleep(0.05)
        c.expect(p.read("tasks/file/1/f=" + files[-1].replace("/", "%2F")).data == name.encode(), "no file to crawl over")
    with open(files[1], "a") as f:
        f.write(" since")
    os.unlink(files[2])
    p.mem("run", "work", "id=c0", "id2=x")
    p.must("run", "work", "id=c1")


def crawl(c, p, r):
    before = p.executions()
    out = os.path.join(p.dir, "out%d" % r)
    os.mkdir(out)
    os.mkdir(out + "/copy")
    for name, argv in crawlers(p.mnt, out).items():
        c.beat("round %d: %s" % (r, name), 120)
        done = run_process(argv, 100 * c.slow, env=p.env)
        c.expect(done.status != -9, "%s does not end" % name)
        c.hit("crawls")
        c.hit("crawls by " + name.split()[0])
        c.expect(p.executions() == before, "%s executed %d instances" % (name, p.executions() - before))
        before = p.executions()
    probe(c, p.mnt)
    c.expect(p.executions() == before, "probes executed %d instances" % (p.executions() - before))
    shutil.rmtree(out)


def hits(p, took, stop):
    path = os.path.join(p.mnt, work_path("c1"))
    while not stop.is_set():
        begin = time.monotonic()
        with open(path, "rb") as f:
            f.read()
        took.append(time.monotonic() - begin)
        time.sleep(0.002)


GREED = r"""
import os, sys, time, threading, json
mnt, first, count, waiting = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
said, most = {}, 0.0
def ask(n, view):
    global most
    begin = time.monotonic()
    try:
        os.close(os.open("%s/%s/work/1/gate=g,id=w%d" % (mnt, view, n), os.O_RDONLY))
        e = 0
    except OSError as x:
        e = x.errno
    took = time.monotonic() - begin
    said[e] = said.get(e, 0) + 1
    if e:
        most = max(most, took)
threads = [threading.Thread(target=ask, args=(first + n, "tasks"), daemon=True) for n in range(waiting)]
for t in threads: t.start()
time.sleep(1.0)
early = dict(said)
for n in range(waiting, count): ask(first + n, "start" if n % 3 == 0 else "tasks")
print(json.dumps({"early": early, "said": said, "most": most, "waiting": sum(t.is_alive() for t in threads)}), flush=True)
os._exit(0)
"""


def greed(c, p, r):
    took, stop, before = [], threading.Event(), p.executions()
    reader = threading.Thread(target=hits, args=(p, took, stop), daemon=True)
    reader.start()
    how = {"user": GREEDY, "group": GREEDY, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(["python3", "-c", GREED, p.mnt, str(r * WANTED), str(WANTED), str(WAITING)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=200 * c.slow, cwd="/", **how)
    stop.set()
    reader.join()
    said = json.loads(done.stdout) if done.stdout else None
    if not c.expect(said is not None, "greed: %r" % done.stderr[-300:]):
        return
    refused = said["said"].get(str(errno.EDQUOT), 0)
    c.hit("refused by quota", refused)
    c.expect(said["early"] == {} and said["waiting"] == WAITING, "not all of %d wait: %r" % (WAITING, said))
    c.expect(refused == WANTED - WAITING, "%d of %d are refused: %r" % (refused, WANTED - WAITING, said["said"]))
    c.max("ms until it was refused", said["most"] * 1000)
    c.expect(said["most"] * 1000 <= REFUSED_MS * c.slow, "a refusal took %.0f ms" % (said["most"] * 1000))
    took.sort()
    if took:
        p99 = took[len(took) * 99 // 100] * 1000
        c.hit("cached reads meanwhile", len(took))
        c.max("p99 of a cached read meanwhile", p99, " ms")
        c.expect(p99 <= HIT_MS * c.slow, "p99 of a cached read is %.1f ms meanwhile" % p99)
    p.gate_open("g")
    begin = time.monotonic()
    while p.executions() < before + WAITING and time.monotonic() - begin < 30 * c.slow:
        time.sleep(0.05)
    time.sleep(0.2)
    started = p.executions() - before
    os.unlink(os.path.join(p.count, "gate-g"))
    c.expect(started == WAITING, "%d executions for %d that may wait" % (started, WAITING))


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount(*(["-o", "allow_other"] if os.geteuid() == 0 else []))
        p.must("config", "max_waiting", WAITING)
        prepare(c, p)
        for r in c.each_round(limit=300):
            crawl(c, p, r)
            greed(c, p, r)
            c.expect(p.alive(), "the daemon has ended")
    c.need("crawls", 8 * c.rounds)
    c.need("probes", 1000 * c.rounds)
    c.need("refused by quota", (WANTED - WAITING) * c.rounds)
    c.need("cached reads meanwhile", 50 * c.rounds)
