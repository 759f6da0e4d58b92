"""No old spelling of a configuration key is accepted, and the error for each names the new one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.config.model import Config, load_config
from gateway.config.renamed import GATEWAY_KEYS, TENANT_KEYS, VALUES
from gateway.config.yaml import keys_at
from gateway.errors import ConfigError
from gateway.tenants.document import TenantDocument
from gateway.tenants.files import TenantFiles
from tests.admin.conftest import api, clock, database
from tests.config.test_model import SMALLEST
from tests.database.fixtures import config_with
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.admin.conftest import Api

__all__ = ["api", "clock", "database"]  # fixtures

RULES = [{"path": "/x"}]
GATEWAY_VALUES = {
    row: new
    for row, new in VALUES.items()
    if row[0].split(".")[0] in {"groups_header", "assertion"}
}
TENANT_VALUES = {row: new for row, new in VALUES.items() if row not in GATEWAY_VALUES}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)


def with_old(document: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy with ``value`` at a place such as ``rules[].replace``."""
    *above, last = place.split(".")
    copied: dict[str, Any] = json.loads(json.dumps(document))
    at = copied
    for name in above:
        at = at.setdefault(name, {}) if not name.endswith("[]") else at[name[:-2]][0]
    at[last] = value
    return copied


def tenant_mistakes() -> list[tuple[dict[str, Any], str, str]]:
    """Documents with one old spelling each, where it stands, and what the error ends with."""
    document = sample("acme", rules=RULES, shadow_rules=RULES)
    old: list[tuple[str, object, str]] = [
        *((place, "x", new) for place, new in TENANT_KEYS.items()),
        *((place, value, new) for (place, value), new in TENANT_VALUES.items()),
    ]
    mistakes = []
    for place, value, new in old:
        for at in {place, place.replace("rules[]", "shadow_rules[]")}:
            where = at.replace("[]", ".0")
            mistakes.append((with_old(document, at, value), where, f"renamed to {new}"))
    return mistakes


def test_each_new_spelling_is_one() -> None:
    for model, keys in ((Config, GATEWAY_KEYS), (TenantDocument, TENANT_KEYS)):
        for old, new in keys.items():
            *above, last = new.replace("[]", "").split(".")
            *above_old, last_old = old.replace("[]", "").split(".")
            assert last in keys_at(model, above)
            assert last_old not in keys_at(model, above_old)


@pytest.mark.parametrize("old", GATEWAY_KEYS)
def test_an_old_key_of_the_configuration_is_refused_with_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    file, new = tmp_path / "gateway.yaml", GATEWAY_KEYS[old]
    file.write_text(yaml.safe_dump(with_old(SMALLEST, old, "1h")), "utf-8")
    with pytest.raises(ConfigError, match=f": unknown key: renamed to {new}$") as caught:
        load_config(file)
    assert old.startswith(str(caught.value).removeprefix(f"{file}: ").split(":")[0])

    file.write_text(yaml.safe_dump(SMALLEST), "utf-8")
    variable, now = (f"GATEWAY_{key.upper().replace('.', '__')}" for key in (old, new))
    monkeypatch.setenv(variable, "1h")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value) == f"environment: {variable}: unknown key: renamed to {now}"


def test_a_section_that_is_gone_is_refused_in_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(SMALLEST), "utf-8")
    monkeypatch.setenv("GATEWAY_KEYS", '{"file": "keys.json"}')
    with pytest.raises(ConfigError, match=r"GATEWAY_KEYS: .* renamed to GATEWAY_KEY_RING__FILE"):
        load_config(file)


@pytest.mark.parametrize(("place", "value"), GATEWAY_VALUES)
def test_an_old_value_of_the_configuration_is_refused_with_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, value: str
) -> None:
    file, new = tmp_path / "gateway.yaml", VALUES[place, value]
    says = rf"{place} \(is '{value}'\): renamed to {new}$"
    file.write_text(yaml.safe_dump(with_old(SMALLEST, place, value)), "utf-8")
    with pytest.raises(ConfigError, match=says):
        load_config(file)
    file.write_text(yaml.safe_dump(SMALLEST), "utf-8")
    variable = f"GATEWAY_{place.upper().replace('.', '__')}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=says.replace(place, f"environment: {variable}")):
        load_config(file)


def test_an_old_spelling_in_a_tenants_file_is_refused_with_the_new_one(tmp_path: Path) -> None:
    config = config_with(tmp_path / "state")
    for number, (document, where, says) in enumerate(tenant_mistakes()):
        folder = tmp_path / str(number)
        write(folder, document)
        files = TenantFiles(folder, config)
        files.refresh(everything=True)
        assert where in files.problems[0] and files.problems[0].endswith(says), files.problems


async def test_an_old_spelling_in_a_tenant_sent_to_the_api_is_refused_with_the_new_one(
    api: Api,
) -> None:
    for document, where, says in tenant_mistakes():
        answer = await api.call("PUT", "/tenants/acme", json=document)
        told = await answer.json()
        assert answer.status == 400
        (mistake,) = (e for e in told["errors"] if e["where"] == where)
        assert mistake["problem"].endswith(says)
