"""A key ring whose file AWS KMS encrypts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli import run
from gateway.cognito import kms as aws
from gateway.cognito.kms import KmsWrapping, key_wrapping
from gateway.config.model import load_config
from gateway.errors import ConfigError, UnavailableError
from gateway.keys import file as key_file
from gateway.keys import ring as keys
from tests.keys.stand_in_kms import StandInKms

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
ingress: {trusted_proxies: [127.0.0.1/32]}
cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}
state_dir: STATE
key_ring: {file: STATE/keys.jsonKMS}
"""
CONTEXT = {"deployment": "production"}


@pytest.fixture(scope="module")
def server() -> Iterator[StandInKms]:
    with StandInKms().serving() as serving:
        yield serving


@pytest.fixture
def kms(server: StandInKms, monkeypatch: pytest.MonkeyPatch) -> StandInKms:
    server.disabled.clear()
    server.denied.clear()
    server.throttled = 0
    server.asked.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(aws, "ATTEMPTS", 1)
    return server


@pytest.fixture
def wrapping(kms: StandInKms) -> KmsWrapping:
    return KmsWrapping(kms.new_key("ring"), CONTEXT)


class Machine:
    """A configuration, and the commands about its key ring."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = folder / "state"
        self.path = self.state / "keys.json"
        self.config = folder / "gateway.yaml"
        self.capsys = capsys
        self.name(None)

    def name(self, key_id: str | None, deployment: str = "production") -> None:
        named = f", kms: {{key_id: '{key_id}', context: {{deployment: {deployment}}}}}"
        text = CONFIG.replace("STATE", str(self.state)).replace("KMS", named if key_id else "")
        self.config.write_text(text)

    def keys(self, *arguments: str) -> tuple[int, str]:
        code = run(["keys", arguments[0], "-c", str(self.config), *arguments[1:]])
        said = self.capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, capsys)


def in_clear(ring: keys.KeyRing, folder: Path) -> list[str]:
    """Files below ``folder`` that hold something of the ring."""
    document = json.loads(keys.dump(ring))
    secrets = [entry["key"] for kind in ("sealing", "database") for entry in document[kind]]
    secrets += [entry["pem"].splitlines()[1] for entry in document["assertion"]]
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


def test_an_encrypted_ring_is_made_and_rotated_and_never_written_in_clear(
    wrapping: KmsWrapping, machine: Machine, kms: StandInKms
) -> None:
    machine.name(wrapping.key_id)
    assert machine.keys("rotate", "--create")[0] == 0
    assert machine.keys("rotate", "sealing")[0] == 0
    config = load_config(machine.config)
    ring = keys.load(config.key_file, create=False, wrapping=key_wrapping(config))
    assert len(ring.sealing) == 2
    assert in_clear(ring, machine.state) == []
    assert machine.path.stat().st_mode & 0o777 == 0o600
    assert machine.keys("list") == (0, machine.keys("list")[1]) and kms.asked
    assert all(
        request["EncryptionContext"] == {**CONTEXT, "purpose": "cognito-gateway key ring"}
        for _, request in kms.asked
    )
    data_keys = {r["CiphertextBlob"] for name, r in kms.asked if name == "Decrypt"}
    assert len(data_keys) > 2, "a data key for each file that is written"


def test_a_ring_in_clear_is_encrypted_anew_with_another_key_and_put_in_clear_again(
    kms: StandInKms, machine: Machine
) -> None:
    first, second = kms.new_key("first"), kms.new_key("second")
    ring = keys.load(machine.path, create=True)
    assert in_clear(ring, machine.state) == ["keys.json"]
    assert machine.keys("wrap")[0] == 2, "no key is named"
    for name, deployment in ((first, "production"), (second, "production"), (second, "staging")):
        machine.name(name, deployment)
        refused, said = machine.keys("list")
        assert refused == 2
        assert re.search(r"put the (encrypted|right) file.*Only if .*: gateway keys wrap", said)
        code, told = machine.keys("wrap")
        assert code == 0 and told.endswith(f"{machine.path} is encrypted with {name}\n")
        assert f"sealing: key {ring.sealing[0].kid}\n" in told
        assert machine.keys("list")[0] == 0
        assert in_clear(ring, machine.state) == []
    machine.name(None)
    refused, said = machine.keys("list")
    assert refused == 2 and "key_ring.kms" in said
    code, said = machine.keys("unwrap")
    assert code == 0 and said.endswith(f"{machine.path} is in clear\n")
    assert keys.dump(keys.load(machine.path, create=False)) == keys.dump(ring)


def test_what_kms_refuses_is_told_with_what_to_do(kms: StandInKms, wrapping: KmsWrapping) -> None:
    text = wrapping.seal("a ring")
    other = KmsWrapping(kms.new_key("other"), CONTEXT)
    envelope = json.loads(text)
    moved = {**envelope, "kms": {**envelope["kms"], "key_id": other.key_id}}
    elsewhere = {**envelope, "kms": {**envelope["kms"], "context": {"deployment": "staging"}}}
    staging = KmsWrapping(wrapping.key_id, {"deployment": "staging"})
    for opening, file, words in (
        (other, envelope, "put the right file"),
        (staging, envelope, "put the right file"),
        (other, moved, "another key of KMS (IncorrectKeyException)"),
        (staging, elsewhere, "does not open for this encryption context"),
        (KmsWrapping(wrapping.key_id + "0", CONTEXT), None, "there is no such key"),
    ):
        with pytest.raises(ConfigError) as refused:
            opening.open(json.dumps(file), source="keys.json") if file else opening.seal("")
        assert words in str(refused.value)
    kms.denied = {"Decrypt"}
    with pytest.raises(ConfigError, match="allow kms:Decrypt"):
        wrapping.open(text, source="keys.json")
    kms.disabled = {wrapping.key_id}
    kms.denied = set()
    with pytest.raises(ConfigError, match="enable it in KMS"):
        wrapping.open(text, source="keys.json")


@pytest.mark.parametrize("part", ["nonce", "sealed"])
def test_a_changed_file_does_not_open(wrapping: KmsWrapping, part: str) -> None:
    document = json.loads(wrapping.seal("a ring"))
    document[part] = document[part][:-8] + "AAAAAAA="
    with pytest.raises(ConfigError, match=r"keys\.json: was changed"):
        wrapping.open(json.dumps(document), source="keys.json")


@pytest.mark.parametrize(
    "document", [{"kms": []}, {"kms": {}}, {"kms": {"key_id": "x", "context": {}, "data_key": "!"}}]
)
def test_what_is_no_encrypted_ring_is_refused(
    wrapping: KmsWrapping, document: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"keys\.json: is not a key ring"):
        wrapping.open(json.dumps(document), source="keys.json")


def test_a_busy_or_distant_kms_is_waited_for(
    kms: StandInKms, wrapping: KmsWrapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = wrapping.seal("a ring")
    kms.throttled = 1
    with pytest.raises(UnavailableError, match="ThrottlingException"):
        wrapping.open(text, source="keys.json")
    monkeypatch.setattr(aws, "ATTEMPTS", 2)
    kms.throttled = 1
    assert wrapping.open(text, source="keys.json") == "a ring"
    monkeypatch.setattr(aws, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "kms.internal")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_KMS"):
        wrapping.open(text, source="keys.json")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="is not reached"):
        wrapping.open(text, source="keys.json")


async def test_a_ring_that_cannot_be_decrypted_now_is_read_at_a_later_look(
    tmp_path: Path, kms: StandInKms, wrapping: KmsWrapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on meanwhile: the file is read in a thread."""
    monkeypatch.setattr(key_file, "POLL_S", 0.01)
    path = tmp_path / "keys.json"
    read = await asyncio.to_thread(key_file.KeyFile, path, create=True, wrapping=wrapping)
    ring = key_file.stage(read(), "sealing")
    with key_file.editing(path, wrapping) as save:
        save(ring)
    kms.asked.clear()
    kms.throttled = 2
    fresh = asyncio.Event()
    read.changed.append(lambda _: fresh.set())
    watching = asyncio.create_task(read.watch())
    async with asyncio.timeout(10):
        await fresh.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert len(kms.asked) == 3 and read.problem == ""
    assert [key.kid for key in read().sealing] == [key.kid for key in ring.sealing]


@pytest.mark.parametrize("refused", ["AccessDeniedException", "NoCredentialsError"])
def test_a_ring_is_read_when_rights_or_credentials_are_back(
    tmp_path: Path,
    kms: StandInKms,
    wrapping: KmsWrapping,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
) -> None:
    """The file itself does not change then."""
    path = tmp_path / "keys.json"
    read = key_file.KeyFile(path, create=True, wrapping=wrapping)
    ring = key_file.stage(read(), "sealing")
    with key_file.editing(path, wrapping) as save:
        save(ring)
    with monkeypatch.context() as away:
        if refused == "AccessDeniedException":
            kms.denied.add("Decrypt")
        else:
            without_credentials(away)
        assert not read.look() and refused in read.problem
    kms.denied.clear()
    assert read.look() and read.problem == ""
    assert [key.kid for key in read().sealing] == [key.kid for key in ring.sealing]
    kms.asked.clear()
    assert not read.look() and kms.asked == []


async def test_what_refuses_is_asked_ever_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "POLL_S", 1.0)
    path, now, tries = tmp_path / "keys.json", 0.0, list[float]()
    read = key_file.KeyFile(path, create=True)
    path.write_text("no ring")

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 130:
            raise asyncio.CancelledError

    def reading(*_: object, **__: object) -> keys.KeyRing:
        tries.append(now)
        msg = "not now"
        raise ConfigError(msg)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(keys, "load", reading)
    with pytest.raises(asyncio.CancelledError):
        await read.watch()
    assert tries == [1, 2, 4, 8, 16, 32, 62, 92, 122]


def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", os.devnull)


def test_a_process_without_credentials_or_library_says_so(
    kms: StandInKms, wrapping: KmsWrapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_credentials(monkeypatch)
    with pytest.raises(ConfigError, match="NoCredentialsError"):
        wrapping.seal("")
    monkeypatch.setitem(__import__("sys").modules, "botocore.session", None)
    with pytest.raises(ConfigError, match=r"with the extra \[aws\]"):
        wrapping.seal("")


@pytest.mark.parametrize(
    ("kms", "words"),
    [
        ("{key_id: 'alias/ring'}", "key_ring.kms.key_id"),
        ("{key_id: 'KEY', context: {purpose: mine}}", "purpose is the gateway's own name"),
    ],
)
def test_a_configuration_names_one_key_and_its_purpose_is_ours(
    tmp_path: Path, kms: str, words: str
) -> None:
    text = CONFIG.replace("STATE", str(tmp_path)).replace("KMS", f", kms: {kms}")
    arn = "arn:aws:kms:eu-north-1:111122223333:key/1"
    (tmp_path / "gateway.yaml").write_text(text.replace("KEY", arn))
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "gateway.yaml")


def test_variables_name_the_key_as_the_page_on_kubernetes_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "operator" / "kubernetes.md"
    form = r"""name: (GATEWAY_KEY_RING__KMS\w+), value: ["'](.*)["']}"""
    said = re.findall(form, page.read_text("utf-8"))
    for name, value in said:
        monkeypatch.setenv(name, value)
    text = CONFIG.replace("STATE", str(tmp_path)).replace("KMS", "")
    (tmp_path / "gateway.yaml").write_text(text)
    opening = key_wrapping(load_config(tmp_path / "gateway.yaml"))
    assert isinstance(opening, KmsWrapping)
    assert opening.key_id == dict(said)["GATEWAY_KEY_RING__KMS__KEY_ID"]
    assert opening.context == {**CONTEXT, **aws.PURPOSE}


def test_the_iam_policy_allows_what_is_called_for_this_purpose_only() -> None:
    path = Path(__file__).parents[2] / "deploy" / "aws" / "key-ring-policy.json"
    read, rotate = json.loads(path.read_text("utf-8"))["Statement"]
    assert (read["Action"], rotate["Action"]) == ("kms:Decrypt", "kms:GenerateDataKey")
    for statement in (read, rotate):
        assert statement["Condition"] == {
            "StringEquals": {
                "kms:EncryptionContext:purpose": aws.PURPOSE["purpose"],
                "kms:EncryptionContext:deployment": "DEPLOYMENT",
            }
        }
