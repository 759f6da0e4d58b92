"""The section ``setup`` of gateway.yaml: links by which a customer's administrator connects their
own identity provider.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.config.types import VISIBLE, Model


class Setup(Model):
    """``approval``: of links that do not say it. ``required``: an operator approves before anybody
    signs in; ``other_person``: not the one who made the link; ``none``: the administrator goes
    live. ``support``: whom an administrator asks.
    """

    enabled: bool = False
    approval: Literal["required", "other_person", "none"] = "required"
    support: Annotated[str, Field(pattern=r"^[^<>\"]*$", max_length=254), VISIBLE] = ""
