"""What carries experiments out: papers, configs, runs, launchers, verdicts, evidence."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quire.lab.config import Config as Config
    from quire.lab.execute import try_run as try_run
    from quire.lab.run import Metrics as Metrics
    from quire.lab.run import Run as Run

_PLACES = {"Config": "config", "Metrics": "run", "Run": "run", "try_run": "execute"}
__all__ = ["Config", "Metrics", "Run", "try_run"]


def __getattr__(name: str) -> Any:
    # Late, because `quire list` reads the papers without importing torch.
    if name not in _PLACES:
        raise AttributeError(f"module 'quire.lab' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"quire.lab.{_PLACES[name]}"), name)
