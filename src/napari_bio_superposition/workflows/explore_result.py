"""What a question of `explore` returns: a table for a person, files, notes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class ExploreResult:
    """What was found: a table for a person, and the files that were written."""

    found: pd.DataFrame
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "rows": self.found.to_dict("records"),
            "files": [str(path) for path in self.files],
            "notes": list(self.notes),
        }
