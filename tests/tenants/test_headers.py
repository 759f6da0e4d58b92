"""Which headers an application receives is declared once, in ``gateway.yaml``: a tenant chooses
sources only for names that are open to tenants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.config.types import DEFAULT_HEADERS, folded_name
from gateway.core.headers import bearer_headers, identity_headers
from gateway.core.model import HeaderSpec, MachineToken, Secret
from gateway.errors import ConfigError
from gateway.tenants.api import Rejected
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.files import read_folder
from gateway.tenants.stored import Actor, StoredTenant
from tests.core.build import identity
from tests.database.fixtures import config_with
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.model import Config
    from gateway.core.model import Tenant
    from gateway.database.engine import Database

OPEN = {"X-Department": "claim:custom:department", "X-Cost-Centre": ""}


def declared(tmp_path: Path, **more: Any) -> Config:
    return config_with(tmp_path / "state", **{"tenant_headers": OPEN, **more})


def compiled(config: Config, headers: dict[str, Any]) -> Tenant:
    return compile_tenant(
        TenantDocument.model_validate(sample(headers=headers)),
        config,
        client_id="c",
        client_secret=Secret("s"),
    )


def received(tenant: Tenant, **who: Any) -> dict[str, str]:
    headers = identity_headers(tenant, identity(**who))
    assert headers is not None
    return dict(headers)


TAKEOVER = {
    "X-Auth-Request-Email": {"source": "claim:nickname", "default": "alice@acme.test"},
    "X-Auth-Request-Tenant": {"source": "claim:nickname", "default": "acme"},
    "X-Auth-Request-Groups": {"source": "claim:nickname", "default": "admins"},
    "Remote-User": {"source": "claim:nickname", "default": "alice@acme.test"},
}
"""What makes one customer's people anybody of any other, in an application that both use."""
REFUSED = {name: {name: source} for name, source in TAKEOVER.items()} | {
    "another spelling of case": {"x-auth-request-EMAIL": "claim:nickname"},
    "an identity field for an own name": {"X-Auth-Request-User": "email"},
    "a name that nobody declared": {"X-Forged": "claim:nickname"},
    "a name of another gateway": {"X-WebAuth-User": "claim:nickname"},
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
async def test_a_document_that_names_another_header_is_refused_at_every_door(
    database: Database, tmp_path: Path, headers: dict[str, Any]
) -> None:
    config = declared(tmp_path)
    name = next(iter(headers))
    stored = await TenantDatabase(database, config).put(
        TenantDocument.model_validate(sample(headers=headers)), version=None, by=Actor("t")
    )
    assert isinstance(stored, Rejected)
    assert stored.code == "invalid_body"
    assert f"headers (is {name!r}):" in stored.message
    write(tmp_path / "tenants", sample(headers=headers))
    with pytest.raises(ConfigError, match=r"gateway\.yaml") as refused:
        read_folder(tmp_path / "tenants", config)
    if name in {"X-Forged", "X-WebAuth-User"}:  # it says where to declare a name
        for text in (stored.message, str(refused.value)):
            assert "one of tenant_headers in gateway.yaml" in text
            assert "gateway ingress render" in text


def test_what_a_stored_document_says_about_other_names_is_not_obeyed(tmp_path: Path) -> None:
    """It may be older than the declaration, or have come by a way that asked nobody."""
    tenant = compiled(declared(tmp_path), {**TAKEOVER, "X-Forged": "claim:nickname"})
    own = tuple(HeaderSpec(name, source) for name, source in DEFAULT_HEADERS.items())
    assert tenant.headers[: len(own)] == own
    got = received(tenant, email="peter@initech.test", claims=(("nickname", "alice@acme.test"),))
    assert "X-Forged" not in got
    assert (got["X-Auth-Request-Email"], got["Remote-User"], got["X-Auth-Request-Tenant"]) == (
        "peter@initech.test",
        "peter@initech.test",
        "acme",
    )
    assert "alice@acme.test" not in got.values()


async def test_a_tenant_chooses_the_source_of_an_open_name(
    database: Database, tmp_path: Path
) -> None:
    config = declared(tmp_path)
    document = TenantDocument.model_validate(
        sample(headers={"x-department": {"source": "claim:dept", "default": "none"}})
    )
    assert isinstance(
        await TenantDatabase(database, config).put(document, version=None, by=Actor("t")),
        StoredTenant,
    )
    assert (
        received(compiled(config, {"x-department": "claim:dept"}), claims=(("dept", "R&D"),))[
            "X-Department"
        ]
        == "R&D"
    )


def test_every_declared_name_is_sent_whatever_the_tenant_says(tmp_path: Path) -> None:
    config = declared(tmp_path)
    silent, speaking = (
        compiled(config, {}),
        compiled(config, {"X-Cost-Centre": {"source": "claim:cost", "default": "0"}}),
    )
    assert (
        tuple(spec.name for spec in silent.headers)
        == tuple(spec.name for spec in speaking.headers)
        == config.managed_headers
    )
    assert received(silent, claims=(("custom:department", "R&D"),)) | {
        "X-Department": "",
        "X-Cost-Centre": "",
    } == received(silent)
    assert (received(silent)["X-Cost-Centre"], received(speaking)["X-Cost-Centre"]) == ("", "0")


def test_names_that_a_careless_reader_takes_for_one_are_one() -> None:
    assert {
        folded_name(name)
        for name in ("X-Auth-Email", "x_auth_email", "X.Auth~Email", "X-AUTH--EMAIL")
    } == {"x-auth-email"}


# --- what a rule calls a machine
# ------------------------------------------------------------------------

A_PERSONS = {
    "an address": "alice@acme.test",
    "an address in capitals": "Alice@ACME.Test",
    "among others": "bot,alice@acme.test.",
    "with a name": "Alice <alice@acme.test>",
    "an id": "11111111-2222-4333-8444-555555555555",
    "an id in it": "u:AAAAAAAA-2222-4333-8444-555555555555",
    "a user name": "acme-okta_alice",
    "in other case": "Acme-Okta_alice",
    "not ASCII": "böt",
    "a line end": "bot\r\nX-Auth-Request-Roles: admin",
    "a line end after": "bot\n",
    "a blank before": " bot",
    "a blank after": "bot ",
    "a control": "b\x00t",
    "too long": "b" * 257,
}
NOT_A_RULES = (
    "X-Auth-Request-Tenant",
    "x-auth-request-jwt",
    "X_Auth_Request_Provider",
    "X-Forged",
    "Cookie",
    "X-Forwarded-User",
)


def naming(identity: dict[str, str], *, field: str = "rules", **more: Any) -> dict[str, Any]:
    return {
        **sample(),
        field: [{"path": "/api/**", "bearer": {"clients": ["m"]}, "identity": identity, **more}],
    }


@pytest.mark.parametrize("text", A_PERSONS.values(), ids=A_PERSONS)
@pytest.mark.parametrize("field", ["rules", "shadow_rules"])
def test_a_machine_is_never_called_as_a_person_could_be(field: str, text: str) -> None:
    with pytest.raises(ValueError, match="identity"):
        TenantDocument.model_validate(naming({"Remote-User": text}, field=field))


def test_a_name_is_only_for_tokens_and_for_each_header_once() -> None:
    for document in (
        naming({"Remote-User": "bot"}, bearer=None),
        naming({"Remote-User": "bot", "remote_user": "tob"}),
        naming({f"X-{n}": "" for n in range(41)}),
    ):
        with pytest.raises(ValueError, match="identity"):
            TenantDocument.model_validate(document)


@pytest.mark.parametrize("name", NOT_A_RULES)
async def test_a_rule_speaks_for_no_header_but_those_that_say_who_somebody_is(
    database: Database, tmp_path: Path, name: str
) -> None:
    config = declared(tmp_path)
    try:
        document = TenantDocument.model_validate(naming({name: "bot"}))
    except ValueError:
        return
    stored = await TenantDatabase(database, config).put(document, version=None, by=Actor("t"))
    assert isinstance(stored, Rejected)
    assert f"rules.0.identity (is {name!r}):" in stored.message
    tenant = compile_tenant(document, config, client_id="c", client_secret=Secret("s"))
    assert tenant.rules[0].identity == (), "nor where the document was stored before"


async def test_a_machine_has_the_name_that_its_rule_says(
    database: Database, tmp_path: Path
) -> None:
    config = declared(tmp_path)
    document = TenantDocument.model_validate(
        naming(
            {
                "remote-user": "deploy-bot@bots.example",
                "X-Cost-Centre": "ci",
                "X-Auth-Request-User": "",
            }
        )
    )
    assert isinstance(
        await TenantDatabase(database, config).put(document, version=None, by=Actor("t")),
        StoredTenant,
    )
    tenant = compile_tenant(document, config, client_id="c", client_secret=Secret("s"))
    headers = bearer_headers(
        tenant, MachineToken("m", frozenset(), "", "", 0), identity=tenant.rules[0].identity
    )
    assert {name: text for name, text in headers or () if text} == {
        "X-Auth-Request-Tenant": "acme",
        "Remote-User": "deploy-bot@bots.example",
        "X-Cost-Centre": "ci",
    }
