"""Hostile values: what a task sees is byte for byte what was asked for, and no shell, log or terminal obeys any of it.

Each value goes to a task as arguments and as a variable, in one of four ways: as a name in the mount, by "memofs get", in a
sheet, and through a need. A canary tells whether a shell ever ran one of them. Then a task fails with the value in its
messages, and all that the commands print about it, to a pipe and to a terminal, is looked at byte by byte: no control
character, no direction mark, no line more than there should be."""
import json
import os
import pty
import re
import select
import time

from campaign import sh

SHORT, LONG = 220, 2000
CANARY = "canary"

SHELL = ["a;touch %s", "a|touch %s", "a&touch %s&", "$(touch %s)", "`touch %s`", "'; touch %s; '", "\"; touch %s; \"",
         "\n touch %s\n", "a\ntouch %s", "a\rtouch %s", "${IFS}touch${IFS}%s", "$(touch${IFS}%s)", "<(touch %s)", ">%s", ">>%s",
         "a>%s", "2>%s", "||touch %s||", "&&touch %s&&", "{touch,%s}", "!touch %s", "#\ntouch %s", "\\\n touch %s",
         "'$(touch %s)'", "\"$(touch %s)\"", "\\`touch %s\\`", "$'\\ntouch %s'", "a'\"$(touch %s)\"'b", "; exec touch %s #",
         "%%s;touch %s", "x=$(touch %s) y", "(touch %s)", "((touch %s))", "[[ $(touch %s) ]]", "$((`touch %s`))"]
OPTIONS = ["-rf", "--", "-", "--help", "-e touch %s", "-c touch %s", "--output=%s", "-o%s", "@%s", "-exec touch %s {} ;",
           "--eval=touch %s", "-i", "-n", "\\-x", "+x"]
PATHS = ["../../../etc/passwd", "%2F..%2F..", "..%2f..%2fetc", "/etc/passwd", "....//", "~", "~root", "*", "?", "[a-z]*", ".", "..",
         "file:///etc/passwd", "a/b", "//", "\\..\\..", "%252e%252e%252f", "CON", "nul", "a\\b"]
TERMINAL = ["\x1b[31mred", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x1bP$q\x1b\\", "\x9b31m", "\u009b31m", "\u0085next", "\x07\x08\x08",
            "\x7f\x7f", "a\rb", "a\x0bb\x0cc", "\x01\x02\x03", "\u202eevil", "\u202d", "\u2066a\u2069", "\u2067\u2068", "\u200f\u200e",
            "\u061c", "\u2028line", "\u2029par", "\x1b[6n", "\x1b[?1049h", "\x0e", "\u202atxt\u202c", "\ufeff", "\u200b"]
FORMS = ["%s%s%s%n", "%x%x", "{inputs.v}", "{{inputs.v}}", "{", "}", "{needs.x}", "{output}", "{requirements.cpu}", "{inputs.w}",
         "$HOME", "${HOME}", "%(v)s", "{0}", "{}", "<%= 1 %>", "#{1}", "${jndi:ldap://x}", "'", "\"", "\\", "\\\\", "\\n", "\\0",
         "a=b", "=", ",", "a,b=c", "v=1,v=2", "%", "%%", "%41", "%zz", "null", "true", "[]", "0", "-0", "1e999", "NaN",
         '{"a":1}', '{"a":"\\u0000"}', '["\\"",{"a":[[]]}]', '"]}', '\\u001b', "</script>", "<!--", "' OR 1=1 --",
         "\t", " ", "  lead", "trail  ", "a\tb", "\n", "\n\n", "a\nb\nc", "memofs: error", "2026-11-22T00:00:00Z error: x",
         "\nmemofs: a line that is not", "\n2026-11-22T00:00:00Z error: forged"]
UNICODE = ["\u00e4", "e\u0301", "\U0001f400", "\uffff", "\ufffd", "\U0010ffff", "\u00ad", "\u0130", "\u1e9e",
           "\u202e\u0041", "\ud7ff", "\ue000", "I\u0307", "\u05d0\u05d1", "\u0627", "\u200d", "a\u0300" * 40, "\u2060", "\u180e", "\ufdfd"]
LONGS = ["x" * 255, "y" * 4096, "z" * 100000, ";touch %s;" * 300, "\u20ac" * 5000, "%2F" * 2000, "{" * 999, "\n" * 999, "'" * 999,
         "a" * 60000 + "\x1b[31m"]
BIDI = re.compile("[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\u0080-\u009f\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def values(c, count, canary):
    """The fixed ones first, then mixtures of them."""
    fixed = [v.replace("%s", canary) if v in SHELL + OPTIONS + LONGS else v
             for v in SHELL + OPTIONS + PATHS + TERMINAL + FORMS + UNICODE + LONGS]
    rng = c.rng("values")
    some = list(dict.fromkeys(fixed))
    while len(some) < count:
        mix = "".join(rng.choice(fixed)[:40] for _ in range(rng.randrange(2, 5)))
        if mix not in some:
            some.append(mix)
    return some[:max(count, 1)]


def encode(value):
    """As a component asks for it, minimal."""
    return "".join("%%%02X" % ord(ch) if ord(ch) < 0x20 or ch in "\x7f/,%" else ch for ch in value)


def on_terminal(argv, env, timeout):
    """Runs a program on a terminal of its own: all that it wrote there."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, dict(env, TERM="xterm", COLUMNS="200"))
    data, end = b"", time.monotonic() + timeout
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        data += part
    os.close(fd)
    os.waitpid(pid, 0)
    return data


class Injection:
    def __init__(self, c, p):
        self.c, self.p = c, p
        self.canary = os.path.join(p.count, CANARY)

    def seen(self, got, value, how):
        want = value.encode("utf-8", "surrogatepass")
        want = want + b"\0--v=" + want + b"\0" + want
        if got == want:
            self.c.hit("values seen exactly " + how)
        else:
            self.c.wrong("%s: %r is seen as %r" % (how, value[:60], got[:80]))

    def by_mount(self, value):
        name = encode(value)
        if not name or len(name.encode()) + 2 > 255:
            return False
        got = self.p.read("tasks/show/1/v=" + name)
        if not self.c.expect(got.status == 0, "%r cannot be read through the mount: %s" % (
                value[:60], os.strerror(got.status))):
            return True
        self.seen(got.data, value, "in the mount")
        return True

    def by_command(self, value):
        if len(value.encode()) > 100000:
            return
        done = self.p.mem("get", "show", "v=" + value)
        if self.c.expect(done.status == 0, "%r cannot be got: %s" % (value[:60], done.err[-200:])):
            self.seen(done.out, value, "by command")

    def by_sheet(self, some):
        sheet = os.path.join(self.p.dir, "sheet.jsonl")
        with open(sheet, "w") as f:
            for v in some:
                f.write(json.dumps({"v": v}) + "\n")
        done = self.p.mem("run", "show", "--sheet", sheet, "--keep-going", timeout=300)
        self.c.expect(done.status == 0, "the sheet: exit %d: %s" % (done.status, done.err[-300:]))
        self.printed("run", done)
        for v in some:
            name = encode(v)
            short = name and len(name.encode()) <= 253
            self.seen(self.p.read("cached/show/1/v=" + name).data if short else self.p.mem("get", "show", "v=" + v).out,
                      v, "in a sheet")

    def by_need(self, value):
        done = self.p.mem("get", "via", "v=" + value)
        if self.c.expect(done.status == 0, "%r through a need: %s" % (value[:60], done.err[-200:])):
            self.seen(done.out, value, "through a need")

    def clean(self, what, data, value=None):
        text = data.decode("utf-8", "replace")
        bad = BIDI.search(text)
        self.c.expect(bad is None, "%s prints %r: %r" % (what, bad and bad[0], text[max(0, (bad.start() if bad else 0) - 40):][:120]))
        for line in text.split("\n"):
            self.c.expect(not line.startswith("2026-11-22T00:00:00Z error: forged") and line.rstrip() != "memofs: a line that is not",
                          "%s: a line is broken: %r" % (what, line[:80]))
        self.c.hit("outputs looked at")

    def printed(self, what, done):
        self.clean(what, done.out)
        self.clean(what + " (messages)", done.err)

    def failing(self, value):
        """All that is said about a failure whose every message is hostile."""
        arg = "v=" + value
        for command in ("run", "explain", "path", "forget"):
            self.printed(command, self.p.mem(command, "sour", arg))
        memofs = [self.c.memofs, "--store", self.p.store]
        # a log, and what quotes code, goes into a pipe as it is
        for command in (["get", "sour", arg], ["log", "sour", arg], ["why", "sour", arg], ["run", "sour", arg]):
            data = on_terminal([*memofs, *command], self.p.env, 30 * self.c.slow)
            # what the terminal itself adds, and what the program means to say to it
            data = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", data) if command[0] == "run" else data
            self.clean("%s on a terminal" % command[0], data.replace(b"\r", b""))


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount()
        i = Injection(c, p)
        print_all = sh('printf "%s\\0" "$@"; printf %s "$INPUT_V"')
        p.task("show", {"version": "1", "inputs": {"v": {"type": "string"}},
                        "command": [*print_all, "sh", "{inputs.v}", "--v={inputs.v}"]})
        p.task("via", {"version": "1", "inputs": {"v": {"type": "string"}},
                       "needs": {"n": {"task": "show", "inputs": {"v": "{inputs.v}"}}}, "command": ["cat", "{needs.n}"]})
        p.task("sour", {"version": "1", "inputs": {"v": {"type": "string"}}, "description": "\u202e\x1b[31m\u2028 sour",
                        "command": [*sh('printf "%s\\n" "$1" >&2; exit 3'), "sh", "{inputs.v}"]})
        some = [v for v in values(c, c.rounds, i.canary)]
        sheet = []
        for r in c.each_round(limit=120):
            v = some[r % len(some)]
            way = r % 4
            if way == 0 and i.by_mount(v):
                pass
            elif way == 2 and len(v) < 4000:
                sheet.append(v)
            elif way == 3 and len(v.encode()) <= 100000:
                i.by_need(v)
            else:
                i.by_command(v)
            c.hit("hostile values")
            if len(sheet) == 200 or (r == c.rounds - 1 and sheet):
                c.beat("a sheet", 300)
                i.by_sheet(sheet)
                sheet = []
            c.expect(not os.path.exists(i.canary), "a shell obeyed %r" % v[:80])
        bitter = [v for v in (TERMINAL + FORMS[-8:])]
        for v in c.rng("bitter").sample(bitter, 3) if c.short else bitter:
            c.beat("failures", 120)
            i.failing(v)
        c.beat("listings", 120)
        for command in (["tasks"], ["tasks", "--json"], ["show", "sour"], ["show", "sour", "--json"], ["runs"], ["runs", "--json"],
                        ["status"], ["stats"], ["config"]):
            i.printed(" ".join(command), p.mem(*command))
        with open(os.path.join(p.store, "memofs.log"), "rb") as f:
            for line in f.read().split(b"\n")[:-1]:
                c.expect(re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (error|warning|info|debug): [ -~\x80-\xff]*$", line) is not None,
                         "the log has a broken line: %r" % line[:80])
        c.expect(not os.path.exists(i.canary), "the canary is there")
    c.need("hostile values", c.rounds)
    for how in ("in the mount", "by command", "in a sheet", "through a need"):
        c.need("values seen exactly " + how, c.rounds // 10)
    c.need("outputs looked at", 40)
