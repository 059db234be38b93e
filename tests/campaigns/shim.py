"""Steers tests/tools/fault.c: faults and kills at chosen system calls of the daemon and its workers, the log of what they
synced, and their wall clock. The layout of the shared file is that of `struct control` there."""
import errno
import mmap
import os
import struct
import time

CALLS = ("none open read pread write pwrite fsync fdatasync rename link unlink mkdir stat ftruncate fallocate chmod readdir "
         "mmap flock statvfs spawn thread pipe close reply").split()
KILL = 1000
DAEMON, WORKER = 1, 2
FOREVER = 0xFFFFFFFF
FIELDS = ("magic", "call", "error", "first", "times", "who", "seen", "fired", "counting", "visit")


class Shim:
    """The control file of one place. Give env to Place.mount()."""

    def __init__(self, c, place, log=False):
        if "-fsanitize" in open(os.path.join(c.build, "build.ninja")).read():
            c.skip("the calls of a build with sanitizers cannot be taken over")
        self.so = c.tool("fault.so")
        self.path = os.path.join(place.dir, "fault")
        self.log = os.path.join(place.dir, "synced") if log else None
        with open(self.path, "wb") as f:
            f.write(struct.pack("<I", 0x6D666C74) + bytes(172) + os.fsencode(place.store).ljust(1024, b"\0"))
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)
        # The worker's environment is clean, so that it gets the shim by way of a script.
        worker = os.path.join(place.dir, "worker")
        env = {"LD_PRELOAD": self.so, "MEMO_FAULT": self.path}
        if log:
            env["MEMO_FAULT_LOG"] = self.log
        with open(worker, "w") as f:
            f.write("#!/bin/sh\nMEMO_FAULT_WHO=%d %s exec '%s' \"$@\"\n" % (
                WORKER, " ".join("%s='%s'" % kv for kv in env.items()),
                os.path.join(c.build, "src", "worker", "memofs-worker")))
        os.chmod(worker, 0o755)
        self.env = {**env, "MEMOFS_WORKER": worker}

    def _set(self, field, value):
        struct.pack_into("<I", self.map, 4 * FIELDS.index(field), value)

    def get(self, field):
        return struct.unpack_from("<I", self.map, 4 * FIELDS.index(field))[0]

    def arm(self, call, error, first=1, times=1, who=DAEMON | WORKER):
        """From the first-th such call on, so many fail with the error (an errno, or KILL)."""
        self.disarm()
        self._set("error", error)
        self._set("first", first)
        self._set("times", times)
        self._set("who", who)
        self._set("seen", 0)
        self._set("fired", 0)
        self._set("call", CALLS.index(call))

    def disarm(self):
        """Returns how often it fired."""
        self._set("call", 0)
        return self.get("fired")

    def shift(self, seconds):
        """The wall clock of the processes jumps to so much ahead of the true one."""
        struct.pack_into("<q", self.map, 168, seconds)

    def visit_begin(self):
        """The daemon opens and closes every file of its database, at its next call."""
        self._set("visit", DAEMON)

    def visited(self):
        """True when it has done so; waits a while for it."""
        end = time.monotonic() + 5
        while self.get("visit") != 0 and time.monotonic() < end:
            time.sleep(0.005)
        return self.get("visit") == 0

    def count(self, who=DAEMON | WORKER):
        """Counts all calls from now on."""
        self._set("who", who)
        struct.pack_into("<32I", self.map, 40, *([0] * 32))
        self._set("counting", 1)

    def counted(self):
        """Call -> how many, of those that were made."""
        self._set("counting", 0)
        return {name: n for name, n in zip(CALLS, struct.unpack_from("<32I", self.map, 40)) if n > 0}


def error_name(error):
    return "KILL" if error == KILL else errno.errorcode[error]
