"""A child runs this installation's modules, whatever lies in the folder that the user stands in."""

import os
import subprocess
import sys
from pathlib import Path

from model import children

ROOT = Path(__file__).parents[2]


def run(code_of: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", code_of]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_folder_named_like_a_room_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").write_text("raise SystemExit('a stranger')")
    (tmp_path / "model" / "errors.py").touch()
    plain = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert run("model.errors", tmp_path, plain).stderr == "a stranger\n", "the folder is a danger"
    done = run("model.errors", tmp_path, children.ours_first(os.environ))
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_user_added_to_the_path_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").touch()
    given = children.ours_first({"PYTHONPATH": str(tmp_path)})
    assert given["PYTHONPATH"] == f"{ROOT}{os.pathsep}{tmp_path}"
    assert run("theirs", Path("/"), given).returncode == 0
    assert children.ours_first({"PYTHONPATH": f":{tmp_path}:"}) == given, "an empty entry is the current folder"
    assert children.ours_first({"A": "b"}) == {"A": "b", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
