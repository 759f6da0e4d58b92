"""A page for each preset says what the preset does, and what it shows is taken by the code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.cognito.desired import GROUPS, OidcConnection
from gateway.cognito.oidc_presets import CLAIMS, ISSUERS, OidcPreset
from gateway.core.groups import parse_groups
from gateway.portal.guides import GUIDES
from gateway.provisioning.desired import recognise, wanted_providers
from gateway.provisioning.request import ProvisionBody
from gateway.tenants.document import TenantDocument
from tests.docs.test_drift import OPERATOR, ROOT, code

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = OPERATOR / "idp"
PRESETS = [preset for preset in OidcPreset if preset is not OidcPreset.OTHER]
WITHOUT_PRESET = {"rippling"}
SECTIONS = ["Provision the tenant", "What arrives", "Removal", "Not verified"]
RECORDED = yaml.safe_load((ROOT / "tests/data/scim-vendors.yaml").read_text("utf-8"))
"""Vendors whose SCIM requests are replayed, PingOne as ``ping``."""
every_preset = pytest.mark.parametrize("preset", PRESETS)
every_page = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda p: p.stem)


def page(preset: OidcPreset) -> str:
    return (FOLDER / f"{preset}.md").read_text(encoding="utf-8")


def facts(text: str) -> dict[str, str]:
    table = re.findall(r"^\| ([^|]+?) \| (.+) \|$", text, re.MULTILINE)
    return {name: value.strip() for name, value in table}


def block(text: str, language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found[number]


def first_code(cell: str) -> str:
    return code(cell.split("`,", maxsplit=1)[0])


def test_every_preset_has_a_page_and_every_page_is_in_the_list() -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")}
    assert pages == {*PRESETS, *WITHOUT_PRESET}
    overview = (OPERATOR / "identity-providers.md").read_text(encoding="utf-8")
    assert pages == set(re.findall(r"\(idp/([\w-]+)\.md\)", overview))


@every_preset
def test_a_page_has_the_sections_of_all_pages_and_its_cells(preset: OidcPreset) -> None:
    sections = re.findall(r"^## (.+)$", page(preset), re.MULTILINE)
    assert sections[0].startswith("At ")
    assert sections[1:] == SECTIONS
    assert list(facts(page(preset))) == [
        "preset",
        "issuer",
        "claim of the groups",
        "groups are",
        "scopes",
        "logout token",
        "SCIM client",
    ]


@every_preset
def test_the_request_of_a_page_does_what_its_table_says(preset: OidcPreset) -> None:
    row, text = facts(page(preset)), page(preset)
    body = json.loads(block(text, "json"))
    assert code(row["preset"]) == preset == body["provider"]["preset"]
    issuer = body["provider"]["oidc_issuer"]
    assert first_code(row["issuer"]) == issuer == ISSUERS[preset]
    ending = row["issuer"].split(", ", 1)[1]
    if ending != "with or without a slash at its end":
        has_slash = issuer.endswith("/")
        assert ending == f"{'with' if has_slash else 'without'} a slash at its end"
    body["provider"]["client_secret"] = "0123456789abcdef"
    claims: dict[str, Any] = json.loads(block(text, "json", 1))
    read = recognise(ProvisionBody.model_validate(body), "acme", [{"issuer": claims["iss"]}])
    (wanted,) = wanted_providers(read, required=frozenset())
    claim = wanted.mapping[GROUPS]
    assert first_code(row["claim of the groups"]) == claim
    assert ("mapped by the preset" in row["claim of the groups"]) == (GROUPS in CLAIMS[preset])
    assert isinstance(wanted.connection, OidcConnection)
    assert code(row["scopes"]) == " ".join(sorted(wanted.connection.scopes, key=_usual))
    # What arrives is read as the group that the request names.
    assert isinstance(claims[claim], dict) == row["groups are"].startswith("an object")
    for value in (claims[claim], json.dumps(claims[claim])):
        assert body["group"] in (parse_groups(value, url_decode_groups=True) or ())


def _usual(scope: str) -> int:
    return ["openid", "profile", "email", "groups"].index(scope)


@every_page
def test_the_document_of_a_page_is_a_tenants(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    source = block(text, "yaml").replace("env:ACME_HOOK_SECRET", "0123456789abcdef" * 4)
    document = TenantDocument.model_validate(yaml.safe_load(source))
    (provider,) = document.providers
    assert set(re.findall(r"/(?:scim/v2|hooks/backchannel)/acme/([\w-]+)", text)) <= {provider.name}
    takes_logout_tokens = "/hooks/backchannel/" in text
    assert takes_logout_tokens == facts(text)["logout token"].startswith("yes")
    assert takes_logout_tokens == (provider.hooks.client_id is not None)
    if path.stem not in WITHOUT_PRESET:
        body = ProvisionBody.model_validate_json(block(text, "json"))
        claims = json.loads(block(text, "json", 1))
        (read,) = recognise(body, "acme", [{"issuer": claims["iss"]}])
        assert (provider.name, provider.kind, provider.issuer) == (
            read.name,
            read.kind,
            claims["iss"],
        )


@every_page
def test_whose_scim_requests_are_replayed_is_said_to_send_them(path: Path) -> None:
    names = {path.stem, *(["ping"] if path.stem == "pingone" else [])}
    sends = facts(path.read_text(encoding="utf-8"))["SCIM client"].startswith("yes")
    assert sends == bool(names & RECORDED.keys())


def test_a_guide_of_the_portal_shows_the_issuer_of_its_preset() -> None:
    shown = {g.preset: g.issuer for g in GUIDES.values() if g.kind == "oidc"}
    assert shown == {preset: ISSUERS[OidcPreset(preset)] for preset in shown}
    assert shown.keys() <= set(OidcPreset)
