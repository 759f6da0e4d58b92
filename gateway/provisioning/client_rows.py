"""The rows of a plan that are about app clients. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cognito.native_sessions import DEFAULT_MINUTES, NEVER
from gateway.cognito.shapes import client_settings
from gateway.provisioning.plan_rows import Difference, Resource, Step, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cognito.desired import (
        Actual,
        ActualClient,
        Wanted,
        WantedClient,
        WantedPasswordClient,
    )


def client_row(wanted: WantedClient, found: ActualClient | None, *, adopted: bool) -> Step:
    if found is None:
        return Step(
            Verb.CREATE,
            Resource.CLIENT,
            "",
            (
                "the tenant has no app client yet; "
                f"{_counted(len(wanted.callback_urls), 'callback URL')}, sign-in with "
                f"{', '.join(wanted.providers)}"
            ),
        )
    differences = client_differences(wanted, found)
    if adopted:
        note = (
            f", with {_counted(len(differences), 'setting')} changed"
            if differences
            else ", as it is"
        )
        return Step(
            Verb.ADOPT,
            Resource.CLIENT,
            found.client_id,
            f"{found.name} exists and is taken over{note}",
            differences,
        )
    if differences:
        return Step(
            Verb.CHANGE,
            Resource.CLIENT,
            found.client_id,
            f"{', '.join(d.setting for d in differences)} differ",
            differences,
        )
    return Step(Verb.KEEP, Resource.CLIENT, found.client_id, "it is as wanted")


def retired_row(wanted: WantedClient, client_id: str, found: ActualClient | None) -> Step:
    if found is None:
        return Step(
            Verb.REMOVE,
            Resource.CLIENT,
            client_id,
            "it was replaced and no longer exists in the pool; the gateway deletes its record",
        )
    differences = client_differences(wanted, found)
    if differences:
        return Step(
            Verb.CHANGE,
            Resource.CLIENT,
            client_id,
            (
                "it was replaced, and is accepted still; "
                f"{', '.join(d.setting for d in differences)} differ"
            ),
            differences,
        )
    return Step(Verb.KEEP, Resource.CLIENT, client_id, "it was replaced, and is accepted still")


def login_reuse_rows(actual: Actual) -> Iterator[Step]:
    """None of it where the pool does not track sessions."""
    reuse = actual.login_reuse
    if reuse is None or not reuse.tracked:
        return
    why = "Cognito's login cookie signs nobody in again without the identity provider"
    if actual.client is None:
        yield Step(Verb.CHANGE, Resource.LOGIN_REUSE, "", why)
    for client in (actual.client, *actual.retired):
        if client is None:
            continue
        minutes = reuse.minutes.get(client.client_id, DEFAULT_MINUTES)
        if minutes == NEVER:
            yield Step(Verb.KEEP, Resource.LOGIN_REUSE, client.client_id, why)
        else:
            difference = Difference("SSOSession.MaxValidityMinutes", minutes, NEVER)
            yield Step(Verb.CHANGE, Resource.LOGIN_REUSE, client.client_id, why, (difference,))


def further_client_rows(
    wanted: Wanted, actual: Actual, client_id: str | None, *, adopted: bool
) -> Iterator[Step]:
    """After the clients of logins: how they take the login cookie, and the one for passwords."""
    yield from login_reuse_rows(actual)
    yield from password_client_rows(wanted, actual, client_id, adopted=adopted)


def password_client_rows(
    wanted: Wanted, actual: Actual, client_id: str | None, *, adopted: bool
) -> Iterator[Step]:
    """None of it where the tenant neither has such a client nor shall have one."""
    client, actual_client = wanted.password_client, actual.password_client
    if client is None:
        if client_id is not None:
            why = "password_client is not managed any more: it is deleted within some minutes"
            yield Step(Verb.REMOVE, Resource.PASSWORD_CLIENT, client_id, why)
        return
    if actual_client is None:
        why = (
            "the tenant has none yet; with it, passwords of the pool's users are checked"
            if client_id is None
            else f"{client_id} is not in the pool any more"
        )
        yield Step(Verb.CREATE, Resource.PASSWORD_CLIENT, "", why)
        return
    if client.secret is not actual_client.has_secret:
        has = "has a secret" if actual_client.has_secret else "has no secret"
        why = (
            f"takes the place of {actual_client.client_id}, which {has}: Cognito cannot change that"
        )
        yield Step(Verb.CREATE, Resource.PASSWORD_CLIENT, "", why)
        return
    differences = client_differences(client, actual_client)
    if adopted:
        why = f"{actual_client.name} exists, is taken over, and is for passwords alone from then on"
        yield Step(Verb.ADOPT, Resource.PASSWORD_CLIENT, actual_client.client_id, why, differences)
    elif differences:
        why = f"{', '.join(d.setting for d in differences)} differ"
        yield Step(Verb.CHANGE, Resource.PASSWORD_CLIENT, actual_client.client_id, why, differences)
    else:
        yield Step(Verb.KEEP, Resource.PASSWORD_CLIENT, actual_client.client_id, "it is as wanted")


def client_differences(
    wanted: WantedClient | WantedPasswordClient, found: ActualClient
) -> tuple[Difference, ...]:
    settings = client_settings(wanted)
    return tuple(
        Difference(name, found.settings.get(name), value)
        for name, value in settings.items()
        if not _same(found.settings.get(name), value)
    )


def _same(now: object, wanted: object) -> bool:
    """Lists in AWS's answers have no order that means anything."""
    if isinstance(wanted, list) and isinstance(now, list):
        return sorted(map(str, now)) == sorted(map(str, wanted))
    return now == wanted or (not wanted and now in (None, [], False))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
