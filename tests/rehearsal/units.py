"""``systemctl`` for the rehearsal's folder tree: starts processes as unit files say, where no
systemd runs. Standard library only; any Python runs it.

Carried out are: User, Group, Environment, EnvironmentFile, ExecStartPre, ExecStart, ExecReload,
ExecStop, Type (notify, forking, simple), PIDFile, Restart, RuntimeDirectory, StateDirectory, UMask,
LimitNOFILE, LimitCORE, NoNewPrivileges, MemoryDenyWriteExecute, ProtectSystem=strict with
PrivateTmp. What is not: system call filters, and what only a real boot shows.

One keeper process for each unit holds NOTIFY_SOCKET and starts the unit again when it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
import traceback
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

FOLDERS = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))
STATE = Path("/run/rehearsal")
ENABLED = Path("/var/lib/rehearsal")
START_S = 60.0
_LIBC = ctypes.CDLL(None, use_errno=True)
_NO_NEW_PRIVS, _MDWE, _NEWNS = 38, 65, 0x20000


class UnitError(Exception):
    """Told as ``systemctl`` does, with exit code 1."""


class Unit:
    """One unit file, read; ``name`` without the suffix."""

    def __init__(self, name: str) -> None:
        self.name = name.removesuffix(".service")
        base, at, instance = self.name.partition("@")
        file = next((f for d in FOLDERS for f in [d / f"{base}{at}.service"] if f.exists()), None)
        if file is None:
            raise UnitError(f"Unit {self.name}.service not found.")
        self.lines: list[tuple[str, str]] = []
        text = file.read_text().replace("\\\n", " ").replace("%i", instance)
        for line in text.splitlines():
            key, separator, value = line.partition("=")
            if separator and not line.startswith(("#", ";")):
                self.lines.append((key.strip(), value.strip()))

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.lines if name == key]

    def get(self, key: str, default: str = "") -> str:
        return next(reversed(self.all(key)), default)

    def on(self, key: str) -> bool:
        return self.get(key) in {"yes", "true"}

    @property
    def record(self) -> Path:
        return STATE / f"{self.name}.json"

    def state(self) -> dict[str, Any]:
        """Empty where it does not run."""
        try:
            state: dict[str, Any] = json.loads(self.record.read_text())
        except (OSError, ValueError):
            return {}
        return state if _alive(state.get("keeper", 0)) else {}

    def environment(self) -> dict[str, str]:
        found = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        if user := self.get("User"):
            found |= {"USER": user, "LOGNAME": user, "HOME": pwd.getpwnam(user).pw_dir}
        for setting in self.all("Environment"):
            found |= dict(word.split("=", 1) for word in shlex.split(setting))
        for setting in self.all("EnvironmentFile"):
            path = Path(setting.removeprefix("-"))
            if not path.exists():
                if setting.startswith("-"):
                    continue
                raise UnitError(f"Failed to load environment files: {path}")
            for line in path.read_text().splitlines():
                name, separator, value = line.partition("=")
                if separator and not line.startswith("#"):
                    found[name] = value.strip("\"'")
        return found

    def command(self, line: str, environment: dict[str, str]) -> tuple[list[str], bool]:
        """Words, and whether a failure counts."""
        words = [
            environment.get(word[2:-1], "")
            if word.startswith("${")
            else environment.get(word[1:], "")
            if word.startswith("$")
            else word
            for word in shlex.split(line.lstrip("-@:+!"))
        ]
        return words, not line.startswith("-")

    # --- what the kernel is told before ExecStart ------------------------------------------------

    def confine(self) -> None:
        """In the child, still root."""
        try:
            self._confine()
        except Exception:
            traceback.print_exc()
            raise

    def _confine(self) -> None:
        os.setsid()
        for name, kind in (("NOFILE", resource.RLIMIT_NOFILE), ("CORE", resource.RLIMIT_CORE)):
            if limit := self.get(f"Limit{name}"):
                most = resource.getrlimit(kind)[1]  # a container's root may not raise it
                allowed = int(limit) if most == resource.RLIM_INFINITY else min(int(limit), most)
                resource.setrlimit(kind, (allowed, allowed))
        if mask := self.get("UMask"):
            os.umask(int(mask, 8))
        if self.get("ProtectSystem") == "strict" and self.name.startswith("gateway"):
            self._read_only()
        if user := self.get("User"):
            entry = pwd.getpwnam(user)
            group = grp.getgrnam(self.get("Group")).gr_gid if self.get("Group") else entry.pw_gid
            os.initgroups(user, group)
            os.setgid(group)
            os.setuid(entry.pw_uid)
        if self.on("NoNewPrivileges"):
            _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self.on("MemoryDenyWriteExecute"):
            _LIBC.prctl(_MDWE, 1, 0, 0, 0)  # since Linux 6.3; older ones refuse it, which is all

    def _read_only(self) -> None:
        if _LIBC.unshare(_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        writable = [
            *self._folders("/run", "RuntimeDirectory"),
            *self._folders("/var/lib", "StateDirectory"),
        ]
        script = ["mount --make-rprivate /"]
        script += [
            f"mount --bind {shlex.quote(f)} {shlex.quote(f)}" for f in [*writable, str(STATE)]
        ]
        script += ["mount -o remount,bind,ro /", "mount -o remount,bind,ro /run"]
        if self.on("PrivateTmp"):
            script += ["mount -t tmpfs tmpfs /tmp"]
        subprocess.run(["/bin/sh", "-ec", "\n".join(script)], check=True)

    def _folders(self, top: str, key: str) -> list[str]:
        return [f"{top}/{name}" for setting in self.all(key) for name in setting.split()]

    def make_folders(self) -> None:
        for top, key in (("/run", "RuntimeDirectory"), ("/var/lib", "StateDirectory")):
            for folder in self._folders(top, key):
                Path(folder).mkdir(parents=True, exist_ok=True)
                Path(folder).chmod(int(self.get(f"{key}Mode", "0755"), 8))
                user = pwd.getpwnam(self.get("User", "root"))
                os.chown(folder, user.pw_uid, user.pw_gid)


def _alive(pid: int) -> bool:
    try:
        return (
            pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except OSError:
        return False


def _log(unit: Unit) -> Path:
    return Path("/var/log/rehearsal") / f"{unit.name}.log"


def keep(unit: Unit) -> None:
    """The keeper's whole life; never returns."""
    ends: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: ends.append(signum))
    address = STATE / f"{unit.name}.notify"
    address.unlink(missing_ok=True)
    hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hearing.bind(str(address))
    address.chmod(0o777)
    hearing.settimeout(0.02)
    state: dict[str, Any] = {
        "keeper": os.getpid(),
        "main": 0,
        "ready": False,
        "said": [],
        "starts": 0,
    }

    def save(**changed: Any) -> None:
        state.update(changed)
        new = unit.record.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.replace(unit.record)

    while not ends:
        unit.make_folders()
        environment = unit.environment() | {"NOTIFY_SOCKET": str(address)}
        if watchdog := unit.get("WatchdogSec"):
            environment["WATCHDOG_USEC"] = str(int(watchdog.removesuffix("s")) * 1_000_000)
        command, _ = unit.command(unit.get("ExecStart"), environment)
        with _log(unit).open("ab") as log:
            main = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=unit.confine,  # noqa: PLW1509 - the keeper has one thread
                cwd="/",
            )
        save(main=main.pid, ready=False, starts=state["starts"] + 1)
        while main.poll() is None and not ends:
            with contextlib.suppress(TimeoutError):
                said = hearing.recv(4096).decode()
                if not said.startswith("WATCHDOG"):
                    save(
                        said=[*state["said"], said.partition("\n")[0]],
                        ready="READY=1" in said or state["ready"],
                    )
        if ends and main.poll() is None:
            main.terminate()
            try:
                main.wait(35)
            except subprocess.TimeoutExpired:
                os.killpg(main.pid, signal.SIGKILL)
            while True:
                try:
                    save(said=[*state["said"], hearing.recv(4096).decode().partition("\n")[0]])
                except TimeoutError:
                    break
        if unit.get("Restart", "no") == "no":
            break
        if not ends:
            time.sleep(float(unit.get("RestartSec", "0.1s").removesuffix("s")))
    unit.record.unlink(missing_ok=True)
    os._exit(0)


# --- the verbs ------------------------------------------------------------------------------------


def start(unit: Unit) -> None:
    if unit.get("Type") == "forking" or unit.get("Type") == "oneshot":
        unit.make_folders()
        for key in ("ExecStartPre", "ExecStart"):
            _run(unit, key)
        return
    if unit.state():
        return
    STATE.mkdir(exist_ok=True)
    _log(unit).parent.mkdir(exist_ok=True)
    if os.fork() == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        told = os.open(_log(unit), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor, target in ((0, null), (1, told), (2, told)):
            os.dup2(target, descriptor)
        try:
            keep(unit)
        except Exception:  # noqa: BLE001 - it has nobody to raise to
            traceback.print_exc()
        finally:
            os._exit(1)
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        state = unit.state()
        if state and (state["ready"] or unit.get("Type", "simple") == "simple"):
            return
        if state.get("starts", 0) > 1:
            break
        time.sleep(0.02)
    tail = _log(unit).read_text(errors="replace")[-2000:]
    raise UnitError(f"Job for {unit.name}.service failed.\n{tail}")


def stop(unit: Unit) -> None:
    if unit.get("Type") == "forking":
        _run(unit, "ExecStop")
        return
    state = unit.state()
    if state:
        os.kill(state["keeper"], signal.SIGTERM)
        ends = time.monotonic() + 60
        while _alive(state["keeper"]) and time.monotonic() < ends:
            time.sleep(0.02)


def reload(unit: Unit) -> None:
    state = unit.state()
    before = state.get("said", [])
    _run(unit, "ExecReload", MAINPID=str(state.get("main", "")))
    if unit.get("Type") == "notify":  # until it says that it is ready again
        ends = time.monotonic() + START_S
        while "READY=1" not in unit.state().get("said", [])[len(before) :]:
            if time.monotonic() > ends:
                raise UnitError(f"Reload of {unit.name}.service timed out.")
            time.sleep(0.02)


def _run(unit: Unit, key: str, **environment: str) -> None:
    for line in unit.all(key):
        told = unit.environment() | environment
        command, counts = unit.command(line, told)
        done = subprocess.run(
            command, env=told, check=False, cwd="/", capture_output=True, text=True
        )
        if done.returncode and counts:
            raise UnitError(f"{unit.name}: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main(arguments: list[str]) -> int:
    now = "--now" in arguments
    verb, *names = [word for word in arguments if not word.startswith("-")]
    ENABLED.mkdir(exist_ok=True)
    try:
        if verb == "daemon-reload":
            return 0
        if verb == "list-units":
            for record in sorted(STATE.glob("*.json")):
                if any(fnmatch(record.stem, name) for name in names) and Unit(record.stem).state():
                    print(f"{record.stem}.service loaded active running")
            return 0
        for unit in [Unit(name) for name in names if "*" not in name]:
            if verb in {"enable", "disable"}:
                mark = ENABLED / unit.name
                mark.touch() if verb == "enable" else mark.unlink(missing_ok=True)
                if now:
                    start(unit) if verb == "enable" else stop(unit)
            elif verb == "restart":
                stop(unit)
                start(unit)
            elif verb in {"start", "stop", "reload"}:
                {"start": start, "stop": stop, "reload": reload}[verb](unit)
            elif verb == "show":
                print(json.dumps(unit.state()))
            else:
                print(f"Unknown verb {verb}.", file=sys.stderr)
                return 1
    except (UnitError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
