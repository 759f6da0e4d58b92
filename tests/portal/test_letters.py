"""Letters about a setup: who gets them, and that they hold no secret but their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.setup.model import LETTERS, Approval, Confirm, LinkState, Part, Phase
from tests.portal.conftest import ALL_PARTS, EVIL, IT, Browser, Desk, address_of, phrase_of
from tests.portal.test_walk import VALUES, run_test

if TYPE_CHECKING:
    from gateway.setup.links import NewLink

ANN = "ann@initech.test"
FIREFOX = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0"
OPS = "ops@example.com"


def letters(desk: Desk, what: str) -> dict[str, dict[str, str]]:
    """By recipient."""
    return {
        to: {name: str(value) for name, value in words.items()}
        for template, to, words in desk.letters.sent
        if template == what
    }


async def two_browsers(desk: Desk) -> tuple[NewLink, Browser, Browser]:
    made = await desk.make(recipients=(IT, ANN))
    first, second = desk.browser(), desk.browser()
    await first.claim(made)
    response = await second.post(
        address_of(made), {"email": ANN, "phrase": phrase_of(made)}, **{"User-Agent": FIREFOX}
    )
    second.cookie = response.cookies["__Host-setup"].value
    return made, first, second


async def test_who_had_the_setup_and_who_has_it_are_told_and_can_stop_it(desk: Desk) -> None:
    made, _, second = await two_browsers(desk)
    told = letters(desk, "moved")
    assert set(told) == {IT, ANN}
    assert (told[IT]["tenant"], told[IT]["browser"]) == ("Initech", "Firefox, macOS")
    for words in told.values():
        assert made.secret.reveal() not in str(words)
        assert phrase_of(made) not in str(words)
    stop = told[IT]["link"].removeprefix("https://login.example.com")
    stranger = desk.browser()
    # Opening it, or pressing its button, changes nothing.
    await stranger.page(stop)
    for email in ("", "eve@evil.test", EVIL):
        assert (await stranger.post(stop, {"email": email})).status == 403
        assert "<script" not in stranger.last
    await second.page("/setup")
    assert (await stranger.post(stop, {"email": IT.upper()})).status == 200
    await second.page("/setup", status=403)
    link = await desk.links.get("initech", made.link.id)
    assert link is not None
    assert link.stored_state is LinkState.REVOKED
    assert f"setup:{made.link.id}/{IT} setup.link.stopped" in await desk.audit()
    await stranger.page(stop, status=404)
    assert (await stranger.post(stop, {"email": IT})).status == 404


async def test_a_made_up_address_stops_nothing(desk: Desk) -> None:
    made, _, second = await two_browsers(desk)
    other = await desk.make()
    stop = letters(desk, "moved")[IT]["link"].removeprefix("https://login.example.com")
    token = stop.rpartition("/")[2]
    paths = (
        f"/setup/l/{other.link.id}/stop/{token}",
        f"/setup/l/{made.link.id}/stop/{token[:-1]}A",
        f"/setup/l/{made.link.id}/stop/{made.secret.reveal()}",
        f"/setup/l/{'0' * 16}/stop/{token}",
        f"/setup/l/..%2f/stop/{token}",
    )
    for path in paths:
        desk.clock.now += 60  # within what one address may ask
        assert (await desk.browser().get(path)).status == 404
        assert (await desk.browser().post(path, {"email": IT})).status == 404
    foreign = await desk.browser().post(stop, {"email": IT}, Origin="https://evil.test")
    assert foreign.status == 403
    await second.page("/setup")
    response = await desk.browser().get(stop)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "strict-origin"


async def test_nobody_is_told_where_nobody_had_it(desk: Desk) -> None:
    made = await desk.make()
    browser = desk.browser()
    await browser.claim(made)
    await browser.send("/setup", "/setup/leave")
    await browser.claim(made)
    assert letters(desk, "moved") == {}


async def test_who_had_many_letters_is_told_of_no_further_move_which_is_on_record(
    desk: Desk,
) -> None:
    made = await desk.make()
    browser = desk.browser()
    await browser.claim(made)
    for _ in range(LETTERS + 1):
        assert (await browser.claim(made)).status == 303
    assert [what for what, _, _ in desk.letters.sent] == ["moved"] * LETTERS
    actions = [entry.rpartition(" ")[2] for entry in await desk.audit()]
    assert actions.count("setup.link.moved") == LETTERS + 1


async def submitted(desk: Desk, **changes: Any) -> Browser:
    browser = await desk.claimed(
        approval=Approval.REQUIRED, parts=ALL_PARTS - {Part.DOMAINS}, **changes
    )
    await run_test(desk, browser)
    await browser.send("/setup/access", "/setup/access/save", who="groups", group="app-users")
    await browser.send("/setup/review", "/setup/review/finish")
    return browser


async def test_operators_hear_what_waits_for_them_and_recipients_what_became_of_it(
    desk: Desk,
) -> None:
    desk.letters.configured = True
    browser = await submitted(desk)
    link = await desk.link_of(browser)
    told = letters(desk, "submitted")
    assert set(told) == {OPS}
    assert (told[OPS]["name"], told[OPS]["tested_by"], told[OPS]["groups"]) == (
        IT,
        IT,
        "app-users",
    )
    assert (told[OPS]["domains"], told[OPS]["command"]) == (
        "initech.test",
        f"gateway setup-links approve initech {link.id}",
    )
    path = f"/tenants/initech/setup-links/{link.id}"
    assert (await desk.api.call("POST", f"{path}/return", json={"note": "no staff"})).status == 200
    told = letters(desk, "returned")
    assert set(told) == {IT}
    assert (told[IT]["note"], told[IT]["link"]) == ("no staff", "https://login.example.com/setup")
    await browser.send("/setup/review", "/setup/review/finish")
    assert letters(desk, "live") == {}
    assert (await desk.api.call("POST", f"{path}/approve")).status == 200
    told = letters(desk, "live")
    assert set(told) == {IT, OPS}
    assert told[IT]["groups"] == "app-users"
    everything = str(desk.letters.sent)
    for secret in (VALUES["client_secret"], (browser.cookie or "").partition(".")[2]):
        assert secret not in everything


async def test_a_letter_that_is_not_taken_keeps_nobody_from_going_live(desk: Desk) -> None:
    desk.letters.configured = True
    browser = await submitted(desk)
    desk.letters.full = True
    link = await desk.link_of(browser)
    approve = f"/tenants/initech/setup-links/{link.id}/approve"
    assert (await desk.api.call("POST", approve)).status == 200
    assert letters(desk, "live") == {}
    assert (await desk.link_of(browser)).work.phase is Phase.LIVE


async def test_where_mail_is_held_up_the_page_says_so_to_whomever(desk: Desk) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    browser, stranger = desk.browser(), desk.browser()
    await browser.ask_code(made)
    ((code,), carried) = desk.codes(), browser.carried
    desk.letters.full = True
    for one, email in ((browser, IT), (stranger, "eve@evil.test")):
        assert (await one.ask_code(made, email=email)).status == 503
        assert "no code was sent" in one.last
        assert "on its way" not in one.last
    assert browser.last.replace(IT, "X") == stranger.last.replace("eve@evil.test", "X")
    sent = [entry.rpartition(".")[2] for entry in await desk.audit()]
    assert sent.count("code_sent") == 1
    assert sent.count("code_not_sent") == 2
    # The code before is still good, for the browser that asked for it.
    browser.carried = carried
    assert (await browser.claim_with(made, code)).status == 303
