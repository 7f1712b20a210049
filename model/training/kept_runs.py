"""The runs of an experiment in one JSON file, so that a stopped one goes on where it was."""

import json
from pathlib import Path
from typing import Any

from model.durable import replace_text


class KeptRuns:
    """Rows, one a run, each written as it ends; those of another setting do not count."""

    def __init__(self, path: Path, setting: dict[str, Any]) -> None:
        self.path, self.setting = path, setting
        kept = json.loads(path.read_text()) if path.is_file() else {}
        self.rows: list[dict[str, Any]] = kept["runs"] if kept.get("setting") == setting else []

    def add(self, row: dict[str, Any]) -> None:
        """Keep one more run."""
        self.rows.append(row)
        replace_text(self.path, json.dumps({"setting": self.setting, "runs": self.rows}, indent=1) + "\n")
