"""``gateway.yaml`` as it is now: read again on SIGHUP and when it changed.

What can be taken over while running is (``LIVE``); of the rest the log says that it waits for a
restart. A file that does not validate changes nothing, and the log says what is wrong with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.config.file_stamp import stamp
from gateway.config.model import Config, load_config
from gateway.errors import ConfigError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIVE: Final = ("ingress", "log")
"""Keys of the file whose new value holds at once: rotating the ingress key must not need a restart,
and neither must looking closer.
"""
POLL_S: Final = 1.0

_log = logging.getLogger(__name__)


class ConfigFile:
    """Call it for the configuration in force."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self._config = config
        self._read = config
        """As the file said when it was last valid: what differs from ``_config`` waits for a
        restart.
        """
        self._seen = stamp(self.path)
        self.changed: list[Callable[[Config], None]] = []

    def __call__(self) -> Config:
        return self._config

    def look(self) -> None:
        """Read the file again if it changed."""
        current_stamp = stamp(self.path)
        if current_stamp != self._seen:
            self._seen = current_stamp
            self.read_again()

    def read_again(self) -> None:
        """SIGHUP: also where only a secret behind ``file:`` is another one."""
        try:
            config = load_config(self.path)
        except ConfigError as error:
            _log.error(
                "config_reload_failed",
                extra=fields(error=str(error), detail="the former one stays in force"),
            )
            return
        if config == self._read:
            return
        live = tuple(key for key in LIVE if getattr(config, key) != getattr(self._config, key))
        restart_keys = tuple(
            key
            for key in Config.model_fields
            if key not in LIVE and getattr(config, key) != getattr(self._config, key)
        )
        self._read = config
        self._config = self._config.model_copy(update={key: getattr(config, key) for key in live})
        _log.info(
            "config_reloaded",
            extra=fields(in_force=list(live), waiting_for_restart=list(restart_keys)),
        )
        if live:
            for tell in self.changed:
                tell(self._config)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            # A mount that hangs holds up a thread, and not the checks.
            if await asyncio.to_thread(stamp, self.path) != self._seen:
                self.look()
