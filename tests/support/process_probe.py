"""``python -m tests.support.process_probe WORDS…`` says what its process was given, as JSON; then
does what the first word is.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import random
import resource
import secrets
import signal
import sys
import threading
import time
from pathlib import Path


def facts() -> dict[str, object]:
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    words = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return {
        "name": __name__,
        "file": __file__,
        "argv": sys.argv,
        "orig_argv": sys.orig_argv[1:],
        "command line": [word.decode() for word in words[1:]],
        "main": sys.modules["__main__"].__dict__ is globals(),
        "path": sys.path,
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "kernel's name": status["Name"],
        "signals": {
            name: status[name].strip() for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd")
        },
        "handlers": {
            str(each): str(signal.getsignal(each)).partition(" at ")[0]
            for each in signal.valid_signals()
        },
        "umask": status["Umask"],
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "limits": {
            name: resource.getrlimit(getattr(resource, name))
            for name in dir(resource)
            if name.startswith("RLIMIT_")
        },
        "threads": status["Threads"],
        "files": {
            file.name: str(file.readlink()).partition(":")[0]
            for file in sorted(Path("/proc/self/fd").iterdir())
            if file.exists()
        },
        "stdout": (sys.stdout.line_buffering, sys.stdout.encoding, sys.stdout.errors),
        "stderr": (sys.stderr.line_buffering, sys.stderr.encoding, sys.stderr.errors),
        "active": threading.active_count(),
        "thread": threading.main_thread() is threading.current_thread(),
        "zone": time.tzname,
        "death": _parent_death_signal(),
    }


def _parent_death_signal() -> int:
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(found), 0, 0, 0)
    return found.value


def main() -> None:
    what, *_ = sys.argv[1:]
    if what == "draw":
        print(json.dumps([random.random(), secrets.token_hex(8)]))
        return
    print(json.dumps(facts()))
    atexit.register(lambda: print("ended"))
    if what == "fail":
        raise ValueError(what)
    if what == "exit":
        sys.exit(7)
    if what == "stay":
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
