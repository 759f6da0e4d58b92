"""What rules and ``paths`` of a tenant document may say."""

from __future__ import annotations

from types import SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import MaxLen
from pydantic import BaseModel, Field, ValidationError, create_model

from gateway.core.readings import PathReader
from gateway.provisioning.request import ProvisionBody
from gateway.tenants.document import MAX_NAMES, MAX_RULE_HOSTS, MAX_RULES, TenantDocument
from gateway.tenants.snapshot_record import record_of, shown_of
from gateway.tenants.warnings import HostFacts
from gateway.tenants.warnings import host_warnings as warnings_of_facts
from tests.tenants.samples import sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def document(path: str, where: str = "rules", **paths: bool) -> TenantDocument:
    return TenantDocument.model_validate(
        sample("acme", **{where: [{"path": path, "allow": "deny"}], "paths": paths})
    )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "braces": ({"path": "/{admin,internal}/**"}, "write one rule for each alternative"),
    "stars that cross": ({"path": "/static**"}, r"\*\* must be alone between slashes"),
    "an escape": ({"path": "/a%20b"}, "should match pattern"),
    "a decomposed letter": ({"path": "/cafe\u0301"}, "rules.0.path: write /caf\u00e9:"),
    "upper case": ({"path": "/Admin/**", "ignore_case": True}, r"rules.0.path: write /admin/\*\*:"),
    "upper case on Windows": (
        {"path": "/Admin/**", "windows": True},
        r"rules.0.path: write /admin/\*\*:",
    ),
    "a stream": ({"path": "/admin:x", "windows": True}, r"rules.0.path: with paths.windows"),
    "a full-width letter": (
        {"path": "/ａ", "unicode": True, "where": "shadow_rules"},
        "shadow_rules.0.path: write /a:",
    ),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_a_rule_that_would_match_nothing_is_refused_and_the_error_says_what_to_write(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        document(**given)


def test_rules_are_counted() -> None:
    rules = [{"path": f"/{number}", "allow": "deny"} for number in range(MAX_RULES + 1)]
    assert len(TenantDocument.model_validate(sample("acme", rules=rules[1:])).rules) == MAX_RULES
    for where in ("rules", "shadow_rules"):
        with pytest.raises(ValidationError, match="at most 256"):
            TenantDocument.model_validate(sample("acme", **{where: rules}))
    # with stars within them, too, since each of these is walked
    for where in ("rules", "shadow_rules"):
        stars = [{"path": f"/**/*{number}/**", "allow": "deny"} for number in range(MAX_RULES)]
        assert (
            len(getattr(TenantDocument.model_validate(sample("acme", **{where: stars})), where))
            == MAX_RULES
        )
        with pytest.raises(ValidationError, match=rf"{where}: at most 512 times"):
            TenantDocument.model_validate(
                sample("acme", **{where: [*stars[1:], {"path": "/**/a*b*", "allow": "deny"}]})
            )


@pytest.mark.parametrize("where", ["rules", "shadow_rules"])
def test_a_rule_names_hosts_of_its_own_tenant_only(where: str) -> None:
    def hosts(*names: str, own: tuple[str, ...] = ("a.test", "*.b.test")) -> TenantDocument:
        return TenantDocument.model_validate(
            sample(
                "acme",
                hosts=own,
                **{where: [{"path": "/x", "allow": "deny", "hosts": [name]} for name in names]},
            )
        )

    named = getattr(hosts("A.test", "x.b.test", "*.b.test", "*.x.b.test"), where)
    assert [sorted(rule.hosts) for rule in named] == [
        ["a.test"],
        ["x.b.test"],
        ["*.b.test"],
        ["*.x.b.test"],
    ]
    for name in ("b.test", "*.a.test", "x.a.test", "xb.test"):
        with pytest.raises(
            ValidationError,
            match=rf"{where}.0.hosts: {name.replace('*', '.')} is none of this tenant's hosts",
        ):
            hosts(name)
    for malformed in ([], ["*"], ["a.test:80"], ["a.test/x"], ["*.test"]):
        with pytest.raises(ValidationError, match="hosts"):
            TenantDocument.model_validate(
                sample(
                    "acme",
                    hosts=("a.test",),
                    **{where: [{"path": "/x", "allow": "deny", "hosts": malformed}]},
                )
            )
    many = [f"n{number}.b.test" for number in range(MAX_RULE_HOSTS + 1)]
    assert getattr(hosts(*many[1:]), where)
    with pytest.raises(ValidationError, match="at most 64 different hosts"):
        hosts(*many)


SHARED: Any = SimpleNamespace(login_host="login.example.com", shared_hosts=("app.example.org",))
ALONE: Any = SimpleNamespace(login_host=None, shared_hosts=())
CLOSING: dict[str, dict[str, Any]] = {
    "deny": {"allow": "deny"},
    "groups": {"groups": ["a"]},
    "roles": {"roles": ["a"]},
    "machines": {"bearer": {}, "browser_sessions": False},
}


def host_warnings(documents: Iterable[TenantDocument], config: Any) -> tuple[str, ...]:
    """Of documents; those of their records must be the same."""
    there = tuple(documents)
    warnings = warnings_of_facts(map(HostFacts.of, there), config)
    shown = (HostFacts.of_shown(shown_of(record_of(one, None))) for one in there)
    assert warnings_of_facts(shown, config) == warnings
    return warnings


@pytest.mark.parametrize("more", CLOSING.values(), ids=CLOSING)
def test_a_rule_that_closes_nothing_at_a_shared_host_is_told(more: dict[str, Any]) -> None:
    rules = [
        {"path": "/x", "allow": "public", "hosts": ["acme.example.net"]},
        {"path": "/x", **more},
        {"path": "/y", **more, "hosts": ["acme.example.net"]},
    ]
    document = TenantDocument.model_validate(
        sample("acme", hosts=["acme.example.net"], rules=rules)
    )
    assert [warning.rpartition(":")[0] for warning in host_warnings([document], SHARED)] == [
        "acme: rules.2"
    ]
    assert host_warnings([document], ALONE) == ()


def test_cookies_that_are_cleared_at_others_hosts_are_told() -> None:
    def told(*hosts: str, config: Any = ALONE, **more: Any) -> tuple[str, ...]:
        documents = [
            TenantDocument.model_validate(
                sample("acme", hosts=hosts, **{"clear_domain_cookies": True, **more})
            ),
            TenantDocument.model_validate(sample("globex", hosts=["globex.example.com"])),
        ]
        return host_warnings(documents, config)

    assert (
        told("a.example.net", "*.b.example.net")
        == told("acme-example.com")
        == told("a.example.com", clear_domain_cookies=False)
        == ()
    )
    for hosts, config, others in (
        (("a.example.com",), SHARED, "login.example.com, globex.example.com"),
        (("*.b.example.org",), SHARED, "app.example.org"),
        (("example.com",), ALONE, "globex.example.com"),
    ):
        (warning,) = told(*hosts, config=config)
        assert warning.startswith("acme: clear_domain_cookies: ") and warning.endswith(
            f"signs people out at {others}, too"
        )


def test_paths_say_how_the_application_reads() -> None:
    assert document("/Admin/**").paths.reader() == PathReader()
    assert document("/admin/**", windows=True, suffixes=True).paths.reader() == PathReader(
        windows=True, suffixes=True
    )
    with pytest.raises(ValidationError, match="Extra inputs"):
        document("/admin", iis=True)


def unbounded(model: type[BaseModel], where: str = "") -> Iterator[str]:
    """Lists of a model that a caller may make as long as a body is."""
    for name, field in model.model_fields.items():
        yield from _unbounded(
            field.annotation,
            f"{where}{name}",
            bounded=any(isinstance(bound, MaxLen) for bound in field.metadata),
        )


def _unbounded(annotation: Any, where: str, *, bounded: bool) -> Iterator[str]:
    if get_origin(annotation) is Annotated:
        annotation, *bounds = get_args(annotation)
        bounded = bounded or any(
            isinstance(bound, MaxLen)
            or any(isinstance(each, MaxLen) for each in getattr(bound, "metadata", ()))
            for bound in bounds
        )
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from unbounded(annotation, f"{where}.")
        return
    if get_origin(annotation) in {tuple, list, set, frozenset, dict}:
        values = get_args(annotation)
        if not bounded and not all(get_origin(value) is Literal for value in values):
            yield where
        bounded = False
    for inner in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from _unbounded(
            inner, where, bounded=bounded and get_origin(annotation) in {Union, UnionType}
        )


@pytest.mark.parametrize("model", [TenantDocument, ProvisionBody])
def test_every_list_of_a_tenant_has_a_length(model: type[BaseModel]) -> None:
    assert list(unbounded(model)) == []


def test_a_list_without_a_length_is_found() -> None:
    assert list(
        unbounded(
            create_model(
                "Free",
                names=(list[str], ...),
                bounded=(Annotated[tuple[str, ...], Field(max_length=3)] | None, None),
            )
        )
    ) == ["names"]


def test_the_longest_lists_are_taken_and_longer_ones_are_refused() -> None:
    names = [f"n{number}" for number in range(MAX_NAMES + 1)]
    assert (
        len(
            TenantDocument.model_validate(sample("acme", allowed_groups=names[1:])).allowed_groups
            or ()
        )
        == MAX_NAMES
    )
    with pytest.raises(ValidationError, match="at most 500"):
        TenantDocument.model_validate(sample("acme", allowed_groups=names))
