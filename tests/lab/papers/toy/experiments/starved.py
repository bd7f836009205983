"""A run whose data is not there."""

from pathlib import Path

from quire import data
from quire.lab import Config, Metrics, Run


class Starved(Config):
    """Nothing to set."""


def starved(config: Starved, run: Run) -> Metrics:
    """Asks for data that is not there."""
    data.mnist(run.data or Path("nowhere"))
    return {"error": 0.0}
