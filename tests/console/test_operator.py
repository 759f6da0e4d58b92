"""Groups become scopes, for all tenants or for some."""

from __future__ import annotations

from gateway.config.console import Console
from gateway.console.operator import FRESH_S, Operator, operator_of
from gateway.console.sign_in import Person
from gateway.core.scopes import Scope
from tests.console.conftest import GROUPS

CONSOLE = Console(host="console.example.com", tenant="ops", groups=GROUPS)
NOW = 1_800_000_000


def operator(*groups: str) -> Operator:
    person = Person("sub", "dana@ops.test", "Dana", "ops", "ops-okta", frozenset(groups), NOW)
    return operator_of(person, CONSOLE.groups)


def test_whoever_is_in_no_group_of_the_console_may_nothing() -> None:
    assert operator("sales").grants == ()
    assert not any(operator("sales", "Admins", "admins ").may(scope) for scope in Scope)


def test_a_group_gives_its_scopes_and_no_others() -> None:
    support = operator("support")
    assert {scope for scope in Scope if support.may(scope)} == {
        Scope.TENANTS_READ,
        Scope.SESSIONS_READ,
        Scope.SESSIONS_REVOKE,
    }
    assert support.caller(Scope.SESSIONS_READ, "globex").tenant is None


def test_whoever_is_limited_to_a_tenant_is_bound_to_it_as_a_key_would_be() -> None:
    limited = operator("acme-team")
    of_acme = limited.caller(Scope.SESSIONS_REVOKE, "acme")
    assert (of_acme.tenant, of_acme.may(Scope.SESSIONS_REVOKE)) == ("acme", True)
    of_globex = limited.caller(Scope.SESSIONS_REVOKE, "globex")
    assert (of_globex.tenant, of_globex.scopes) == ("globex", frozenset())
    assert limited.caller(Scope.SESSIONS_REVOKE, None).scopes == frozenset()


def test_a_scope_for_some_tenants_is_no_scope_for_all_beside_another_group() -> None:
    both = operator("acme-team", "auditors")
    assert both.caller(Scope.AUDIT_READ, "globex").tenant is None
    assert not both.caller(Scope.SESSIONS_REVOKE, "globex").may(Scope.SESSIONS_REVOKE)
    assert not both.caller(Scope.SESSIONS_REVOKE, None).may(Scope.SESSIONS_REVOKE)
    of_acme = both.caller(Scope.SESSIONS_REVOKE, "acme")
    assert of_acme.tenant == "acme"


def test_the_list_of_tenants_is_limited_by_the_globs() -> None:
    lister = operator("acme-team").lister()
    assert (lister.within, lister.tenant) == (("acme",), None)
    assert lister.scopes == {Scope.TENANTS_READ}
    assert operator("support").lister().within == ()
    assert operator("sales").lister().scopes == frozenset()


def test_the_actor_of_the_audit_log_is_the_person() -> None:
    assert operator("admins").caller(Scope.TENANTS_READ, None).actor == "person:sub"


def test_a_sign_in_is_fresh_for_ten_minutes() -> None:
    assert operator("admins").is_fresh(NOW + FRESH_S)
    assert not operator("admins").is_fresh(NOW + FRESH_S + 1)
