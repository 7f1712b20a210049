"""Carry out the Dockerfile's steps without a container engine: a clean folder, a new environment, a running service.

The first stage's RUN and COPY lines are executed as written, with /src and /opt/htav moved below a temporary folder and
.dockerignore applied; then the second stage's command serves from it, as an ordinary user where that is possible, and
the image's own health check must pass. Steps that change the machine (groupadd, useradd) are only listed.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PORT = "8000"
USER = 10001


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def steps() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def context(target: Path) -> None:
    """What the engine would receive: the files that .dockerignore lets through, as git knows them."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        verdict = [not rule.startswith("!") for rule in rules if matches(name, rule.removeprefix("!"))]
        if verdict and not verdict[-1] and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def matches(name: str, rule: str) -> bool:
    parents = [name, *(str(parent) for parent in Path(name).parents)]
    return any(fnmatch.fnmatch(part, rule) for part in parents if part != ".") or rule == "*"


def moved(text: str, home: Path) -> str:
    return text.replace("/opt/htav", str(home / "opt/htav")).replace("/src", str(home / "src"))


def build(home: Path, sent: Path, stage: list[tuple[str, str]]) -> None:
    environment = {**os.environ, "TORCH_INDEX_URL": os.environ.get("TORCH_INDEX_URL", "")}
    (home / "src").mkdir()
    for name, rest in stage:
        if name == "ENV":
            environment |= dict(pair.split("=", 1) for pair in rest.split())
        elif name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                there = home / "src" / (target if len(sources) == 1 and target != "./" else source)
                copy = shutil.copytree if (sent / source).is_dir() else shutil.copy2
                copy(sent / source, there)
        elif name == "RUN":
            say(f"RUN {rest}")
            command = re.sub(r"^python ", f"{sys.executable} ", moved(rest, home))
            subprocess.run(["/bin/sh", "-c", command], cwd=home / "src", env=environment, check=True)


def may_run(python: Path) -> bool:
    """Whether the image's user may start this interpreter; one below /root, say, is closed to others."""
    try:
        return subprocess.run([python, "-c", ""], user=USER, group=USER, cwd="/", check=False).returncode == 0
    except PermissionError:
        return False


def serve(home: Path, stage: list[tuple[str, str]]) -> None:
    written = " ".join(rest for name, rest in stage if name == "ENV").replace("'", "")
    environment = {"HTAV_MIN_FREE_BYTES": "0", **dict(pair.split("=", 1) for pair in written.split())}
    environment |= {"PATH": f"{home}/opt/htav/bin:/usr/bin:/bin", "HTAV_DATA_DIR": str(home / "data")}
    command = json.loads(dict(stage)["ENTRYPOINT"]) + json.loads(dict(stage)["CMD"])
    check = json.loads(dict(stage)["HEALTHCHECK"].partition("CMD ")[2])
    (home / "data").mkdir()
    as_user: dict[str, int] = {}
    os.chmod(home, 0o755)
    if os.geteuid() == 0 and may_run(home / "opt/htav/bin/python"):
        os.chown(home / "data", USER, USER)
        as_user = {"user": USER, "group": USER}
    else:
        say(f"not carried out: USER {USER}, who cannot run this machine's Python")
    say(f"CMD {' '.join(command)}")
    server = subprocess.Popen(command, cwd=home / "data", env=environment, **as_user)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the health check did not pass")
            time.sleep(0.5)
        say("HEALTHCHECK passed")
    finally:
        server.terminate()
        server.wait(timeout=20)


def main() -> None:
    found = steps()
    second = [index for index, (name, _) in enumerate(found) if name == "FROM"][1]
    with tempfile.TemporaryDirectory(prefix="htav-image-", dir=os.environ.get("TMPDIR")) as folder:
        home = Path(folder)
        sent = home / "context"
        sent.mkdir()
        context(sent)
        build(home, sent, found[1:second])
        serve(home, found[second:])
    for name, rest in found[second:]:
        if name == "RUN":
            say(f"not carried out: RUN {rest}")


main()
