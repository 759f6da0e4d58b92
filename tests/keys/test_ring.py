from __future__ import annotations

import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.errors import ConfigError
from gateway.keys.ring import KEY_BYTES, dump, generate, load, parse_key_ring

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ring_is_written_and_read_back() -> None:
    ring = generate()
    again = parse_key_ring(dump(ring), source="here")
    assert (again.sealing, again.database) == (ring.sealing, ring.database)
    assert again.assertion[0].kid == ring.assertion[0].kid
    assert (
        again.assertion[0].private.private_numbers() == ring.assertion[0].private.private_numbers()
    )


def test_two_rings_have_nothing_in_common() -> None:
    one, other = generate(), generate()
    assert one.sealing[0].material != other.sealing[0].material != one.database[0].material
    assert len(one.sealing[0].material) == KEY_BYTES


def test_no_key_shows_itself() -> None:
    ring = generate()
    shown = repr(ring)
    assert ring.sealing[0].kid in shown
    assert repr(ring.sealing[0].material) not in shown
    assert "PRIVATE" not in shown


def test_it_is_made_on_the_first_start_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "keys.json"
    ring = load(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load(path, create=True).sealing == load(path, create=False).sealing == ring.sealing
    assert [found.name for found in path.parent.iterdir()] == ["keys.json"]


def test_processes_that_start_at_once_make_one_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads share a process id, which names the temporary file; give each its own, as processes
    # have.
    names: dict[int, int] = {}
    monkeypatch.setattr(
        os, "getpid", lambda: names.setdefault(threading.get_ident(), len(names) + 1)
    )
    barrier, found = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        found.append(load(tmp_path / "keys.json", create=True).sealing)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_shared_ring_is_never_made_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all replicas share one"):
        load(tmp_path / "keys.json", create=False)
    assert not (tmp_path / "keys.json").exists()


def test_a_ring_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    load(path, create=True)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(path, create=True)


def broken() -> dict[str, str]:
    good = json.loads(dump(generate()))
    wrong_curve = (
        ec.generate_private_key(ec.SECP384R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    wrong_kind = (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    return {
        "empty": "",
        "not an object": "[]",
        "no sealing key": json.dumps({**good, "sealing": []}),
        "no assertion key": json.dumps({**good, "assertion": []}),
        "a list missing": json.dumps({k: v for k, v in good.items() if k != "database"}),
        "short key": json.dumps({**good, "sealing": [{"kid": "a", "key": "c2hvcnQ="}]}),
        "not base64": json.dumps({**good, "sealing": [{"kid": "a", "key": "?" * 44}]}),
        "another curve": json.dumps({**good, "assertion": [{"kid": "a", "pem": wrong_curve}]}),
        "another kind": json.dumps({**good, "assertion": [{"kid": "a", "pem": wrong_kind}]}),
        "no key at all": json.dumps({**good, "assertion": [{"kid": "a", "pem": "x"}]}),
    }


@pytest.mark.parametrize(("case", "text"), broken().items(), ids=list(broken()))
def test_what_is_no_ring_is_refused_without_quoting_it(case: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_key_ring(text, source="/etc/gateway/keys.json")
    assert str(caught.value).startswith("/etc/gateway/keys.json")
    assert len(str(caught.value)) < 200
