"""What holds for every command: one clear line, and an exit code that means one thing."""

from __future__ import annotations

import click
import pytest

from gateway import cli


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        ([], 2),
        (["surprise"], 2),
        (["config", "check", "--surprise"], 2),
        (["config", "check", "-c", "/nowhere/gateway.yaml"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    assert cli.run(arguments) == code


def test_a_question_without_an_answer_is_told_from_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an interruption nobody may claim that nothing was done."""

    @click.command()
    @click.option("--ask", is_flag=True)
    def work(*, ask: bool) -> None:
        raise click.Abort if ask else KeyboardInterrupt

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: work)
    assert (cli.run(["work", "--ask"]), capsys.readouterr().err) == (
        1,
        "gateway: not confirmed, nothing was done (see --yes)\n",
    )
    assert (cli.run(["work"]), capsys.readouterr().err.strip()) == (1, "gateway: interrupted")
