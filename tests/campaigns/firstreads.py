"""First reads: an input that never ran is read through every tool, and every byte is right; nothing is empty or short.

Each round is one input, and one way to read it. What a tool asks first (stat, open, a size, a mapping, a direct read)
meets a result that does not exist yet; sizes go from one byte to 64 MiB."""
import concurrent.futures
import errno
import mmap
import os
import shutil
import threading

from campaign import Ledger, Read, run_process, sh, work_bytes, work_path

SHORT, LONG = 240, 10000
PARALLEL = 4
SIZES = (1, 2, 63, 511, 512, 513, 4095, 4096, 4097, 8191, 12289, 65535, 65536, 65537, 131071, 131072, 131073, 200000)
BULK = (1 << 20, (1 << 20) + 1, 3000001, 9 << 20)
GIANT = 64 << 20


def command(*argv):
    """A program of its own; the path is appended where None stands."""

    def do(c, path, size, rng):
        done = run_process([path if a is None else a for a in argv], 120 * c.slow)
        return Read(0 if done.status == 0 else errno.EIO, done.out), lambda data: data

    return do


def end_of(*argv):
    def do(c, path, size, rng):
        n = rng.randrange(1, 2 * size + 2)
        done = run_process([*argv, str(n), path], 120 * c.slow)
        want = (lambda data: data[-n:]) if argv[0] == "tail" else (lambda data: data[:n])
        return Read(0 if done.status == 0 else errno.EIO, done.out), want

    return do


def copied(*argv):
    def do(c, path, size, rng):
        to = os.path.join(c.dir, "copy-%d" % threading.get_ident())
        done = run_process([*argv, path, to], 120 * c.slow)
        try:
            with open(to, "rb") as f:
                data = f.read()
            os.unlink(to)
        except OSError:
            data = b""
        return Read(0 if done.status == 0 else errno.EIO, data), lambda data: data

    return do


def counted(c, path, size, rng):
    done = run_process(["wc", "-c", path], 120 * c.slow)
    return Read(0 if done.status == 0 else errno.EIO, done.out.split()[0] if done.out else b""), \
        lambda data: b"%d" % len(data)


def dd(*flags):
    def do(c, path, size, rng):
        block = 4096 * rng.randrange(1, 40) if "iflag=direct" in flags else rng.randrange(max(1, size // 300), size + 2)
        done = run_process(["dd", "if=" + path, "bs=%d" % block, "status=none", *flags], 120 * c.slow)
        return Read(0 if done.status == 0 else errno.EIO, done.out), lambda data: data

    return do


def tool(call):
    def do(c, path, size, rng):
        done = run_process([c.tool("reader"), call, path], 120 * c.slow)
        return Read(0 if done.status == 0 else errno.EIO, done.out), lambda data: data

    return do


def calls(body):
    """Plain calls of this process: body(fd, size, rng) gives the bytes, or None to leave them out."""

    def do(c, path, size, rng):
        try:
            with open(path, "rb", buffering=0) as f:
                return Read(0, body(f.fileno(), size, rng)), lambda data: data
        except OSError as e:
            return Read(e.errno, b""), lambda data: data
        except (ValueError, MemoryError):  # a size that cannot be mapped or held
            return Read(errno.EFBIG, b""), lambda data: data

    return do


def odd(fd, size, rng):
    data = bytearray()
    while True:
        part = os.read(fd, rng.randrange(1, max(2, size // 50)))
        if not part:
            return bytes(data)
        data += part


def mapped(fd, size, rng):
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
        return bytes(m)


def scattered(fd, size, rng):
    data = bytearray(os.fstat(fd).st_size)
    places = list(range(0, len(data), max(1, len(data) // 40)))
    rng.shuffle(places)
    step = max(1, len(data) // 40)
    for at in places:
        data[at:at + step] = os.pread(fd, step, at)
    return bytes(data)


def looked_at(c, path, size, rng):
    """stat, then as many bytes as it said, in one call."""
    try:
        told = os.stat(path).st_size
        fd = os.open(path, os.O_RDONLY)
        data = os.read(fd, told + 1) if told < 1 << 40 else b""
        while 0 < len(data) < told:
            part = os.read(fd, told - len(data))
            if not part:
                break
            data += part
        os.close(fd)
        return Read(0, data if told == size else b"stat said %d" % told), lambda data: data
    except OSError as e:
        return Read(e.errno, b""), lambda data: data


def crowd(c, path, size, rng):
    """Eight at once, in processes of their own; one wrong is enough."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ways = [rng.choice((command("cat", None), tool("mmap"), tool("sendfile"), looked_at)) for _ in range(8)]
        seeds = [rng.random() for _ in ways]
        all_of_them = list(pool.map(lambda w: w[0](c, path, size, c.rng(w[1]))[0], zip(ways, seeds)))
    bad = [g for g in all_of_them if g != all_of_them[0]]
    return (bad or all_of_them)[0], lambda data: data


WAYS = {
    "cat": command("cat", None), "cp": copied("cp"), "cp --reflink": copied("cp", "--reflink=auto", "--sparse=always"),
    "install": copied("install"), "dd": dd(), "dd direct": dd("iflag=direct"), "wc": counted, "tail": end_of("tail", "-c"),
    "head": end_of("head", "-c"), "mmap": calls(mapped), "reader mmap": tool("mmap"),
    "sendfile": tool("sendfile"), "pread from the end": tool("pread"), "odd reads": calls(odd),
    "scattered": calls(scattered), "stat first": looked_at, "crowd": crowd, "shell": command("sh", "-c", 'cat <"$0"', None),
    "python": command("python3", "-c", "import sys, shutil\n"
                                                "shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)", None),
    "rsync": copied("rsync", "-q"), "grep": command("grep", "-a", "-z", "", None),
}


def with_tar(c, path, size, rng):
    d, base = os.path.split(path)
    done = run_process(["sh", "-c", 'tar -C "$0" -cf - "$1" | tar -xOf -', d, "./" + base], 120 * c.slow)
    return Read(0 if done.status == 0 else errno.EIO, done.out), lambda data: data


WAYS["tar"] = with_tar
if shutil.which("rsync") is None:
    del WAYS["rsync"]


def name_of(r, size):
    return "n%d" % r, ("tasks/bulk/1/id=n%d,size=%d" % (r, size) if size > 200000 else work_path("n%d" % r, size=size))


def one(c, p, ledger, r):
    rng = c.rng(r)
    way = list(WAYS)[r % len(WAYS)]
    size = GIANT if r % 400 == 399 else rng.choice(BULK) if r % 40 == 7 else rng.choice(SIZES)
    ident, path = name_of(r, size)
    got, want = WAYS[way](c, os.path.join(p.mnt, path), size, rng)
    if way == "grep" and got.data.endswith(b"\0"):
        got = Read(got.status, got.data[:-1])  # it ends its line
    what = "%s of %d bytes (%s)" % (way, size, ident)
    if c.judge(got, want(work_bytes(ident, size=size)), what):
        ledger.ack(ident)
        c.hit(way)
    else:
        c.failed("%s: status %d, %d bytes" % (what, got.status, len(got.data)))
    c.hit("bytes", size)


def run(c):
    c.need_fuse()
    with c.place() as p:
        p.mount()
        p.task_work()
        p.task("bulk", {"version": "1", "inputs": {"id": {"type": "string"}, "size": {"type": "int"}},
                        "env": {"COUNT": p.count},
                        "command": sh('echo "$INPUT_ID" >>"$COUNT/log"; '
                                      'yes "$INPUT_ID|" | tr -d "\\n" | head -c "$INPUT_SIZE"')})
        ledger = Ledger(c, p)
        flying = set()
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            for r in c.each_round(180):
                if len(flying) >= PARALLEL:
                    done, flying = concurrent.futures.wait(flying, return_when=concurrent.futures.FIRST_COMPLETED)
                    for f in done:
                        f.result()
                flying.add(pool.submit(one, c, p, ledger, r))
            for f in flying:
                f.result()
        c.hit("inputs", ledger.check())
        ran = p.executions()
        c.expect(ran == c.rounds, "%d executions of %d inputs" % (ran, c.rounds))
    c.need("inputs", c.rounds)
    for way in WAYS:
        c.need(way, c.rounds // len(WAYS) // 2)
