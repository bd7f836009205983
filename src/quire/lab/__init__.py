"""What carries experiments out: papers, configs, runs, launchers, verdicts, evidence.

To read it: `papers` and `claims` (what is said), `config` and `job` (what is asked for), `run` and
`execute` (one run), `launch` (many), `verify` and `evidence` (what came of them), `exhibits` and
`ratings` (what people said of it), `digest` and `freshness` (whether it still holds). What a loop
calls stands in `training` and `measure`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quire.lab.config import Config as Config
    from quire.lab.config import Group as Group
    from quire.lab.run import Metrics as Metrics
    from quire.lab.run import Run as Run
    from quire.lab.testing import try_run as try_run

_PLACES = {"Config": "config", "Group": "config", "Metrics": "run", "Run": "run",
           "try_run": "testing"}  # fmt: skip
__all__ = ["Config", "Group", "Metrics", "Run", "try_run"]


def __getattr__(name: str) -> Any:
    # Late, because `quire list` reads the papers without importing torch.
    if name not in _PLACES:
        raise AttributeError(f"module 'quire.lab' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"quire.lab.{_PLACES[name]}"), name)
