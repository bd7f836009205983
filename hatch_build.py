"""What goes into the wheel beside the package: evidence, without what is only drawn."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EvidenceHook(BuildHookInterface):
    """Verdicts belong to the package; curves are most of the bytes and stay in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the evidence files to a wheel (an editable install reads them where they stand)."""
        root = Path(self.root)
        for path in sorted((root / "evidence").rglob("*.json")):
            if version != "editable" and not path.name.endswith(".curves.json"):
                place = Path("quire") / path.relative_to(root)
                build_data["force_include"][str(path)] = place.as_posix()
