"""What tests by chance suffer: a bad network, workers that die or hang, a switch that is killed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from calls.call_world import World

from softswitch.events import CallEnded, CallStarted


@dataclass(frozen=True)
class Storm:
    """`loss`, `double` and `delay` are the network's (`World`), `strikes` and `kills` how often a
    worker and the switch are hit."""

    seed: int
    loss: float
    double: float
    delay: float
    strikes: int
    kills: int

    def over(self, world: World) -> None:
        """From now on the network is like that."""
        world.chance.seed(self.seed)
        world.loss, world.double, world.delay = self.loss, self.double, self.delay

    def passed(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is left at the end, and nothing has failed but workers."""
        workers = world.switch.spoken.workers
        assert workers is not None
        assert not workers.busy, [one.ports for one in workers.workers]
        workers.close()
        world.rest(idle=600)
        assert len(world.of(CallEnded)) >= len(world.of(CallStarted)) - self.kills
        raised = [
            record.getMessage()
            for record in caplog.records
            if record.levelname == "ERROR" and not record.name.startswith("softswitch.media")
        ]
        assert not raised


STORMS = pytest.mark.parametrize(
    "storm",
    [
        Storm(1, 0.0, 0.0, 0.0, 0, 0),
        Storm(2, 0.0, 0.0, 0.2, 12, 0),
        Storm(3, 0.0, 0.2, 0.2, 20, 0),
        Storm(4, 0.1, 0.1, 0.2, 20, 0),
        Storm(5, 0.0, 0.0, 0.0, 5, 4),
        Storm(6, 0.1, 0.1, 0.3, 10, 4),
    ],
    ids=lambda storm: str(storm.seed),
)
