"""Who is started again, when, and what ends everything. Real processes that do nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from gateway.runtime.service_manager import ServiceManager
from gateway.runtime.supervisor import STUCK_S, SharedFlags, Supervisor, _cause

SCRIPT = """
import os, sys, time, logging, signal
from gateway.runtime import supervisor
from gateway.log import configure
from gateway.runtime.service_manager import ServiceManager
from gateway.runtime.supervisor import SharedFlags, Supervisor
configure("json", "info")
supervisor.RESTART_S = supervisor._LOOK_S = 0.01
supervisor.STUCK_S = 0.5
codes = [int(code) for code in sys.argv[1].split(",")]
fork, without = os.fork, int(sys.argv[3])
def scarce():
    global without
    if without:
        without -= 1
        raise OSError(11, "Resource temporarily unavailable")
    return fork()
os.fork = scarce
flags = SharedFlags()
def child(number):
    code = codes[number]
    if code < 0:
        flags.started(number)
        for _ in range(-code if code < -1 else 0):
            flags.alive(number)
            time.sleep(0.02)
        time.sleep(60)
    os._exit(code)
looks = 0
def tend():
    global looks
    looks += 1
    if looks == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGTERM)
names = [f"worker-{n}" for n in range(len(codes))]
print(Supervisor(names, flags, child, ServiceManager()).run(tend), flush=True)
"""


def supervised(codes: str, *, looks: int = 60, without: int = 0) -> tuple[str, list[str]]:
    """Exit code of the supervisor, and what it logged. A worker with a code below zero serves, and
    gives as many signs of life where it is below -1; any other ends at once with its code.
    ``without``: how many forks fail first.
    """
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, codes, str(looks), str(without)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout.strip(), [line for line in ended.stderr.splitlines() if '"worker_' in line]


def test_a_wrong_configuration_ends_everything_where_nobody_serves_yet() -> None:
    code, died = supervised("2,2", looks=10_000)
    assert code == "2"
    assert "nothing is started" in died[0]


def test_once_somebody_serves_no_exit_code_of_another_ends_everything() -> None:
    code, died = supervised("-1,2", looks=100)
    # Unless it ended before the other one served, which is the first start.
    assert (code == "0" and len(died) >= 2) or "nothing is started" in died[0]


def test_a_worker_that_dies_again_and_again_is_started_less_and_less_often() -> None:
    code, died = supervised("-1,1", looks=120)
    assert code == "0"
    assert 3 <= len(died) <= 9, "twice as long each time"
    waits = [
        float(line.partition('"again_in_s": ')[2].partition("}")[0].partition(",")[0])
        for line in died
    ]
    assert waits == [0.01 * 2**n for n in range(len(died))]


def test_a_worker_that_stands_still_is_ended_and_started_again() -> None:
    code, died = supervised("-2,-1,-200", looks=120)
    assert code == "0"
    assert died and {'"worker": "worker-0"' in line for line in died} == {True}, (
        "one has never served, one goes on"
    )
    assert all("stood still" in line and '"exit_code": -9' in line for line in died)


def test_silence_is_counted_from_the_last_sign_of_life() -> None:
    flags = SharedFlags()
    supervisor = Supervisor(["worker-0"], flags, lambda _: None, ServiceManager())
    worker = supervisor._waiting.pop()
    killed: list[int] = []
    supervisor._running[os.getpid()] = worker
    flags.alive(worker.number)
    supervisor._end_stuck(0.0)
    assert worker.silent_s == 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", lambda pid, _: killed.append(pid))
        for _ in range(int(STUCK_S) - 1):
            supervisor._end_stuck(1.0)
        flags.alive(worker.number)
        supervisor._end_stuck(1.0)
        assert not killed
        for _ in range(int(STUCK_S) * 2):
            supervisor._end_stuck(1.0)
    assert killed == [os.getpid()], "once"


def test_a_machine_without_processes_is_asked_again_and_ends_nothing() -> None:
    code, said = supervised("1", without=2)
    assert code == "0"
    assert ["worker_not_started" in line for line in said[:3]] == [True, True, False]
    assert '"error": "Resource temporarily unavailable"' in said[0]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (-9, "killed by SIGKILL (the kernel does so where memory is short)"),
        (-11, "killed by SIGSEGV"),
        (0, "ended by itself"),
    ],
)
def test_the_cause_is_said_in_words(code: int, cause: str) -> None:
    assert _cause(code) == cause


def test_flags_are_seen_by_forked_processes_and_their_supervisor() -> None:
    flags = SharedFlags()
    assert (flags.stopping, flags.any_started) == (False, False)
    pid = os.fork()
    if pid == 0:
        flags.started(3)
        os._exit(0)
    os.waitpid(pid, 0)
    assert (flags.stopping, flags.any_started) == (False, True)
    assert (flags.serves(2), flags.serves(3)) == (False, True)
    flags.ended(2)
    flags.ended(3)
    assert (flags.serves(2), flags.serves(3), flags.any_started) == (False, False, True), (
        "what has served once is known for ever"
    )
    flags.started(3)
    assert flags.serves(3)
    flags.stop()
    assert (flags.stopping, flags.any_started) == (True, True)


def test_a_signal_that_comes_while_a_worker_is_forked_reaches_it_too() -> None:
    flags = SharedFlags()

    def child(_: int) -> None:
        time.sleep(60)

    supervisor = Supervisor(["worker-0"], flags, child, ServiceManager())
    fork, before = os.fork, signal.getsignal(signal.SIGTERM)

    def interrupted() -> int:
        pid = fork()
        if pid:
            os.kill(os.getpid(), signal.SIGTERM)
        return pid

    os.fork = interrupted
    began = time.monotonic()
    try:
        assert supervisor.run(lambda: None) == 0
    finally:
        os.fork = fork
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - began < 5
