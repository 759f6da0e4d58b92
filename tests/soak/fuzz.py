"""Coverage-guided fuzzing of everything that reads a client's or an identity provider's bytes.
``scripts/soak fuzz [SECONDS]``.

Each target runs in a process of its own, since the fuzzer ends the process it runs in. A finding is
an input that breaks what the property tests promise; it is printed and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import atheris

with atheris.instrument_imports(include=["gateway.core", "gateway.check.dialects"]):
    from gateway.check.dialects import DIALECTS, Malformed
    from gateway.core.cookies import own_values, without
    from gateway.core.groups import parse_groups
    from gateway.core.hosts import email_domain, parse_host_header
    from gateway.core.paths import canonical
    from gateway.core.returns import safe_return
from tests.ingress.checks import COOKIE, ask

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = "https://app.acme.test"
SEEDS = {
    "paths": ["/public/../admin", "/%2e%2e/%252f", "/a;b#c%23", "/größe/%C3%B6"],
    "cookies": ["a=1; __Host-gw=x; b=2", "__Host-gw-login=y;__Host-gw=z"],
    "checks": [
        "X-Forwarded-Uri\x01/a?b\x00Cookie\x01__Host-gw=x\x00Accept\x01text/html",
        "Authorization\x01Bearer a.b.c\x00X-Forwarded-Host\x01evil.test",
    ],
    "groups": ["[a, b]", '["a","b"]', "a%2Cb,c", "a b"],
    "returns": [
        "/x?y#z",
        "https://app.acme.test/a",
        "//evil.test",
        "/\\evil.test",
        "/%2f%2fevil.test",
    ],
    "names": ["app.acme.test:8443", "a@b.test", "ACME.test.", "xn--mnchen-3ya.test"],
}


def as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def paths(data: bytes) -> None:
    found = canonical(as_text(data))
    if found is not None:
        assert canonical(quote(found.path, safe="/%;#?!$&'()*+,=:@")) == found
        assert found.ambiguous or not {".", "..", ""} & set(found.path.split("/")[1:-1])


def cookies(data: bytes) -> None:
    lines = as_text(data).split("\n")
    rest = without(lines, COOKIE)
    assert own_values([rest], COOKIE) == ()
    rest.encode("utf-8")
    assert own_values([*lines, f"{COOKIE}=mine"], COOKIE)[-1] == "mine"


def checks(data: bytes) -> None:
    pairs = [
        (name or "X", value)
        for name, _, value in (part.partition("\x01") for part in as_text(data).split("\x00"))
    ]
    described = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "app.acme.test"),
        ("X-Forwarded-Uri", "/"),
    ]
    given = {name.lower() for name, _ in pairs}
    for dialect in DIALECTS:
        found = ask(
            dialect,
            [
                *(pair for pair in described if pair[0].lower() not in given),
                ("Host", "app.acme.test"),
                *pairs,
            ],
            raw_path="/auth/envoy" + pairs[0][1],
        )
        if isinstance(found, Malformed):
            assert found.detail.isascii()
        else:
            assert found.original_uri.startswith("/")
            assert found.original_uri.isascii()
            assert found.original_uri.isprintable()
            found.other_cookies.encode("utf-8")


def groups(data: bytes) -> None:
    for url_decode_groups in (True, False):
        parse_groups(as_text(data), url_decode_groups=url_decode_groups)


def returns(data: bytes) -> None:
    found = safe_return(
        as_text(data),
        origin=ORIGIN,
        allowed=lambda host: ORIGIN if host == "app.acme.test" else None,
    )
    if found is not None:
        assert urlsplit(found).netloc == "app.acme.test"
        assert found.isascii()
        assert "\\" not in urlsplit(found).path


def names(data: bytes) -> None:
    text = as_text(data)
    host = parse_host_header(text)
    if host is not None:
        assert parse_host_header(host) == host
    domain = email_domain(text)
    if domain is not None:
        assert text.count("@") == 1


TARGETS: dict[str, Callable[[bytes], None]] = {
    "paths": paths,
    "cookies": cookies,
    "checks": checks,
    "groups": groups,
    "returns": returns,
    "names": names,
}


def fuzz(target: str, seconds: int, folder: Path) -> None:
    """Never returns: the fuzzer ends the process."""
    corpus = folder / target
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / str(number)).write_bytes(seed.encode())
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            "-max_len=512",
            "-timeout=5",
            f"-artifact_prefix={folder}/found-",
            str(corpus),
        ],
        TARGETS[target],
    )
    atheris.Fuzz()


def main() -> int:
    if len(sys.argv) == 4:
        fuzz(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            result = subprocess.run(
                [sys.executable, "-m", "tests.soak.fuzz", target, str(seconds), folder],
                capture_output=True,
                text=True,
                check=False,
            )
            runs = re.findall(r"Done (\d+) runs in (\d+) second", result.stderr)
            coverage = re.findall(r"cov: (\d+)", result.stderr)
            found = sorted(Path(folder).glob("found-*"))
            print(
                (
                    f"{target:8} {runs[0][0] if runs else '?':>10} executions in {seconds} s, "
                    f"coverage {coverage[-1] if coverage else '?'}, findings {len(found)}"
                ),
                flush=True,
            )
            for path in found:
                print(f"  {path.name}: {path.read_bytes()!r}")
                path.unlink()
            if result.returncode != 0:
                failed = True
                with contextlib.suppress(ValueError):
                    print(
                        result.stderr[result.stderr.index("=== Uncaught") :][:2000]
                        if "=== Uncaught" in result.stderr
                        else result.stderr[-2000:]
                    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
