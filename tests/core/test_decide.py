"""The decision: a table of cases, and a plain evaluator that it may never be more generous than."""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.authorization import Basic
from gateway.core.decide import (
    Trace,
    decide,
    match,
    match_next,
    requires_app_password,
    requires_bearer,
    requires_pool_password,
    takes_app_passwords,
    takes_pool_passwords,
)
from gateway.core.decision import Allow, Decision, Deny, Login
from gateway.core.model import (
    AppClient,
    AppPassword,
    AuthRequest,
    Destination,
    MachineToken,
    PoolPasswordResult,
    ProviderKind,
    Secret,
    Session,
    SocialAccount,
    Tenant,
)
from gateway.core.readings import PathReader
from gateway.core.reason import Reason
from gateway.core.rule import BearerRule, Credential, Rule
from tests.core.build import NOW, identity, provider, request, rule, session, tenant

API = BearerRule(frozenset({"machine"}), frozenset({"api/read"}))
MACHINE = MachineToken("machine", frozenset({"api/read"}), "", "", 0)
PERSONS = replace(MACHINE, sub="p", username="p")
BOT = (("X-User", "deploy-bot"),)


def outcome(
    at: Tenant, asked: AuthRequest, held: Session | None, machine: MachineToken | None = None
) -> Decision:
    trace = Trace()
    matched = match(at, asked)
    decision = decide(at, asked, matched, session=held, machine=machine, now=NOW, trace=trace)
    assert decision == decide(at, asked, matched, session=held, machine=machine, now=NOW), (
        "the trace must not change the decision"
    )
    assert trace.steps[0][0] == "tenant"
    return decision


def told(decision: Decision) -> tuple[type[object], Reason]:
    return type(decision), decision.reason


CASES: dict[str, tuple[Tenant, AuthRequest, Session | None, type[object], Reason]] = {
    "signed in": (tenant(), request(), session(), Allow, Reason.OK),
    "nobody": (tenant(), request(), None, Login, Reason.NO_SESSION),
    "inactive": (tenant(active=False), request(), session(), Deny, Reason.TENANT_INACTIVE),
    "another tenant's session": (
        tenant(),
        request(),
        session(tenant="globex"),
        Login,
        Reason.WRONG_TENANT,
    ),
    "another host's session": (
        tenant(),
        request(),
        session(host="other.acme.com"),
        Login,
        Reason.WRONG_HOST,
    ),
    "expired this second": (
        tenant(),
        request(),
        session(expires_at=NOW),
        Login,
        Reason.SESSION_EXPIRED,
    ),
    "provider taken away": (
        tenant(),
        request(),
        session(identity=identity(provider="gone")),
        Login,
        Reason.REAUTHENTICATE,
    ),
    "no group": (
        tenant(),
        request(),
        session(identity=identity(groups=())),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "group in other case": (
        tenant(),
        request(),
        session(identity=identity(groups=("Users",))),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "empty list lets nobody in": (
        tenant(allowed_groups=frozenset()),
        request(),
        session(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "any group": (
        tenant(allowed_groups=None),
        request(),
        session(identity=identity(groups=())),
        Allow,
        Reason.OK,
    ),
    "role missing": (
        tenant(allowed_roles=frozenset({"r"})),
        request(),
        session(),
        Deny,
        Reason.ROLE_MISSING,
    ),
    "role held": (
        tenant(allowed_roles=frozenset({"r"})),
        request(),
        session(identity=identity(roles=("r",))),
        Allow,
        Reason.OK,
    ),
    "domain narrowed": (
        tenant(email_domains=frozenset({"other.com"})),
        request(),
        session(),
        Deny,
        Reason.EMAIL_DOMAIN,
    ),
    "domain of another provider": (
        tenant(),
        request(),
        session(identity=identity(email_domain="evil.com")),
        Deny,
        Reason.EMAIL_DOMAIN,
    ),
    "public": (
        tenant(rules=(rule("/public/**", public=True),)),
        request("/public/x"),
        None,
        Allow,
        Reason.PUBLIC,
    ),
    "public, the folder itself": (
        tenant(rules=(rule("/public/**", public=True),)),
        request("/public"),
        None,
        Allow,
        Reason.PUBLIC,
    ),
    "not public": (
        tenant(rules=(rule("/public/**", public=True),)),
        request("/publicity"),
        None,
        Login,
        Reason.NO_SESSION,
    ),
    "closed": (
        tenant(rules=(rule("/internal/**", deny=True),)),
        request("/internal/x"),
        session(),
        Deny,
        Reason.RULE_DENIED,
    ),
    "rule group missing": (
        tenant(rules=(rule("/admin/**", groups=frozenset({"admins"})),)),
        request("/admin"),
        session(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "rule group held, tenant's not": (
        tenant(rules=(rule("/admin/**", groups=frozenset({"admins"})),)),
        request("/admin"),
        session(identity=identity(groups=("admins",))),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "rule group replaces": (
        tenant(
            rules=(rule("/admin/**", groups=frozenset({"admins"}), override_tenant_groups=True),)
        ),
        request("/admin"),
        session(identity=identity(groups=("admins",))),
        Allow,
        Reason.OK,
    ),
    "any group replaces": (
        tenant(rules=(rule("/open/**", any_group=True, override_tenant_groups=True),)),
        request("/open"),
        session(identity=identity(groups=())),
        Allow,
        Reason.OK,
    ),
    "replacing groups leaves roles": (
        tenant(
            allowed_roles=frozenset({"r"}),
            rules=(rule("/open/**", any_group=True, override_tenant_groups=True),),
        ),
        request("/open"),
        session(),
        Deny,
        Reason.ROLE_MISSING,
    ),
    "rule role replaces": (
        tenant(
            allowed_roles=frozenset({"r"}),
            rules=(rule("/x", roles=frozenset({"q"}), override_tenant_groups=True),),
        ),
        request("/x"),
        session(identity=identity(roles=("q",))),
        Allow,
        Reason.OK,
    ),
    "rule role missing": (
        tenant(rules=(rule("/x", roles=frozenset({"q"})),)),
        request("/x"),
        session(),
        Deny,
        Reason.ROLE_MISSING,
    ),
    "any role replaces": (
        tenant(
            allowed_roles=frozenset({"r"}),
            rules=(rule("/x", any_role=True, override_tenant_groups=True),),
        ),
        request("/x"),
        session(),
        Allow,
        Reason.OK,
    ),
    "replacing does not lift the domain": (
        tenant(rules=(rule("/**", any_group=True, override_tenant_groups=True),)),
        request(),
        session(identity=identity(email_domain="evil.com")),
        Deny,
        Reason.EMAIL_DOMAIN,
    ),
    "HEAD is judged as GET": (
        tenant(rules=(rule("/a", methods=["GET"], deny=True),)),
        request("/a", method="HEAD"),
        session(),
        Deny,
        Reason.RULE_DENIED,
    ),
    "another method is not": (
        tenant(rules=(rule("/a", methods=["GET"], deny=True),)),
        request("/a", method="POST"),
        session(),
        Allow,
        Reason.OK,
    ),
    "ambiguous path with rules": (
        tenant(rules=(rule("/public/**", public=True),)),
        request("/public/x", ambiguous=True),
        None,
        Login,
        Reason.NO_SESSION,
    ),
    "ambiguous path of a host that is public": (
        tenant(rules=(rule("/**", public=True),)),
        request("/a", ambiguous=True),
        None,
        Login,
        Reason.NO_SESSION,
    ),
    "ambiguous path where everything is held": (
        tenant(rules=(rule("/x", groups=frozenset({"users"})),)),
        request("/a", ambiguous=True),
        session(),
        Allow,
        Reason.OK,
    ),
    "ambiguous path where a group is not held": (
        tenant(rules=(rule("/x", groups=frozenset({"admins"})),)),
        request("/a", ambiguous=True),
        session(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "ambiguous path where a rule refuses": (
        tenant(rules=(rule("/x", deny=True),)),
        request("/a", ambiguous=True),
        session(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "ambiguous path where rules are for another host": (
        tenant(rules=(rule("/**", deny=True, hosts=frozenset({"x.test"})),)),
        request("/a", ambiguous=True),
        session(),
        Allow,
        Reason.OK,
    ),
    "ambiguous path where one rule for all of the host takes no session": (
        tenant(rules=(rule("/**", bearer=API, browser_sessions=False), rule("/x", deny=True))),
        request("/a", ambiguous=True),
        session(),
        Login,
        Reason.BEARER_INVALID,
    ),
    "ambiguous path where one rule for all of the host wants a group": (
        tenant(rules=(rule("/**", groups=frozenset({"admins"}), override_tenant_groups=True),)),
        request("/a", ambiguous=True),
        session(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "ambiguous path without rules": (
        tenant(),
        request("/a", ambiguous=True),
        session(),
        Allow,
        Reason.OK,
    ),
    "first match wins": (
        tenant(rules=(rule("/a/**", public=True), rule("/a/b", deny=True))),
        request("/a/b"),
        None,
        Allow,
        Reason.PUBLIC,
    ),
    "paths are case-sensitive": (
        tenant(rules=(rule("/public/**", public=True),)),
        request("/Public/x"),
        None,
        Login,
        Reason.NO_SESSION,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_decision(case: str) -> None:
    at, asked, held, kind, reason = CASES[case]
    assert told(outcome(at, asked, held)) == (kind, reason)


def test_a_public_path_says_who_is_there_only_for_a_valid_session_of_this_tenant() -> None:
    at = tenant(rules=(rule("/**", public=True),))
    assert outcome(at, request(), session()) == Allow(Reason.PUBLIC, session())
    assert outcome(at, request(), session(tenant="globex")) == Allow(Reason.PUBLIC)
    assert outcome(at, request(), session(expires_at=0)) == Allow(Reason.PUBLIC)


BEARER: dict[
    str, tuple[dict[str, Any], str | None, MachineToken | None, Session | None, Decision]
] = {
    "right client and scope": ({}, "t", MACHINE, None, Allow(Reason.BEARER, machine=MACHINE)),
    "another client": (
        {},
        "t",
        replace(MACHINE, client_id="other"),
        None,
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "another scope": (
        {},
        "t",
        replace(MACHINE, scopes=frozenset({"api/write"})),
        None,
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "no valid token": ({}, "t", None, None, Login(Reason.BEARER_INVALID, redirect=False)),
    "an invalid token is not ignored for a session": (
        {},
        "t",
        None,
        session(),
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "a malformed token is not ignored for a session": (
        {},
        "",
        None,
        session(),
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "no token, a session": ({}, None, None, session(), Allow(Reason.OK, session())),
    "no token, sessions not taken": (
        {"browser_sessions": False},
        None,
        None,
        session(),
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "a person's token": (
        {},
        "t",
        replace(MACHINE, sub="p", username="p"),
        None,
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "a person's token where the rule says any group": (
        {"any_group": True},
        "t",
        PERSONS,
        None,
        Allow(Reason.BEARER, machine=PERSONS),
    ),
    "a machine that the rule names": (
        {"identity": BOT},
        "t",
        MACHINE,
        None,
        Allow(Reason.BEARER, machine=MACHINE, identity=BOT),
    ),
    "a person where the rule names a machine": (
        {"any_group": True, "identity": BOT},
        "t",
        PERSONS,
        None,
        Allow(Reason.BEARER, machine=PERSONS),
    ),
    "a person without a user name is a person": (
        {"identity": BOT},
        "t",
        replace(PERSONS, username=""),
        None,
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "a person's session where the rule names a machine": (
        {"identity": BOT},
        None,
        None,
        session(),
        Allow(Reason.OK, session()),
    ),
    "a person's token where the rule wants a role": (
        {"any_group": True, "roles": frozenset({"writer"})},
        "t",
        replace(MACHINE, sub="p", username="p"),
        None,
        Login(Reason.BEARER_INVALID, redirect=False),
    ),
    "any scope": (
        {"bearer": BearerRule(frozenset({"machine"}), frozenset())},
        "t",
        replace(MACHINE, scopes=frozenset()),
        None,
        Allow(Reason.BEARER, machine=replace(MACHINE, scopes=frozenset())),
    ),
}


@pytest.mark.parametrize("case", BEARER)
def test_bearer(case: str) -> None:
    changes, token, machine, held, expected = BEARER[case]
    at = tenant(rules=(rule("/api/**", **{"bearer": API, **changes}),))
    assert outcome(at, request("/api/x", bearer=token), held, machine) == expected


@pytest.mark.parametrize(
    ("any_role", "expected"),
    [
        (False, Login(Reason.BEARER_INVALID, redirect=False)),
        (True, Allow(Reason.BEARER, machine=PERSONS)),
    ],
    ids=["as the tenant says", "any"],
)
def test_a_persons_token_has_none_of_the_tenants_roles(
    *, any_role: bool, expected: Decision
) -> None:
    at = tenant(
        allowed_roles=frozenset({"staff"}),
        rules=(rule("/api/**", bearer=API, any_group=True, any_role=any_role),),
    )
    assert (
        outcome(at, request("/api/x", bearer="t"), None, replace(MACHINE, sub="p", username="p"))
        == expected
    )
    assert outcome(at, request("/api/x", bearer="t"), None, MACHINE) == Allow(
        Reason.BEARER, machine=MACHINE
    )


def test_a_bearer_token_elsewhere_is_the_apps_own_business() -> None:
    at = tenant(rules=(rule("/api/**", bearer=API),))
    asked = request("/other", bearer="t")
    assert not requires_bearer(match(at, asked), asked)
    assert outcome(at, asked, session()) == Allow(Reason.OK, session())


def test_rules_next_are_matched_in_place_of_the_rules() -> None:
    at = tenant(shadow_rules=(rule("/a", deny=True),))
    assert match(at, request("/a")).rule is None
    assert match_next(at, request("/a")).refused is Reason.RULE_DENIED
    assert match(at, request("/a")).public is False


@pytest.mark.parametrize(
    ("at", "reason", "expected"),
    [
        (tenant(), Reason.GROUP_MISSING, (["users"], [])),
        (
            tenant(allowed_groups=None, rules=(rule("/x", groups=frozenset({"b", "a"})),)),
            Reason.GROUP_MISSING,
            (["a", "b"], []),
        ),
        (
            tenant(rules=(rule("/x", groups=frozenset({"a"}), override_tenant_groups=True),)),
            Reason.GROUP_MISSING,
            (["a"], []),
        ),
        (tenant(allowed_roles=frozenset({"r"})), Reason.ROLE_MISSING, ([], ["r"])),
        (tenant(rules=(rule("/x", roles=frozenset({"q"})),)), Reason.ROLE_MISSING, ([], ["q"])),
        (tenant(email_domains=frozenset()), Reason.EMAIL_DOMAIN, ([], [])),
        (tenant(rules=(rule("/x", deny=True),)), Reason.RULE_DENIED, ([], [])),
    ],
)
def test_a_denial_says_what_would_have_sufficed(
    at: Tenant, reason: Reason, expected: tuple[list[str], list[str]]
) -> None:
    held = ("users",) if reason is Reason.ROLE_MISSING else ()
    person = session(identity=identity(groups=held, roles=()))
    asked = request("/x")
    decision = decide(at, asked, match(at, asked), session=person, machine=None, now=NOW)
    assert isinstance(decision, Deny)
    assert decision.reason is reason
    assert (decision.groups, decision.roles) == expected


# --- never more generous than the obvious reading ------------------------------------------------

GROUPS = st.frozensets(st.sampled_from(["users", "admins", "x"]), max_size=2)
PATHS = ["/", "/public", "/public/a", "/admin", "/admin/x/y", "/api/v1", "/other"]
GLOBS = ["/public/**", "/admin/**", "/api/*", "/**", "/other"]


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    path, methods = draw(st.sampled_from(GLOBS)), draw(st.sampled_from([None, ["GET"], ["POST"]]))
    kind = draw(st.sampled_from(["public", "deny", "groups", "nothing"]))
    if kind == "groups":
        return rule(
            path, methods=methods, groups=draw(GROUPS), override_tenant_groups=draw(st.booleans())
        )
    return rule(path, methods=methods, public=kind == "public", deny=kind == "deny")


def obvious(at: Tenant, asked: AuthRequest, held: Session | None) -> bool:
    """What somebody would write who reads the documentation once."""
    found = None
    for candidate in at.rules:
        folder = candidate.path.removesuffix("/**")
        fits = (
            asked.path == folder
            or fnmatch.fnmatchcase(asked.path, candidate.path.replace("**", "*"))
            or candidate.path == "/**"
        )
        if candidate.path == "/api/*":
            fits = asked.path.startswith("/api/") and asked.path.count("/") == 2
        if fits and (
            candidate.methods is None
            or asked.method in candidate.methods
            or (asked.method == "HEAD" and "GET" in candidate.methods)
        ):
            found = candidate
            break
    if found is not None and found.deny:
        return False
    if found is not None and found.public:
        return True
    if held is None or held.tenant != at.id or held.host != asked.host or held.expires_at <= NOW:
        return False
    groups = set(held.identity.groups)
    if found is not None and found.groups is not None and not groups & found.groups:
        return False
    replaced = found is not None and found.override_tenant_groups and found.groups is not None
    return replaced or at.allowed_groups is None or bool(groups & at.allowed_groups)


@given(
    st.lists(rules(), max_size=4),
    st.one_of(st.none(), GROUPS),
    st.sampled_from(PATHS),
    st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
    st.one_of(
        st.none(),
        st.builds(
            lambda g, t, e: session(
                identity=identity(groups=tuple(sorted(g))), tenant=t, expires_at=e
            ),
            GROUPS,
            st.sampled_from(["acme", "globex"]),
            st.sampled_from([NOW, NOW + 1]),
        ),
    ),
)
def test_rules_never_allow_what_the_obvious_reading_denies(
    made: list[Rule], allowed: frozenset[str] | None, path: str, method: str, held: Session | None
) -> None:
    at = tenant(rules=tuple(made), allowed_groups=allowed)
    asked = request(path, method=method)
    allowed_here = isinstance(outcome(at, asked, held), Allow)
    if method != "DELETE":
        assert allowed_here == obvious(at, asked, held)
    elif allowed_here:
        below = (*PATHS, *(f"{folder.rstrip('/')}/zz" for folder in PATHS))
        assert all(
            obvious(at, replace(asked, path=each), held)
            for each in below
            if f"{each.rstrip('/')}/".startswith(f"{path.rstrip('/')}/")
        )


ADMIN = rule("/admin/**", groups=frozenset({"admins"}))
DEEP = rule("/a/*/secret/**", groups=frozenset({"admins"}))
MACHINES = rule("/api/**", bearer=BearerRule(frozenset({"c"}), frozenset()))
CLOSED, OPEN, EVERYWHERE = (
    rule("/x/closed", deny=True),
    rule("/open/**", public=True),
    rule("/**", groups=frozenset({"users"})),
)
START, ITEMS = rule("/", public=True), rule("/items/*", public=True)
READ = rule("/admin/**", methods={"GET"}, groups=frozenset({"admins"}))
WEBDAV: list[tuple[tuple[Rule, ...], AuthRequest, Reason]] = [
    # Destination
    (
        (ADMIN,),
        request("/x", method="MOVE", destination=Destination("/admin/payroll.txt")),
        Reason.GROUP_MISSING,
    ),
    ((ADMIN,), request("/x", method="COPY", destination=Destination("/b/admin/x")), Reason.OK),
    (
        (ADMIN,),
        request("/x", method="POST", destination=Destination("/admin/x")),
        Reason.GROUP_MISSING,
    ),
    (
        (ADMIN,),
        request("/x", method="COPY", destination=Destination("/admin%2Fx", ambiguous=True)),
        Reason.GROUP_MISSING,
    ),
    (
        (OPEN,),
        request("/x", method="COPY", destination=Destination("/a%23", ambiguous=True)),
        Reason.OK,
    ),
    ((OPEN,), request("/open/x", method="COPY", destination=Destination("/a")), Reason.OK),
    ((ADMIN,), request("/x", method="COPY", destination=Destination(None)), Reason.BAD_REQUEST),
    ((), request("/x", method="COPY", destination=Destination(None)), Reason.OK),
    (
        (CLOSED,),
        request("/a", method="COPY", destination=Destination("/x/closed")),
        Reason.RULE_DENIED,
    ),
    (
        (ADMIN, CLOSED),
        request("/a", method="MOVE", destination=Destination("/x")),
        Reason.RULE_DENIED,
    ),
    # what is below
    *(
        ((ADMIN,), request(path, method=method), Reason.GROUP_MISSING)
        for path in ("/", "/admin", "/admin/x")
        for method in ("PROPFIND", "REPORT", "SEARCH", "DELETE", "LOCK", "MOVE", "COPY")
    ),
    *(
        ((ADMIN,), request("/b", method=method), Reason.OK)
        for method in ("PROPFIND", "REPORT", "DELETE", "LOCK", "MOVE")
    ),
    *(
        ((DEEP,), request(path, method="DELETE"), expected)
        for path, expected in {
            "/": Reason.GROUP_MISSING,
            "/a/": Reason.GROUP_MISSING,
            "/a/b": Reason.GROUP_MISSING,
            "/a/b/c": Reason.OK,
        }.items()
    ),
    *(
        ((ADMIN,), request("/", method="PROPFIND", depth=depth), expected)
        for depth, expected in {
            "0": Reason.OK,
            "1": Reason.OK,
            "infinity": Reason.GROUP_MISSING,
            "x": Reason.GROUP_MISSING,
        }.items()
    ),
    *(((ADMIN,), request("/", method=method, depth="0"), Reason.OK) for method in ("COPY", "LOCK")),
    *(
        ((ADMIN,), request("/", method=method, depth="0"), Reason.GROUP_MISSING)
        for method in ("MOVE", "DELETE", "REPORT")
    ),
    *(
        ((ADMIN,), request("/", method=method), Reason.OK)
        for method in ("GET", "PUT", "PROPPATCH", "UNLOCK")
    ),
    ((READ,), request("/", method="DELETE"), Reason.OK),
    ((CLOSED,), request("/x", method="DELETE"), Reason.RULE_DENIED),
    ((EVERYWHERE, CLOSED), request("/x", method="DELETE"), Reason.OK),
    ((CLOSED, EVERYWHERE), request("/x", method="DELETE"), Reason.RULE_DENIED),
    ((replace(ADMIN, hosts=frozenset({"other.test"})),), request("/", method="DELETE"), Reason.OK),
    # below, where no rule speaks
    *(
        ((START,), request("/", method=method), Reason.NO_SESSION)
        for method in ("DELETE", "PROPFIND", "REPORT")
    ),
    *(((START,), request("/", method=method), Reason.PUBLIC) for method in ("GET", "PUT")),
    ((START,), request("/", method="PROPFIND", depth="1"), Reason.PUBLIC),
    ((START, EVERYWHERE), request("/", method="DELETE"), Reason.NO_SESSION),
    ((START, rule("/**", public=True)), request("/", method="DELETE"), Reason.PUBLIC),
    ((OPEN,), request("/open/x", method="DELETE"), Reason.PUBLIC),
    ((ITEMS,), request("/items/7", method="DELETE"), Reason.NO_SESSION),
    ((rule("/items/*/**", public=True),), request("/items/7", method="DELETE"), Reason.PUBLIC),
    (
        (rule("/items/*", bearer=MACHINES.bearer),),
        request("/items/7", method="DELETE", bearer="t"),
        Reason.BAD_REQUEST,
    ),
    ((rule("/items/*", bearer=MACHINES.bearer),), request("/items/7", method="DELETE"), Reason.OK),
    (
        (rule("/items/*/**", bearer=MACHINES.bearer),),
        request("/items/7", method="DELETE", bearer="t"),
        Reason.BEARER,
    ),
    # machines
    ((ADMIN, MACHINES), request("/api/x", method="DELETE", bearer="t"), Reason.BEARER),
    (
        (rule("/api/admin", groups=frozenset({"admins"})), MACHINES),
        request("/api", method="DELETE", bearer="t"),
        Reason.BAD_REQUEST,
    ),
    (
        (rule("/api/admin", groups=frozenset({"users"})), MACHINES),
        request("/api", method="DELETE"),
        Reason.OK,
    ),
    (
        (MACHINES,),
        request("/api/x", method="MOVE", bearer="t", destination=Destination("/api/y")),
        Reason.BEARER,
    ),
    (
        (MACHINES,),
        request("/api/x", method="MOVE", bearer="t", destination=Destination("/y")),
        Reason.BAD_REQUEST,
    ),
]


@pytest.mark.parametrize(
    ("rules", "asked", "expected"),
    WEBDAV,
    ids=[
        f"{number} {asked.method} {asked.path} {asked.depth}"
        for number, (_, asked, _) in enumerate(WEBDAV)
    ],
)
def test_a_webdav_request_meets_the_rules_of_all_that_it_acts_on(
    rules: tuple[Rule, ...], asked: AuthRequest, expected: Reason
) -> None:
    at = tenant(rules=rules)
    machine = MachineToken("c", frozenset(), "", "", 0) if asked.bearer else None
    held = session() if expected not in {Reason.NO_SESSION, Reason.PUBLIC} else None
    assert (
        decide(at, asked, match(at, asked), session=held, machine=machine, now=NOW).reason
        is expected
    )
    if expected is Reason.NO_SESSION:
        assert (
            decide(at, asked, match(at, asked), session=session(), machine=None, now=NOW).reason
            is Reason.OK
        )
    if expected is Reason.GROUP_MISSING:
        admin = session(identity=identity(groups=("users", "admins")))
        assert (
            decide(at, asked, match(at, asked), session=admin, machine=None, now=NOW).reason
            is Reason.OK
        )


# --- app passwords
# ---------------------------------------------------------------------------------------

DAV = rule("/dav/**", app_passwords=True)
EVERYWHERE = rule("/**", app_passwords=True)
STAFF = rule("/dav/staff/**", app_passwords=True, groups=frozenset({"staff"}))
TEXT = "gwap_"


def password(**changes: Any) -> AppPassword:
    hosts, paths, signed_in_at = (
        changes.pop("hosts", frozenset()),
        changes.pop("paths", ("/",)),
        changes.pop("signed_in_at", NOW - 60),
    )
    return AppPassword(
        session(host="", amr=("app_password",), **changes), hosts, paths, signed_in_at
    )


POOLS = provider("acme-cognito", kind=ProviderKind.COGNITO)
BASIC_RULE = rule("/dav/**", pool_passwords=True)
BASIC = Basic("bob", "secret")
HELD = session(
    host="",
    amr=("pwd",),
    client_id="passwords",
    identity=identity(provider="acme-cognito"),
)


def with_basic(**changes: Any) -> Tenant:
    return tenant(
        **{
            "rules": (BASIC_RULE,),
            "providers": (POOLS,),
            "password_client": AppClient("passwords", Secret("s")),
            **changes,
        }
    )


POOL_PASSWORDS: dict[str, tuple[Tenant, PoolPasswordResult | None, type[object], Reason]] = {
    "taken": (with_basic(), HELD, Allow, Reason.POOL_PASSWORD),
    "nobody was asked": (with_basic(), None, Login, Reason.POOL_PASSWORD_INVALID),
    "wrong": (
        with_basic(),
        Reason.POOL_PASSWORD_INVALID,
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "a second factor": (
        with_basic(),
        Reason.SECOND_FACTOR_REQUIRED,
        Deny,
        Reason.SECOND_FACTOR_REQUIRED,
    ),
    "an outage": (with_basic(), Reason.COGNITO_UNAVAILABLE, Deny, Reason.COGNITO_UNAVAILABLE),
    "another tenant's": (
        with_basic(),
        replace(HELD, tenant="globex"),
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "of a client that was replaced": (
        with_basic(password_client=AppClient("new", Secret("s"))),
        HELD,
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "of a client that is gone": (
        with_basic(password_client=None),
        HELD,
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "of a provider that is gone": (
        with_basic(providers=(provider(),)),
        HELD,
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "of another provider": (
        with_basic(providers=(provider("other", kind=ProviderKind.COGNITO),)),
        HELD,
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "past its minute": (
        with_basic(),
        replace(HELD, expires_at=NOW),
        Login,
        Reason.POOL_PASSWORD_INVALID,
    ),
    "without the tenant's group": (
        with_basic(allowed_groups=frozenset({"staff"})),
        HELD,
        Deny,
        Reason.GROUP_MISSING,
    ),
}


@pytest.mark.parametrize("case", POOL_PASSWORDS)
def test_a_password_of_the_pool(case: str) -> None:
    at, held, kind, reason = POOL_PASSWORDS[case]
    asked = request("/dav/x", basic=BASIC)
    matched, trace = match(at, asked), Trace()
    assert requires_pool_password(matched, asked)
    for traced in (trace, None):
        decision = decide(
            at,
            asked,
            matched,
            session=session(),
            machine=None,
            pool_password=held,
            now=NOW,
            trace=traced,
        )
        assert told(decision) == (kind, reason), "a cookie beside it counts for nothing"
    assert any(step[0] == "password of the pool" for step in trace.steps)
    if isinstance(decision, Allow):
        assert decision.session is held
    if isinstance(decision, Login):
        assert not decision.redirect, "a program is never sent to a login"


def test_a_basic_credential_is_judged_where_a_rule_takes_it_and_is_nothing_elsewhere() -> None:
    at = with_basic(rules=(BASIC_RULE, rule("/open/**", public=True)))
    for path, held, reason in (
        ("/x", session(identity=HELD.identity), Reason.OK),
        ("/open/x", None, Reason.PUBLIC),
    ):
        asked = request(path, basic=BASIC)
        matched = match(at, asked)
        assert not requires_pool_password(matched, asked)
        decision = decide(
            at, asked, matched, session=held, machine=None, pool_password=HELD, now=NOW
        )
        assert told(decision) == (Allow, reason)
    ambiguous = request("/dav//x", ambiguous=True, basic=BASIC)
    assert match(at, ambiguous).refused is Reason.BAD_REQUEST
    assert takes_pool_passwords(match(at, request("/dav/x")))
    assert request("/x", basic=BASIC).credential is Credential.BASIC
    assert at.takes_pool_passwords and not tenant().takes_pool_passwords
    shadow = tenant(shadow_rules=(rule("/dav/**", pool_passwords=True),))
    assert not shadow.takes_pool_passwords, "a shadow rule keeps no header from the application"


WEEK = 7 * 86400
PASSWORDS: dict[str, tuple[Tenant, AuthRequest, AppPassword | None, type[object], Reason]] = {
    "taken": (tenant(rules=(DAV,)), request("/dav/x"), password(), Allow, Reason.APP_PASSWORD),
    "none of ours": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        None,
        Login,
        Reason.APP_PASSWORD_INVALID,
    ),
    "another tenant's": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(tenant="globex"),
        Login,
        Reason.APP_PASSWORD_INVALID,
    ),
    "past its time": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(expires_at=NOW),
        Login,
        Reason.APP_PASSWORD_INVALID,
    ),
    "of a provider that is gone": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(identity=identity(provider="gone")),
        Login,
        Reason.APP_PASSWORD_INVALID,
    ),
    "another host's": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(hosts=frozenset({"b.acme.com"})),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "its host's": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(hosts=frozenset({"app.acme.com"})),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "its path": (
        tenant(rules=(DAV,)),
        request("/dav/a"),
        password(paths=("/dav/a",)),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "below its path": (
        tenant(rules=(DAV,)),
        request("/dav/a/b"),
        password(paths=("/dav/a/",)),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "one of its paths": (
        tenant(rules=(DAV,)),
        request("/dav/b"),
        password(paths=("/dav/a", "/dav/b")),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "beside its path": (
        tenant(rules=(DAV,)),
        request("/dav/ab"),
        password(paths=("/dav/a",)),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "of no path": (
        tenant(rules=(DAV,)),
        request("/dav/a"),
        password(paths=()),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "above its path": (
        tenant(rules=(DAV,)),
        request("/dav", method="DELETE"),
        password(paths=("/dav/a",)),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "moved out of its path": (
        tenant(rules=(DAV,)),
        request("/dav/a/x", method="MOVE", destination=Destination("/dav/b/x")),
        password(paths=("/dav/a",)),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "moved within its path": (
        tenant(rules=(DAV,)),
        request("/dav/a/x", method="MOVE", destination=Destination("/dav/a/y")),
        password(paths=("/dav/a",)),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "in another spelling": (
        tenant(rules=(DAV,), paths=PathReader(ignore_case=True)),
        request("/DAV/A/x"),
        password(paths=("/Dav/a",)),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "the person has not been here for a week": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(signed_in_at=NOW - WEEK - 1),
        Deny,
        Reason.LOGIN_TOO_OLD,
    ),
    "the person was here a week ago": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(signed_in_at=NOW - WEEK),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "the rule's group": (
        tenant(rules=(STAFF, DAV)),
        request("/dav/staff/x"),
        password(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "the rule's group held": (
        tenant(rules=(STAFF, DAV)),
        request("/dav/staff/x"),
        password(identity=identity(groups=("users", "staff"))),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "the tenant's group": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(identity=identity(groups=())),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "the e-mail's domain": (
        tenant(rules=(DAV,)),
        request("/dav/x"),
        password(identity=identity(email_domain="evil.com")),
        Deny,
        Reason.EMAIL_DOMAIN,
    ),
    "where no rule says so": (
        tenant(rules=(DAV,)),
        request("/x"),
        password(),
        Login,
        Reason.NO_SESSION,
    ),
    "at another host's rule": (
        tenant(rules=(rule("/dav/**", app_passwords=True, hosts=frozenset({"b.acme.com"})),)),
        request("/dav/x"),
        password(),
        Login,
        Reason.NO_SESSION,
    ),
    "an ambiguous path": (
        tenant(rules=(DAV,)),
        request("/dav//x", ambiguous=True),
        password(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "an ambiguous path of a host without such rules": (
        tenant(rules=(STAFF.__class__("/x", groups=frozenset({"g"})),)),
        request("/dav//x", ambiguous=True),
        password(),
        Login,
        Reason.NO_SESSION,
    ),
    "an ambiguous path of a host that takes them everywhere": (
        tenant(rules=(EVERYWHERE, STAFF)),
        request("/dav//x", ambiguous=True),
        password(),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "an ambiguous path, and one that is good for a part": (
        tenant(rules=(EVERYWHERE,)),
        request("/dav//x", ambiguous=True),
        password(paths=("/dav",)),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "an ambiguous path where another rule comes first": (
        tenant(rules=(STAFF, EVERYWHERE)),
        request("/dav//x", ambiguous=True),
        password(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "an ambiguous path where a public rule comes first": (
        tenant(rules=(rule("/p/**", public=True), EVERYWHERE)),
        request("/dav//x", ambiguous=True),
        password(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "an ambiguous path, and a rule for another method": (
        tenant(rules=(rule("/**", methods=frozenset({"GET"}), app_passwords=True),)),
        request("/dav//x", method="PUT", ambiguous=True),
        password(),
        Login,
        Reason.NO_SESSION,
    ),
    "an ambiguous path, and the rule's group": (
        tenant(rules=(rule("/**", app_passwords=True, groups=frozenset({"staff"})),)),
        request("/dav//x", ambiguous=True),
        password(),
        Deny,
        Reason.GROUP_MISSING,
    ),
    "moved to an ambiguous path": (
        tenant(rules=(EVERYWHERE,)),
        request("/dav/x", method="MOVE", destination=Destination("/C#", ambiguous=True)),
        password(),
        Allow,
        Reason.APP_PASSWORD,
    ),
    "moved to an ambiguous path by one that is good for a part": (
        tenant(rules=(EVERYWHERE,)),
        request("/dav/x", method="MOVE", destination=Destination("/dav/C#", ambiguous=True)),
        password(paths=("/dav",)),
        Deny,
        Reason.APP_PASSWORD_SCOPE,
    ),
    "an ambiguous destination": (
        tenant(rules=(DAV,)),
        request("/dav/x", method="MOVE", destination=Destination("/dav//y", ambiguous=True)),
        password(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "a destination that takes none": (
        tenant(rules=(DAV,)),
        request("/dav/x", method="COPY", destination=Destination("/y"), depth="0"),
        password(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "rules of which neither is stricter": (
        tenant(rules=(STAFF, DAV)),
        request("/dav", method="DELETE"),
        password(),
        Deny,
        Reason.BAD_REQUEST,
    ),
    "a rule that takes tokens, too": (
        tenant(rules=(rule("/dav/**", app_passwords=True, bearer=API, browser_sessions=False),)),
        request("/dav/x"),
        password(),
        Allow,
        Reason.APP_PASSWORD,
    ),
}


@pytest.mark.parametrize("case", PASSWORDS)
def test_an_app_password(case: str) -> None:
    at, asked, held, kind, reason = PASSWORDS[case]
    asked = replace(asked, app_password=TEXT)
    trace = Trace()
    matched = match(at, asked)
    decision = decide(
        at, asked, matched, session=None, machine=None, password=held, now=NOW, trace=trace
    )
    assert told(decision) == (kind, reason)
    assert decision == decide(
        at, asked, matched, session=None, machine=None, password=held, now=NOW
    )
    assert (
        requires_app_password(matched, asked)
        == takes_app_passwords(matched)
        == (reason not in {Reason.NO_SESSION, Reason.BAD_REQUEST})
    )
    without = replace(asked, app_password=None)
    assert takes_app_passwords(match(at, without)) == takes_app_passwords(matched), "the challenge"
    assert takes_app_passwords(matched) <= isinstance(
        decide(at, without, match(at, without), session=None, machine=None, now=NOW), Login
    ), "a program that waits for a challenge gets one"
    if isinstance(decision, Allow) and held is not None:
        assert decision.session is held.session
        # Never more than a session of the person would be let in with.
        browser = decide(
            at,
            replace(asked, app_password=None),
            match(at, replace(asked, app_password=None)),
            session=replace(held.session, host=asked.host),
            machine=None,
            now=NOW,
        )
        assert isinstance(browser, Allow) or (at.rules and not at.rules[0].browser_sessions)
    if decision.reason is Reason.APP_PASSWORD_INVALID:
        assert not decision.redirect, "a program is never sent to a login"  # type: ignore[union-attr] # it is a Login


def test_an_app_password_is_judged_alone_where_it_is_taken_and_is_nothing_elsewhere() -> None:
    at = tenant(rules=(DAV,))
    taken, elsewhere = request("/dav/x", app_password=TEXT), request("/x", app_password=TEXT)
    assert told(decide(at, taken, match(at, taken), session=session(), machine=None, now=NOW)) == (
        Login,
        Reason.APP_PASSWORD_INVALID,
    )
    assert told(
        decide(
            at,
            elsewhere,
            match(at, elsewhere),
            session=session(),
            machine=None,
            password=None,
            now=NOW,
        )
    ) == (Allow, Reason.OK)
    assert told(
        decide(
            at,
            request("/dav/x"),
            match(at, request("/dav/x")),
            session=session(),
            machine=None,
            now=NOW,
        )
    ) == (Allow, Reason.OK), "a session passes there, too"
    both = tenant(rules=(rule("/dav/**", app_passwords=True, bearer=API),))
    for asked, machine in (
        (request("/dav/x", bearer="t"), MACHINE),
        (request("/dav/x", app_password=TEXT), None),
    ):
        assert isinstance(
            decide(
                both,
                asked,
                match(both, asked),
                session=None,
                machine=machine,
                password=password(),
                now=NOW,
            ),
            Allow,
        )


def test_a_token_is_taken_at_an_ambiguous_path_where_one_rule_speaks_about_every_path() -> None:
    machines, asked = (
        rule("/**", bearer=API, browser_sessions=False),
        request("/a//b", ambiguous=True, bearer="t"),
    )
    for rules, expected in (
        ((machines, DAV), (Allow, Reason.BEARER)),
        ((rule("/x", groups=frozenset({"g"})), machines), (Deny, Reason.BAD_REQUEST)),
    ):
        at = tenant(rules=rules)
        assert (
            told(decide(at, asked, match(at, asked), session=None, machine=MACHINE, now=NOW))
            == expected
        )


def test_a_path_that_cannot_be_read_is_in_no_scope() -> None:
    """A rule may take the request though, where no rule is asked about what cannot be read."""
    at = tenant(rules=(DAV,))
    for asked in (
        request("/dav//x", ambiguous=True),
        request("/dav/x", destination=Destination(None)),
        request("/dav/x", destination=Destination("/dav//y", ambiguous=True)),
    ):
        asked = replace(asked, app_password=TEXT)  # noqa: PLW2901
        matched = match(at, request("/dav/x", app_password=TEXT))
        assert told(
            decide(
                at,
                asked,
                matched,
                session=None,
                machine=None,
                password=password(paths=("/dav",)),
                now=NOW,
            )
        ) == (Deny, Reason.APP_PASSWORD_SCOPE)


FACEBOOK = provider(
    "acme-facebook",
    ProviderKind.FACEBOOK,
    issuer=None,
    accounts={"1": SocialAccount("1", "alice@acme.com", frozenset({"users", "more"}))},
)


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({}, True),
        ({"idp_subject": "2"}, False),
        ({"email": "bob@acme.com"}, False),
        ({"groups": ("users", "admins")}, False),
        ({"roles": ("editor",)}, False),
    ],
)
def test_a_social_account_counts_for_as_long_as_it_is_listed(
    changes: dict[str, Any], still: bool
) -> None:
    at = tenant(providers=(FACEBOOK,), rules=(DAV,))
    who = identity(provider="acme-facebook", **changes)
    assert told(outcome(at, request("/x"), session(identity=who))) == (
        (Allow, Reason.OK) if still else (Login, Reason.REAUTHENTICATE)
    )
    asked = request("/dav/x", app_password=TEXT)
    decision = decide(
        at,
        asked,
        match(at, asked),
        session=None,
        machine=None,
        password=password(identity=who),
        now=NOW,
    )
    assert told(decision) == (
        (Allow, Reason.APP_PASSWORD) if still else (Login, Reason.APP_PASSWORD_INVALID)
    )


def test_an_access_token_does_not_say_which_social_account_it_is_of() -> None:
    okta, anybody = provider(), rule("/**", bearer=API, any_group=True)
    of_okta = replace(PERSONS, person=identity())
    of_facebook = replace(PERSONS, person=identity(provider="acme-facebook"))
    for machine, providers, taken in (
        (PERSONS, (okta,), True),
        (PERSONS, (okta, FACEBOOK), False),
        (of_okta, (okta, FACEBOOK), True),
        (of_facebook, (okta, FACEBOOK), False),
    ):
        at = tenant(providers=providers, rules=(anybody,))
        decision = outcome(at, request("/x", bearer="t"), None, machine)
        assert isinstance(decision, Allow) is taken, (machine, providers)
