"""What a link does not open: the security table of the setup portal, row by row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gateway.portal.application import BROWSER, COOKIE, LANDINGS, SAVES
from gateway.portal.reach import OutOfReachError, Reach
from gateway.portal.views import PAGES
from gateway.setup.model import (
    CODE_DIGITS,
    CODES,
    CODES_OF_CLIENT,
    IDLE_S,
    LOCKS,
    LONG_CODE_DIGITS,
    TRIES,
    Confirm,
    NewTenant,
    Part,
    Phase,
    Work,
)
from gateway.setup.operations import OPERATIONS
from tests.portal.conftest import (
    ALL_PARTS,
    EVIL,
    HOST,
    IT,
    Browser,
    Desk,
    address_of,
    phrase_of,
    token_for,
)
from tests.portal.test_walk import VALUES, choose, connect, result, run_test

if TYPE_CHECKING:
    from gateway.setup.links import NewLink


async def test_a_mail_scanner_that_opens_the_link_changes_nothing(desk: Desk) -> None:
    made = await desk.make()
    for _ in range(3):
        response = await desk.browser().get(address_of(made))
        assert response.status == 200
        assert "Set-Cookie" not in response.headers
    # Nor one that presses every button it finds.
    assert (await desk.browser().post(address_of(made), {"email": "", "phrase": ""})).status == 403
    assert (await desk.browser().claim(made)).status == 303


async def test_a_code_by_mail_opens_for_the_browser_that_asked_and_once(desk: Desk) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    assert made.phrase is None
    browser, thief = desk.browser(), desk.browser()
    assert (await browser.ask_code(made)).status == 200
    (code,) = desk.codes()
    assert re.fullmatch(r"[0-9]{8}", code)
    assert code not in browser.last
    assert desk.letters.sent[0][:2] == ("code", IT)
    # Whoever reads the mail, and did not ask for it.
    thief.carried = "x" * 43
    assert (await thief.claim_with(made, code)).status == 403
    assert (await browser.claim_with(made, code, email="ann@initech.test")).status == 403
    assert (await browser.claim_with(made, f" {code[:4]} {code[4:]}")).status == 303
    await browser.page("/setup")
    assert (await browser.claim_with(made, code)).status == 403
    sent = [entry.partition(" ")[2] for entry in await desk.audit()][::-1]
    assert sent[:2] == ["setup.link.code_sent", "setup.link.code_failed"]
    assert sent.count("setup.link.code_failed") == 1, "of a browser without a code none is"


async def test_a_code_ends_with_the_next_one_and_with_its_ten_minutes(desk: Desk) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    browser = desk.browser()
    await browser.ask_code(made)
    await browser.ask_code(made)
    old, new = desk.codes()
    assert (await browser.claim_with(made, old)).status == 403
    desk.clock.now += 600
    assert (await browser.claim_with(made, new)).status == 403
    assert (await browser.claim_with(made, "")).status == 403


async def test_who_is_a_recipient_is_not_said_and_no_mailbox_is_filled(desk: Desk) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    known, unknown = desk.browser(), desk.browser()
    answers = [await known.ask_code(made), await unknown.ask_code(made, email="eve@evil.test")]
    assert [answer.status for answer in answers] == [200, 200]
    assert known.last.replace(IT, "X") == unknown.last.replace("eve@evil.test", "X")
    assert len(desk.codes()) == 1
    for _ in range(CODES_OF_CLIENT - 2):
        await known.ask_code(made)
    refused = await known.ask_code(made)
    assert (refused.status, len(desk.codes())) == (429, CODES_OF_CLIENT - 1)
    assert "in an hour" in known.last
    # Whoever is elsewhere has their own, up to what one mailbox is sent.
    for number in range(CODES // CODES_OF_CLIENT):
        for _ in range(CODES_OF_CLIENT):
            last = await elsewhere(known, made, f"203.0.113.{number}")
    assert (last.status, len(desk.codes())) == (429, CODES)
    desk.clock.now += 3600
    assert (await known.ask_code(made)).status == 200


async def test_a_refused_code_is_not_counted_and_the_one_before_opens(desk: Desk) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    browser = desk.browser()
    desk.letters.full = True
    for _ in range(CODES_OF_CLIENT):
        assert (await browser.ask_code(made)).status == 503
    assert 'name="code"' not in browser.last
    desk.letters.full = False
    assert (await browser.ask_code(made)).status == 200
    desk.letters.full = True
    await refused(browser, made, 503)
    desk.letters.full = False
    desk.clock.now += 60  # within what one address may ask
    for _ in range(CODES_OF_CLIENT - 1):
        assert (await browser.ask_code(made)).status == 200
    await refused(browser, made, 429)
    assert (await browser.claim_with(made, desk.codes()[-1])).status == 303


async def refused(browser: Browser, made: NewLink, status: int) -> None:
    """Another code; the page still takes the one before."""
    cookie = f"{BROWSER}={browser.carried}"
    response = await browser.post(address_of(made), {"email": IT}, Cookie=cookie)
    assert response.status == status
    assert 'name="code"' in browser.last
    assert "on its way" not in browser.last


async def elsewhere(browser: Browser, made: NewLink, client: str, email: str = IT) -> Any:
    """Asks for a code from another address."""
    form = {"email": email}
    return await browser.post(address_of(made), form, **{"X-Forwarded-For": client})


async def test_a_stranger_takes_nobodys_code_and_locks_nobody_out(desk: Desk) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    recipient, stranger = desk.browser(), desk.browser()
    for _ in range(CODES_OF_CLIENT + 1):
        last = await elsewhere(stranger, made, "203.0.113.1", "eve@evil.test")
    assert last.status == 429
    for _ in range(CODES_OF_CLIENT + 1):
        await elsewhere(stranger, made, "203.0.113.2")
    assert (await recipient.ask_code(made)).status == 200
    code = desk.codes()[-1]
    await elsewhere(stranger, made, "203.0.113.3")
    stranger.carried = "x" * 43
    for _ in range(LOCKS * TRIES):
        desk.clock.now += 10  # within what one address may ask
        assert (await stranger.claim_with(made, "00000000")).status == 403
    assert (await recipient.claim_with(made, code)).status == 303


async def test_guessed_codes_end_the_code_of_that_browser_alone(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    made = await desk.make(confirm=Confirm.MAIL)
    recipient, thief = desk.browser(), desk.browser()
    await recipient.ask_code(made)
    lengths = []
    for _ in range(LOCKS):
        await thief.ask_code(made)
        lengths.append(len(desk.codes()[-1]))
        for _ in range(TRIES):
            desk.clock.now += 12  # within what one address may ask
            assert (await thief.claim_with(made, "1")).status == 403
        assert (await thief.claim_with(made, desk.codes()[-1])).status == 403
    assert lengths == [CODE_DIGITS, CODE_DIGITS, LONG_CODE_DIGITS], "fifteen tries at short codes"
    assert [record.message for record in caplog.records].count("setup_link_guessed") == 1
    assert (await recipient.claim_with(made, desk.codes()[0])).status == 303


async def test_forwarded_it_opens_nothing_without_the_phrase(desk: Desk) -> None:
    made = await desk.make()
    thief = desk.browser()
    assert (await thief.claim(made, email="mallory@evil.test")).status == 403
    assert thief.cookie is None
    assert "wrong" in thief.last
    assert (await thief.post(address_of(made), {"email": IT, "phrase": "a b c d"})).status == 403


async def test_opened_twice_the_first_browser_has_it_no_longer(desk: Desk) -> None:
    made = await desk.make()
    first, second = desk.browser(), desk.browser()
    await first.claim(made)
    page = await first.page("/setup/provider")
    await second.claim(made)
    await first.page("/setup", status=403)
    token = token_for(page, "/setup/provider/choose")
    sent = await first.post("/setup/provider/choose", {"token": token, "choice": "okta/oidc"})
    assert sent.status == 403
    await second.page("/setup")
    assert any(entry.endswith("setup.link.moved") for entry in await desk.audit())


@pytest.mark.parametrize("ended", ["expired", "revoked", "replaced"])
async def test_an_ended_link_opens_nothing_and_ends_the_work(desk: Desk, ended: str) -> None:
    made = await desk.make()
    browser = desk.browser()
    await browser.claim(made)
    if ended == "expired":
        desk.clock.now += 86400
    elif ended == "revoked":
        await desk.links.revoke("initech", made.link.id)
    else:
        await desk.links.replace("initech", made.link.id, by="key:other", confirm=Confirm.PHRASE)
    await browser.page("/setup", status=403)
    assert ended in await desk.browser().page(address_of(made), status=404)
    assert (await desk.browser().claim(made)).status == 404


async def test_a_wrong_secret_and_an_unknown_link_are_one_answer(desk: Desk) -> None:
    made = await desk.make()
    other = await desk.make("acme", new_tenant=None, parts=frozenset({Part.OFFBOARDING}))
    texts = set()
    for path in (
        address_of(made, "guessed"),
        address_of(made, other.secret.reveal()),
        f"/setup/l/{'0' * 16}/{made.secret.reveal()}",
        f"/setup/l/nonsense/{made.secret.reveal()}",
        "/setup/l/%ed%a0%80/x",
    ):
        texts.add(await desk.browser().page(path, status=404))
        response = await desk.browser().post(path, {"email": IT, "phrase": phrase_of(made)})
        assert response.status == 404
    assert len(texts) == 1


async def test_guessing_locks_and_then_revokes(desk: Desk) -> None:
    made = await desk.make()
    statuses = []
    for _ in range(LOCKS):
        for _ in range(TRIES):
            desk.clock.now += 10  # within what one address may ask
            wrong = await desk.browser().post(address_of(made), {"email": IT, "phrase": "no"})
            statuses.append(wrong.status)
        desk.clock.now += 900
    assert statuses == [403] * 4 + [429] + [403] * 4 + [429] + [403] * 4 + [404]
    assert (await desk.browser().claim(made)).status == 404
    actions = [entry.partition(" ")[2] for entry in await desk.audit()]
    assert actions.count("setup.link.locked") == 2
    assert actions.count("setup.link.revoked") == 1
    assert actions.count("setup.link.code_failed") == 12


async def test_addresses_are_tried_by_one_address_only_so_often(desk: Desk) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7"}
    browser = desk.browser()
    for _ in range(LANDINGS):
        assert (await browser.get(f"/setup/l/{'0' * 16}/x", **headers)).status == 404
    assert (await browser.get(f"/setup/l/{'0' * 16}/x", **headers)).status == 429
    neighbor = {"X-Forwarded-For": "203.0.113.8"}
    assert (await browser.get(f"/setup/l/{'0' * 16}/x", **neighbor)).status == 404


async def test_forms_of_one_link_are_taken_only_so_often(desk: Desk) -> None:
    browser = await desk.claimed()
    token = token_for(await browser.page("/setup/provider"), "/setup/provider/choose")
    form = {"token": token, "choice": "okta/oidc"}
    for _ in range(SAVES):
        assert (await browser.post("/setup/provider/choose", form)).status == 303
    assert (await browser.post("/setup/provider/choose", form)).status == 429


async def test_the_cookie_is_for_this_host_alone_and_no_script(desk: Desk) -> None:
    made = await desk.make()
    response = await desk.browser().claim(made)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}={made.link.id}.")
    assert COOKIE.startswith("__Host-")
    for attribute in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/"):
        assert attribute in cookie
    assert "Domain" not in cookie


async def test_after_an_hour_without_a_click_the_work_has_ended(desk: Desk) -> None:
    browser = await desk.claimed()
    desk.clock.now += IDLE_S
    await browser.page("/setup", status=403)


async def test_who_leaves_takes_the_cookie_with_them(desk: Desk) -> None:
    browser = await desk.claimed()
    left = await browser.send("/setup", "/setup/leave")
    assert left.status == 200
    assert f'{COOKIE}=""' in left.headers["Set-Cookie"]
    await browser.page("/setup", status=403)


@pytest.mark.parametrize("page", [p for p in PAGES if p.form], ids=lambda p: p.path)
@pytest.mark.parametrize(
    "attack",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"token": ""},
        {"token": "of another page"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_a_foreign_form_changes_nothing(
    desk: Desk, page: object, attack: dict[str, str]
) -> None:
    browser = await desk.claimed(parts=frozenset(Part))
    before = await desk.link_of(browser)
    path = f"/setup{page.path}"  # type: ignore[attr-defined]  # a Page
    right = token_for(await browser.page("/setup"), "/setup/leave")
    form = {"token": attack.get("token", right), "choice": "okta/oidc"}
    headers = {name: value for name, value in attack.items() if name != "token"}
    assert (await browser.post(path, form, **headers)).status == 403
    assert await desk.link_of(browser) == before


async def test_another_browsers_token_is_none(desk: Desk) -> None:
    one, other = await desk.claimed(), await desk.claimed()
    token = token_for(await one.page("/setup/provider"), "/setup/provider/choose")
    form = {"token": token, "choice": "okta/oidc"}
    assert (await other.post("/setup/provider/choose", form)).status == 403


@pytest.mark.parametrize("part", list(Part))
async def test_a_link_has_the_pages_of_its_parts_only(desk: Desk, part: Part) -> None:
    browser = await desk.claimed(parts=frozenset({part}))
    for page in PAGES:
        if not page.parts or part in page.parts or "{" in page.path:
            continue
        path = f"/setup{page.path}"
        if page.form:
            assert (await browser.post(path, {})).status == 404, path
        else:
            await browser.page(path, status=404)


@pytest.mark.parametrize("part", list(Part))
async def test_a_part_reaches_its_operations_and_no_other(desk: Desk, part: Part) -> None:
    browser = await desk.claimed(parts=frozenset({part}))
    link = await desk.link_of(browser)

    class Api:
        async def call(self, caller: object, operation: str, **_: object) -> str:
            return operation

    reach = Reach(Api(), link)  # type: ignore[arg-type]  # it only has to be asked
    for operation in frozenset().union(*OPERATIONS.values()) | {"delete_tenant", "put_tenant"}:
        if operation in OPERATIONS[part]:
            assert await reach.ask(operation) == operation  # type: ignore[comparison-overlap]  # as above
        else:
            with pytest.raises(OutOfReachError):
                await reach.ask(operation)


async def test_a_link_speaks_of_its_own_tenant_whatever_it_is_told(desk: Desk) -> None:
    browser = await desk.claimed("acme", parts=frozenset({Part.OFFBOARDING}), new_tenant=None)
    link = await desk.link_of(browser)
    asked: list[tuple[object, object]] = []

    class Api:
        async def call(self, caller: object, operation: str, **more: object) -> None:
            asked.append((getattr(caller, "tenant", None), more["path"]))

    reach = Reach(Api(), link)  # type: ignore[arg-type]  # it only has to be asked
    await reach.ask("get_hook", path={"tenant": "globex", "provider": "globex-okta"})
    assert asked == [("acme", {"tenant": "acme", "provider": "globex-okta"})]


async def test_at_another_host_there_is_no_portal(desk: Desk) -> None:
    made = await desk.make()
    elsewhere = Browser(desk.client, host="console.example.com")
    await elsewhere.page(address_of(made), status=404)
    assert (await elsewhere.claim(made)).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/setup/../admin",
        "/setup/connection/..%2f..%2fetc",
        "/setup/connection/99",
        "/setup/connection/-1",
        "/setup/l",
        "/setup/static/..%2f..%2fapplication.py",
        "/setup/templates/layout.html",
        "/setupx",
    ],
)
async def test_a_made_up_address_is_not_found(desk: Desk, path: str) -> None:
    browser = await desk.claimed()
    await choose(browser)
    assert (await browser.get(path)).status == 404


@pytest.mark.parametrize("choice", ["../x/oidc", "okta/../saml", "okta", "", EVIL, "okta/oidc/x"])
async def test_a_made_up_provider_is_none(desk: Desk, choice: str) -> None:
    browser = await desk.claimed()
    sent = await browser.send("/setup/provider", "/setup/provider/choose", choice=choice)
    assert sent.status == 400
    assert EVIL not in browser.last


async def test_a_provider_that_was_not_offered_is_none(desk: Desk) -> None:
    browser = await desk.claimed(providers=("okta",))
    page = await browser.page("/setup/provider")
    assert "Entra" not in page
    token = token_for(page, "/setup/provider/choose")
    form = {"token": token, "choice": "entra/oidc"}
    assert (await browser.post("/setup/provider/choose", form)).status == 400


async def test_no_page_is_stored_framed_or_runs_anything(desk: Desk) -> None:
    made = await desk.make()
    browser = await desk.claimed()
    responses = [
        await browser.get("/setup"),
        await browser.get("/setup/provider"),
        await browser.get(address_of(made)),
        await desk.browser().get("/setup"),
        await browser.get("/setup/nothing"),
    ]
    for response in responses:
        headers = response.headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "script-src" not in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        # The address holds the secret: no request names it.
        assert headers["Referrer-Policy"] == "strict-origin"
        text = await response.text()
        assert "<script" not in text
        assert not re.search(r'<[^>]+\s(style|on\w+)="', text)


async def test_what_others_say_is_text(desk: Desk) -> None:
    tenant = NewTenant(EVIL, ("initech.example.com",), ("initech.test",))
    browser = await desk.claimed(new_tenant=tenant, note=EVIL)
    await choose(browser)
    assert (await connect(browser, issuer=f"https://refused.okta.com/{EVIL}")).status == 422
    assert EVIL not in browser.last
    await connect(browser, client_id=EVIL.replace(" ", ""))
    evil = Work(
        phase=Phase.TESTED,
        provider="okta",
        protocol="oidc",
        name="initech-okta",
        values={"issuer": EVIL, "client_id": EVIL},
        tested_at=1.0,
        tester=EVIL,
        test="t",
        groups=(EVIL,),
        claims=(EVIL,),
        chosen=(EVIL,),
        returned=EVIL,
    )
    await desk.put_work(browser, evil)
    desk.tests.result_of_all = result(detail=EVIL, groups=(EVIL,), claims=(EVIL,))
    for path in ("", "/test", "/access", "/review", "/connection/values", f"?notice={EVIL}"):
        response = await browser.get(f"/setup{path}")
        assert response.status == 200, path
        assert "<script>" not in browser.last, path
        assert "<img" not in browser.last, path
    made = await desk.make()
    wrong = await desk.browser().post(address_of(made), {"email": EVIL, "phrase": EVIL})
    assert "<script" not in await wrong.text()


async def test_secrets_are_in_no_page_no_audit_record_and_no_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = await desk.make(parts=ALL_PARTS)
    browser = desk.browser()
    await browser.claim(made)
    await run_test(desk, browser)
    pages = [
        await browser.page(f"/setup{page.path}")
        for page in PAGES
        if not page.form
        and "{" not in page.path
        and page.is_of(await desk.link_of(browser))
        and page.path not in {"/review", "/offboarding/wait"}
    ]
    audit = await (await desk.api.call("GET", "/audit?limit=200")).text()
    records = "\n".join(str(vars(record)) for record in caplog.records)
    cookie = (browser.cookie or "").partition(".")[2]
    for secret in (
        made.secret.reveal(),
        phrase_of(made),
        cookie,
        VALUES["client_secret"],
    ):
        assert not [page for page in pages if secret in page]
        assert secret not in audit
        # The test's own client says what it asks for.
        assert secret not in records.replace(f"/setup/l/{made.link.id}/{made.secret.reveal()}", "")


async def test_a_large_or_broken_form_is_refused(desk: Desk) -> None:
    browser = await desk.claimed()
    token = token_for(await browser.page("/setup/provider"), "/setup/provider/choose")
    big = await browser.post("/setup/provider/choose", {"token": token, "choice": "x" * 300_000})
    assert big.status == 413
    many = await browser.post("/setup/provider/choose", {f"f{n}": "x" for n in range(400)})
    assert many.status == 400
    assert HOST in browser.host
