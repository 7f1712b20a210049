"""The query path stays light: serving and searching import neither transformers, nor torchvision, nor timm."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.conftest import Library

HEAVY = ("transformers", "torchvision", "timm", "torchaudio", "matplotlib", "accelerate", "tensorboard", "pandas")
PROGRAM = """
import sys
from pathlib import Path
from app.config import Settings
settings = Settings(data_dir=Path({data!r}), model={model!r}, min_free_bytes=0, threads=1)
{body}
print(",".join(sorted(name for name in {heavy!r} if name in sys.modules)))
"""
SERVE = """
import time
from starlette.testclient import TestClient
from app.main import create_app
with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
    while client.get("/readyz").status_code != 200:
        time.sleep(0.05)
    answer = client.post("/v1/search", json={"query": "a red ball", "explain": True})
    assert answer.status_code == 200, answer.text
    video = answer.json()["results"][0]["video_id"]
    for path in (f"/v1/videos/{video}/similar", "/v1/videos", "/metrics", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200, path
"""
SEARCH = """
from app.command_search import search_document
assert search_document("a red ball", 3, settings).results
"""
CONTROL = "import transformers"


def imported(library: Library, body: str) -> str:
    program = PROGRAM.format(data=str(library.settings.data_dir), model=library.settings.model, body=body, heavy=HEAVY)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=250, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1] if run.stdout.strip() else ""


@pytest.mark.parametrize("body", [SERVE, SEARCH], ids=["serve", "search"])
def test_nothing_heavy_is_imported(library: Library, body: str) -> None:
    assert imported(library, body) == ""


def test_the_look_has_teeth(library: Library) -> None:
    assert "transformers" in imported(library, CONTROL)


def test_importing_the_command_line_loads_no_network(library: Library) -> None:  # noqa: ARG001
    program = (
        "import sys, app.cli; print([m for m in ('torch', 'faiss', 'fastapi', 'uvicorn', 'av') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=True)
    assert run.stdout.strip() == "[]", "`htav --help` must be quick"
