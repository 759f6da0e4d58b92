"""A world with a second user pool, named ``second``, in which nobody is yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from demo.world import World

if TYPE_CHECKING:
    from demo.cognito.server import Cognito

SECOND = "second"


class TwoPoolsWorld(World):
    """Every customer's application at their identity provider knows both pools."""

    async def _settle_initech(self) -> None:
        await self.cloud.add_pool(SECOND, "eu-north-1_Demo67890")
        await super()._settle_initech()

    @property
    def second(self) -> Cognito:
        return self.cloud.further_pools[SECOND]

    def _write_config(self) -> None:
        super()._write_config()
        path = self.directory / "config" / "gateway.yaml"
        document = yaml.safe_load(path.read_text("utf-8"))
        document["cognito"]["pools"] = {
            SECOND: {
                "region": "eu-north-1",
                "user_pool_id": self.second.pool.pool_id,
                "domain": self.second.url,
                "issuer": self.second.issuer,
                "endpoint_url": self.second.endpoint_url,
            }
        }
        path.write_text(yaml.safe_dump(document), "utf-8")
