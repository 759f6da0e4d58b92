"""The guide, screen by screen, and the form with what was copied: saving it makes the inactive
provider.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.cognito.oidc_presets import OidcPreset
from gateway.core.model import DEFAULT_POOL, ProviderKind
from gateway.portal.guides import NAMES, THEIR_NAMES, guide_of
from gateway.portal.texts import FIELD_PROBLEMS, PUBLISHED
from gateway.portal.values import CHECKED, read_checked, read_values
from gateway.portal.views.domains import domain_rows, unproven
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.provisioning.desired import derived_name
from gateway.provisioning.publications import Judged
from gateway.provisioning.saml_metadata import SamlMetadata
from gateway.setup.go_live import entry_digest
from gateway.setup.links import edited
from gateway.setup.model import Part, Protocol, SetupProvider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.in_process import ApiAnswer
    from gateway.portal.guides import Guide
    from gateway.portal.visit import Visit

CHOOSE_FIRST: Final = Moved(f"{PREFIX}/provider")


def ours(visit: Visit) -> dict[str, str]:
    """What their forms ask for, by the names that guides use."""
    pool = visit.rooms.config.cognito.all_pools[DEFAULT_POOL]
    domain = pool.domain.rstrip("/")
    acs = f"{domain}/saml2/idpresponse"
    return {
        "redirect_uri": f"{domain}/oauth2/idpresponse",
        "acs": acs,
        "acs_pattern": f"^{re.escape(acs)}$",
        "entity_id": f"urn:amazon:cognito:sp:{pool.user_pool_id}",
    }


async def show_guide(visit: Visit) -> Shown | Moved | Failed:
    guide = _guide(visit)
    if guide is None:
        return CHOOSE_FIRST
    number = int(visit.path["number"])
    if not 1 <= number <= len(guide.screens):
        return Failed(404, "not_found")
    last = number == len(guide.screens)
    following = "values" if last else str(number + 1)
    return Shown(
        "guide",
        {
            "guide": guide,
            "screen": guide.screens[number - 1],
            "number": number,
            "ours": ours(visit),
            "provider": NAMES[SetupProvider(visit.link.work.provider)],
            "next": f"{PREFIX}/connection/{following}",
            "back": f"{PREFIX}/connection/{number - 1}" if number > 1 else f"{PREFIX}/provider",
        },
    )


async def show_values(visit: Visit) -> Shown | Moved:
    guide = _guide(visit)
    return CHOOSE_FIRST if guide is None else _form(visit, guide, visit.link.work.values)


def _form(
    visit: Visit,
    guide: Guide,
    values: Any,
    problems: Any = None,
    refused: tuple[str, ...] = (),
    unproven: Sequence[str] = (),
) -> Shown:
    work = visit.link.work
    return Shown(
        "values",
        {
            "guide": guide,
            "work": work,
            "provider": NAMES[SetupProvider(work.provider)],
            "is_oidc": work.protocol == Protocol.OIDC,
            "checks": CHECKED[Protocol(work.protocol)],
            "fixed_issuer": guide.issuer if _has_one_issuer(guide) else "",
            "theirs": THEIR_NAMES.get(SetupProvider(work.provider), {}),
            "values": values,
            "problems": {name: FIELD_PROBLEMS[key] for name, key in (problems or {}).items()},
            "refused": refused,
            "unproven": unproven,
            "back": f"{PREFIX}/connection/{len(guide.screens)}",
        },
        status=422 if problems or refused or unproven else 200,
    )


def _has_one_issuer(guide: Guide) -> bool:
    """The same for all of its customers."""
    return guide.kind == "google" or guide.preset == OidcPreset.JUMPCLOUD


async def save_values(visit: Visit) -> Shown | Moved | Failed:
    """The provider is made inactive: nobody signs in with it before somebody goes live. The test of
    the one before is void first: while this one is made, nothing goes live.
    """
    guide, work = _guide(visit), visit.link.work
    if guide is None:
        return CHOOSE_FIRST
    values = read_values(
        visit.form,
        provider=SetupProvider(work.provider),
        protocol=Protocol(work.protocol),
        guide=guide,
        today=datetime.fromtimestamp(visit.now, UTC).date(),
    )
    if values.problems:
        return _form(visit, guide, values.shown, values.problems)
    target = await _target(visit, ProviderKind(values.provider["kind"]))
    if isinstance(target, Failed):
        return target
    operation, own_name = target
    rows = await domain_rows(visit) if visit.link.offers(Part.DOMAINS) else None
    if isinstance(rows, Failed):
        return rows
    missing = await unproven(visit, rows)
    if missing:
        return _form(visit, guide, values.shown, unproven=missing)
    link = await visit.rooms.links.save(visit.link, edited(work), cookie=visit.cookie)
    if link is None:
        return Failed(409, "changed")
    answer = await visit.reach.ask(
        operation, body=_request(visit, operation, {**values.provider, **own_name, "active": False})
    )
    if not answer.ok:
        if answer.status >= 500:
            return Failed(503, "unavailable")
        return _form(visit, guide, values.shown, refused=_reasons(answer))
    if operation == "provision":
        await visit.rooms.links.take_over_domains(link)
    name = str(answer.document["providers"][0])
    record = await visit.rooms.tenants.get(visit.link.tenant)
    changes = {
        "name": name,
        "values": dict(values.shown),
        "made": tuple(dict.fromkeys((*work.made, name))),
        "run": str(answer.document["run"]),
        "entry": entry_digest(record.document, name) if record is not None else "",
    }
    outcome = await replace(visit, link=link).save(
        edited(link.work, **changes),
        "setup.connection.saved",
        {"provider": name, **values.shown},
    )
    return outcome if isinstance(outcome, Failed) else Moved(f"{PREFIX}/test", "connected")


async def _target(visit: Visit, kind: ProviderKind) -> tuple[str, dict[str, str]] | Failed:
    """The operation, and the name of the link's own provider where it is changed. Only what nobody
    signs in with is made or changed, and no provider of others is taken away. A tenant is made
    once: where it is gone, an operator took it away.
    """
    link = visit.link
    answer = await visit.reach.ask("get_tenant")
    if answer.status == 404:
        makes = link.request.new_tenant is not None and not link.work.made
        return ("provision", {}) if makes else Failed(409, "gone")
    if not answer.ok:
        return Failed(503, "unavailable")
    providers = answer.document["tenant"]["providers"]
    if link.request.connection is not None:
        makers = await visit.rooms.makers(link.tenant)
        own = [p for p in providers if link.is_by_it(makers.get(p["name"], ""))]
        return _own(own, kind)
    ours = {*link.work.made, derived_name(link.tenant, kind, set())}
    free = all(p["name"] in ours and not p["active"] for p in providers)
    return ("reprovision", {}) if free else Failed(409, "occupied")


def _own(own: Sequence[dict[str, Any]], kind: ProviderKind) -> tuple[str, dict[str, str]] | Failed:
    """Of a link that connects one more provider: without a name it is a new one. ``own``: that the
    journal says were made with it, whether or not the link was saved since.
    """
    if any(p["active"] for p in own):
        return Failed(409, "occupied")
    names = [str(p["name"]) for p in own if p["kind"] == kind]
    return "reprovision", {"name": names[-1]} if names else {}


def _request(visit: Visit, operation: str, provider: dict[str, Any]) -> dict[str, Any]:
    """With the operator's words about a tenant that is made now."""
    body: dict[str, Any] = {"provider": provider}
    new, connection = visit.link.request.new_tenant, visit.link.request.connection
    if connection is not None:
        body |= {"prune": False, "email_domains": list(connection.email_domains)}
        if connection.groups is not None:
            body["groups"] = list(connection.groups)
    if operation == "provision" and new is not None:
        body |= {
            "name": new.name,
            "email_domains": list(new.email_domains),
            # Where the recipient chooses, nobody gets in before they did.
            "groups": list(new.groups or ()),
            "pool": DEFAULT_POOL,
        }
        if new.hosts:
            body["hosts"] = list(new.hosts)
    return body


def _reasons(answer: ApiAnswer) -> tuple[str, ...]:
    mistakes = answer.document.get("errors") or []
    return tuple(str(each["problem"]) for each in mistakes[:5]) or (answer.detail,)


def _guide(visit: Visit) -> Guide | None:
    return guide_of(visit.link.work.provider, visit.link.work.protocol)


async def check_values(visit: Visit) -> Shown | Moved:
    """What saving would find of what is typed so far, beside the fields. Stores nothing."""
    guide, work = _guide(visit), visit.link.work
    if guide is None:
        return CHOOSE_FIRST
    protocol = Protocol(work.protocol)
    typed, wrong = read_checked(
        visit.form, provider=SetupProvider(work.provider), protocol=protocol
    )
    name = next((each for each in _ASKED if typed.get(each)), "")
    judged = Judged()
    if name and name not in wrong and visit.rooms.publications is not None:
        asked = visit.rooms.publications
        if name == "issuer":
            judged = await asked.judge_issuer(typed[name], ProviderKind(guide.kind))
        else:
            url = typed["metadata_url"] or None
            judged = await asked.metadata(url, "" if url else typed[name])
    return Shown(
        "values_check",
        {
            "names": CHECKED[protocol],
            "problems": {each: FIELD_PROBLEMS[key] for each, key in wrong.items()},
            "refused": {name: judged.problems},
            "published": {name: _published(judged)},
        },
    )


def _published(judged: Judged) -> tuple[tuple[str, str], ...]:
    """Label and value; nothing longer than a line or two."""
    what = judged.publication
    if what is None:
        return ()
    if isinstance(what, SamlMetadata):
        rows = [("entity_id", what.entity_id), ("redirect_url", what.redirect_url)]
        rows += [("certificate", f"{each.expires_at:%Y-%m-%d}") for each in what.certificates[:5]]
    else:
        names = ("issuer", "authorization_endpoint", "token_endpoint")
        rows = [(name, str(what.document.get(name) or "–")) for name in names]
    return tuple((PUBLISHED[name], value[:200]) for name, value in rows)


_ASKED: Final = ("issuer", "metadata_url", "metadata_file", "metadata")
_PARTS: Final = frozenset({Part.SIGN_IN})
PAGES: Final = (
    Page(
        "/connection/{number}",
        show_guide,
        _PARTS,
        parameters={"number": r"[0-9]{1,2}"},
    ),
    Page("/connection/values", show_values, _PARTS),
    Page("/connection/save", save_values, _PARTS, form=True, upload=True),
    Page("/connection/check", check_values, _PARTS, form=True, upload=True, check=True),
)
__all__ = ["PAGES", "ours"]
