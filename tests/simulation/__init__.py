"""The call data servers, several in one process, under one scheduler that owns time, network, disks
and clocks. ``python -m tests.simulation --seed N --trace`` replays a seed; ``docs/simulation.md``
explains the rest."""

from .sources import prefer_if_wanted

prefer_if_wanted()
