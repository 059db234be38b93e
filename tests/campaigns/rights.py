"""Five users in three groups each, and every act that there is, with caches warm from another user and cold: each may do what
the table says, and no more.

The store's mode is 0750, its group SEE, and the setting runners RUN. For a file, the oracle is what the same process is told
when it opens it by itself: who cannot read a file gets nothing of it through a task, not even by asking for what is cached,
not by a link, a directory, a need, a sheet or the control socket, and learns no more of it than that."""
import errno
import grp
import json
import os
import sys
import traceback

from campaign import run_process, sh

SHORT, LONG = 1, 12
USERS = [0, 21001, 21002, 21003, 21004]
# Settings take groups that exist; nobody here is in them unless this file puts him there.
SEE, RUN = sorted(g.gr_gid for g in grp.getgrall() if 0 < g.gr_gid < 1000 and not g.gr_mem)[:2]
GROUPS = {"nobody": [], "sees": [SEE], "runs": [SEE, RUN]}
FILES = ["mine", "group", "world", "hidden/in", "link", "acl", "hidden/none", "none", "fifo", "proc", "dirlink/in"]
DENIED = {errno.EACCES, errno.EPERM}


class Asker:
    """What one user does, in a process that is his: runs in the child."""

    def __init__(self, p, memofs, token, short):
        self.p, self.memofs, self.token, self.short = p, memofs, token, short
        self.said = {}

    def call(self, what, do):
        try:
            do()
            self.said[what] = 0
        except OSError as e:
            self.said[what] = e.errno

    def read(self, what, path):
        def do():
            fd = os.open(os.path.join(self.p.mnt, path), os.O_RDONLY)
            try:
                self.said[what + " bytes"] = len(os.read(fd, 4096))
            finally:
                os.close(fd)
        self.call(what, do)

    def command(self, what, *args):
        done = run_process([self.memofs, "--store", self.p.store, *args], 60, env=self.p.env)
        self.said[what] = done.status
        self.said[what + " text"] = (done.out + done.err).decode(errors="replace")[-300:]

    def file_name(self, file):
        return os.path.join(self.p.dir, "files", file)

    def files(self):
        for file in FILES:
            path = self.file_name(file)
            name = "f=" + path.replace("/", "%2F")
            if file == "proc":
                name = "f=%2Fproc%2Fself%2Fenviron"

            def direct():
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            if file not in ("fifo", "proc"):
                self.call("direct " + file, direct)
            self.read("task " + file, "tasks/file/1/" + name)
            self.call("stat " + file, lambda: os.stat(os.path.join(self.p.mnt, "tasks/file/1", name)))
            self.read("cached " + file, "cached/file/1/" + name)
            self.read("need " + file, "tasks/needs/1/" + name)
            if not self.short or file in ("mine", "acl", "proc"):
                self.command("get " + file, "get", "file", "f=" + ("/proc/self/environ" if file == "proc" else path))
        self.call("direct tree", lambda: open(os.path.join(self.file_name("tree"), "sub", "deep")).close())
        name = "d=" + self.file_name("tree").replace("/", "%2F")
        self.read("task tree", "tasks/dir/1/" + name)
        sheet = os.path.join("/tmp", "memofs-rights-%s.csv" % self.token)
        with open(sheet, "w") as f:
            f.write("f\n%s\n" % self.file_name("mine"))
        self.command("sheet mine", "run", "file", "--sheet", sheet)
        os.unlink(sheet)

    def all(self):
        t = self.token
        self.call("list", lambda: os.listdir(os.path.join(self.p.mnt, "tasks/word/1")))
        self.call("store", lambda: os.listdir(os.path.join(self.p.store, "objects")))
        self.read("hit", "tasks/word/1/w=known")
        self.read("peek", "cached/word/1/w=known")
        self.read("info", "info/word/1/w=known/origin.json")
        self.read("miss", "tasks/word/1/w=new-" + t)
        self.read("start", "start/word/1/w=started-" + t)
        self.command("get hit", "get", "word", "w=known")
        self.command("get miss", "get", "word", "w=got-" + t)
        self.command("run", "run", "word", "w=ran-" + t)
        look = (["status"], ["tasks"], ["runs"], ["stats"], ["config"], ["why", "word", "w=known"], ["log", "word", "w=known"],
                ["path", "word", "w=known"], ["explain", "word", "w=known"], ["show", "word"],
                ["check", os.path.join(self.p.tasks, "word")])
        for word in look[::4] if self.short else look:
            self.command("look " + word[0], *word)
        for word in (["config", "failure_backoff", "1"], ["add", os.path.join(self.p.tasks, "word")], ["remove", "spare-" + t],
                     ["forget", "word", "w=spare-" + t], ["cancel", "/tasks/word/1/w=spare-" + t],
                     ["run", "word", "w=spare-" + t, "--force"], ["verify", "word", "w=spare-" + t]):
            self.command("own " + word[0], *word)
        self.files()
        return self.said


def as_user(uid, groups, do):
    """The child's answer as JSON."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(r)
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.chdir("/")
            with os.fdopen(w, "w") as f:
                json.dump(do(), f)
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(status)
    os.close(w)
    with os.fdopen(r) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


def make_files(d):
    """What is mine belongs to 21001; a group's file, a world's, one that cannot be reached, links, and what is no file."""
    os.mkdir(d)
    os.chmod(d, 0o755)

    def put(name, mode, uid=0, gid=0):
        path = os.path.join(d, name)
        with open(path, "w") as f:
            f.write("the secret of %s\n" % name)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
    put("mine", 0o600, 21001, 21001)
    put("group", 0o640, 21002, RUN)
    put("world", 0o644)
    put("acl", 0o600)
    os.mkdir(os.path.join(d, "hidden"))
    put("hidden/in", 0o644)
    os.chmod(os.path.join(d, "hidden"), 0o700)
    os.symlink("mine", os.path.join(d, "link"))
    os.symlink("hidden", os.path.join(d, "dirlink"))
    os.mkfifo(os.path.join(d, "fifo"), 0o666)
    os.makedirs(os.path.join(d, "tree", "sub"))
    put("tree/top", 0o644)
    put("tree/sub/deep", 0o640, 21003, SEE)
    # POSIX ACL: user 21004 may read (version 2; tag, perm, id, little endian)
    acl = bytes.fromhex("02000000" "01000600ffffffff" "02000400" + (21004).to_bytes(4, "little").hex() +
                        "04000000ffffffff" "10000400ffffffff" "20000000ffffffff")
    try:
        os.setxattr(os.path.join(d, "acl"), "system.posix_acl_access", acl)
        return True
    except OSError:
        return False


class Judge:
    def __init__(self, c, who, said):
        self.c, self.who, self.said = c, who, said

    def want(self, what, good, got, kind="failed"):
        self.c.hit("acts")
        if not good:
            getattr(self.c, kind)("%s: %s: %s %s" % (self.who, what, got, self.said.get(what + " text", "")))

    def errno(self, what, allowed, *others):
        got = self.said[what]
        names = {0: "allowed"}
        self.want(what, got == 0 if allowed else got in (others or DENIED), names.get(got, errno.errorcode.get(got, got)),
                  "failed" if allowed else "wrong")

    def command(self, what, allowed, *status):
        got = self.said[what]
        self.want(what, got == 0 if allowed else got in (status or (4,)), "exit %s" % got, "failed" if allowed else "wrong")


def judge(c, uid, kind, said, warm):
    root = uid == 0
    see, start = root or kind != "nobody", root or kind == "runs"
    j = Judge(c, "uid %d who %s%s" % (uid, kind, ", warm" if warm else ""), said)
    for what in ("list", "hit", "peek", "info"):
        j.errno(what, see)
    j.errno("store", see)
    for what in ("miss", "start"):
        j.errno(what, start)
    j.command("get hit", see)
    j.command("get miss", start)
    j.command("run", start, 1, 4)
    for what in [w for w in said if w.startswith("look ") and not w.endswith(" text")]:
        j.command(what, see)
    for what in [w for w in said if w.startswith("own ") and not w.endswith(" text")]:
        if root:
            # what there is nothing of is told as that; it is not refused
            j.want(what, "only its owner" not in said[what + " text"], "exit %s" % said[what])
        else:
            j.command(what, False)
    for file in FILES:
        readable = said.get("direct " + file) == 0
        hidden = not see
        for how in ("task", "stat", "need"):
            what = "%s %s" % (how, file)
            if file in ("fifo", "proc"):
                j.errno(what, False, errno.EIO, errno.EINVAL, *DENIED)
            elif readable and see and (start or warm):
                j.errno(what, True)
            elif said.get("direct " + file) == errno.ENOENT and see:
                j.errno(what, False, errno.EIO)
            else:
                j.errno(what, False)
        got = said["cached " + file]
        if hidden or not readable:
            j.want("cached " + file, got in (errno.ENOENT, *DENIED), got, "wrong")
        status = said.get("get " + file)
        if status is None:
            continue
        ok = file not in ("fifo", "proc") and readable and see and (start or warm)
        j.want("get " + file, (status == 0) == ok, "exit %s" % status, "failed" if ok else "wrong")
        if not readable:
            c.hit("confused deputies refused")
            j.want("get " + file, "secret" not in said["get %s text" % file], "the secret is out", "wrong")
    tree = said["direct tree"] == 0 and see and (start or warm)
    j.errno("task tree", tree)
    mine = said["direct mine"] == 0 and see and (start or warm)
    j.want("sheet mine", (said["sheet mine"] == 0) == mine, "exit %s" % said["sheet mine"], "failed" if mine else "wrong")


def run(c):
    c.need_fuse()
    c.need_root("becomes other users")
    for r in c.each_round(limit=300):
        with c.place() as p:
            acl = make_files(os.path.join(p.dir, "files"))
            if not acl and "acl" in FILES:
                FILES.remove("acl")
            p.init()
            p.task("word", {"version": "1", "inputs": {"w": {"type": "string"}},
                            "command": sh('echo log >&2; echo "word $INPUT_W"')})
            p.task("file", {"version": "1", "inputs": {"f": {"type": "File"}}, "command": ["cat", "{inputs.f}"]})
            p.task("dir", {"version": "1", "inputs": {"d": {"type": "Directory"}}, "command": sh('cat "$INPUT_D"/sub/deep')})
            p.task("needs", {"version": "1", "inputs": {"f": {"type": "string"}},
                             "needs": {"n": {"task": "file", "inputs": {"f": "{inputs.f}"}}},
                             "command": ["cat", "{needs.n}"]})
            p.mount("-o", "allow_other")
            # at run time: the mount and the socket are there already, and the kernel knows them
            os.stat(p.mnt + "/tasks/word/1")
            for key, value in (("mode", "0750"), ("group", str(SEE)), ("runners", str(RUN))):
                p.must("config", key, value)
            warm = r % 2 == 0
            p.must("get", "word", "w=known")
            if warm:
                for file in FILES:
                    if file not in ("fifo", "proc", "none", "hidden/none"):
                        p.mem("get", "needs", "f=" + os.path.join(p.dir, "files", file))
                p.mem("get", "dir", "d=" + os.path.join(p.dir, "files", "tree"))
                c.hit("caches warm from another user")
            for uid in USERS:
                for kind, groups in GROUPS.items():
                    c.beat("round %d: uid %d who %s" % (r, uid, kind), 120)
                    token = "%d-%s-%d" % (uid, kind, r)
                    said = as_user(uid, groups, Asker(p, c.memofs, token, c.short).all)
                    if c.expect(said is not None, "uid %d who %s: no answer" % (uid, kind)):
                        judge(c, uid, kind, said, warm)
                    c.hit("users in groups")
            c.expect(p.alive(), "the daemon has ended")
    c.need("users in groups", len(USERS) * len(GROUPS) * c.rounds)
    c.need("acts", 15 * 50 * c.rounds)
    c.need("confused deputies refused", 20 * c.rounds)
    c.need("caches warm from another user")
