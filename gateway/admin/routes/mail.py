"""``/mail/test``: whether mail arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.route import Answer, AnswerModel, ApiModel, Call, Route
from gateway.mail.smtp import MailError

if TYPE_CHECKING:
    from gateway.mail.mailer import Mailer


class MailTestBody(ApiModel):
    """``to``: one address."""

    to: Annotated[str, Field(min_length=3, max_length=254)]
    language: Literal["en", "de", "fr", "es"] = "en"


class MailTestAnswer(AnswerModel):
    """The server has taken it. Whether it arrives is up to the mailbox."""

    sent: bool


@dataclass(frozen=True, slots=True)
class MailRoutes:
    """Sends a letter now, past the outbox."""

    mailer: Mailer

    async def test_mail(self, call: Call) -> Answer:
        body = call.body(MailTestBody)
        # Not the address: the audit log is kept for longer than anybody wants to be in it.
        call.note.target = body.to.rpartition("@")[2]
        try:
            await self.mailer.test(body.to, body.language)
        except ValueError as error:
            raise Problem(
                Code.INVALID_BODY, str(error), mistakes=[Mistake("to", str(error))]
            ) from error
        except LookupError as error:
            raise Problem(Code.CONFLICT, "mail.host is not set: no mail is sent") from error
        except MailError as error:
            raise Problem(Code.UPSTREAM_FAILED, error.detail) from error
        return Answer(MailTestAnswer(sent=True))

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "test_mail",
                "POST",
                "/mail/test",
                "Send a test letter now.",
                self.test_mail,
                {200: MailTestAnswer},
                body=MailTestBody,
                problems=(Code.CONFLICT, Code.UPSTREAM_FAILED),
            ),
        )
