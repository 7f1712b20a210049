"""Promises of the repository itself: what it ships, what it never contains, and that its documents tell the truth."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from model.errors import HtavError

ROOT = Path(__file__).parents[1]
ROOMS = ("model", "indexer", "app")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Code


def test_no_module_is_longer_than_400_lines() -> None:
    sizes = {relative(p): len(p.read_text().splitlines()) for p in python_files(*ROOMS, "migrations", "benchmarks")}
    assert len(sizes) > 10
    assert {name: lines for name, lines in sizes.items() if lines > 400} == {}


def test_no_function_of_the_rooms_is_longer_than_40_lines() -> None:
    found = {
        f"{relative(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in python_files(*ROOMS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
        if node.end_lineno - (node.body[0].lineno if ast.get_docstring(node) is None else docstring_end(node)) >= 40
    }
    assert found == {}


def docstring_end(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return node.body[0].end_lineno or node.lineno


def test_every_module_says_why_it_exists() -> None:
    silent = [
        relative(p)
        for p in python_files(*ROOMS)
        if p.name != "__init__.py" and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []


UNSAFE = re.compile(r"\bpickle\b|torch\.load\b|allow_pickle|\bjoblib\b")
ALLOWED_TO_LOAD = {"model/training/trunks.py"}


def code_without_text(source: str) -> str:
    """The module as the interpreter sees it: comments and docstrings may speak of what code must not do."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def test_nothing_unpickles() -> None:
    users = {relative(p) for p in python_files(*ROOMS, "migrations") if UNSAFE.search(code_without_text(p.read_text()))}
    assert users <= ALLOWED_TO_LOAD


def test_the_one_allowed_load_reads_weights_only() -> None:
    calls = [
        node
        for name in ALLOWED_TO_LOAD
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert all(
        {"weights_only": True} == {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg == "weights_only"}
        for call in calls
    )


@pytest.mark.parametrize(
    "source", ["import pickle", "torch.load(path)", "np.load(path, allow_pickle=True)", "from joblib import load"]
)
def test_the_search_for_unpickling_has_teeth(source: str) -> None:
    assert UNSAFE.search(code_without_text(source))


# Errors


def error_classes() -> list[type[HtavError]]:
    """Every error class of the rooms, found by importing each module that defines one."""
    for path in python_files(*ROOMS):
        if re.search(r"^class \w*(Error|Problem)\b", path.read_text(), re.MULTILINE):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found, waiting = [], [HtavError]
    while waiting:
        waiting += (subclasses := waiting.pop().__subclasses__())
        found += [cls for cls in subclasses if cls.__module__.partition(".")[0] in ROOMS]
    return sorted(set(found), key=lambda cls: cls.__qualname__)


def test_every_error_class_is_explained_where_it_is_defined() -> None:
    """By a docstring of its own, or in the tree of errors that opens its module."""
    classes = error_classes()
    assert len(classes) > 5
    assert [
        cls.__qualname__
        for cls in classes
        if not cls.__doc__ and cls.__name__ not in (sys.modules[cls.__module__].__doc__ or "")
    ] == []


ABSTRACT = {"error", "app_error", "indexer_error", "storage_error", "index_unusable"}


def code_in(node: ast.expr | None) -> str | None:
    text = node.value if isinstance(node, ast.Constant) else None
    return text if isinstance(text, str) and re.fullmatch("[a-z]+(_[a-z]+)*", text) else None


def codes_of(tree: ast.AST) -> set[str]:
    """Codes that a module can report: attributes, `code="..."`, `...Error("code", ...)`, members of `...Code`."""
    found: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in ast.unparse(node).splitlines():
                found |= set(re.findall(r"^    code\b[^=]*= \(?'(\w+)'", line))
        elif isinstance(node, ast.Call) and not ast.unparse(node.func).endswith("Field"):
            found |= {code_in(keyword.value) for keyword in node.keywords if keyword.arg == "code"}
            if re.search("(Error|Failed)$", ast.unparse(node.func)) and len(node.args) > 1:
                found.add(code_in(node.args[0]))
        elif isinstance(node, ast.Assign) and re.fullmatch(r"\w*Code", ast.unparse(node.targets[0])):
            found |= {code_in(part) for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    return {code for code in found if code is not None}


def test_every_error_code_is_in_the_documents() -> None:
    codes = set().union(*(codes_of(ast.parse(path.read_text())) for path in python_files(*ROOMS))) - ABSTRACT
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(codes) > 30
    assert sorted(codes - set(re.findall(r"`(\w+)`", " ".join(rows)))) == []


# Documents


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`((?:make|htav) [^`]+)`", text)
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()] + inline


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_make_targets_named_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {m[1] for line in shell_lines(document.read_text()) if (m := re.match(r"make ([a-z-]+)", line))}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_htav_commands_and_options_named_in_documents_exist(document: Path) -> None:
    import typer.main

    from app.cli import app

    root = typer.main.get_command(app)
    for line in shell_lines(document.read_text()):
        if not line.startswith("htav ") or line.startswith("htav --"):
            continue
        names, *words = re.split(r"\s+[|#&>]", line)[0].split()[1:]
        for name in names.split("|"):
            command, rest = root.commands[name], words  # type: ignore[attr-defined]
            while hasattr(command, "commands"):
                command, rest = command.commands[rest[0]], rest[1:]
            options = {option for param in command.params for option in param.opts + param.secondary_opts}
            assert {w.partition("=")[0].strip("[]") for w in rest if w.startswith(("-", "[-"))} <= options, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_settings_named_in_documents_exist() -> None:
    from app.config import Settings

    known = {f"HTAV_{name.upper()}" for name in Settings.model_fields}
    known |= {name for path in python_files(*ROOMS) for name in re.findall(r'"(HTAV_[A-Z_]+)"', path.read_text())}
    others = {"HTAV_REQUIRE", "HTAV_DEV_DATA", "HTAV_MEDIA", "HTAV_PORT", "HTAV_POSTGRES_PASSWORD"}  # tests and compose
    named = {name for document in DOCUMENTS for name in re.findall(r"HTAV_[A-Z_]+[A-Z]", document.read_text())}
    compose = set(re.findall(r"HTAV_[A-Z_]+[A-Z]", (ROOT / "docker-compose.yml").read_text()))
    assert sorted((named | compose) - known - others) == []


# Packaging and container


def test_the_compose_file_fits_its_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_hardened() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"api", "worker", "postgres"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert any(mount.startswith("/tmp:size=") for mount in service["tmpfs"]), name
        assert service["mem_limit"] and service["healthcheck"]["test"], name
    assert services["postgres"]["profiles"] == ["postgres"]


def test_media_are_read_only_and_the_worker_has_no_way_out() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name in ("api", "worker"):
        media = [mount for mount in compose["services"][name]["volumes"] if ":/media" in mount]
        assert media and all(mount.endswith(":ro") for mount in media)
        assert compose["services"][name]["environment"]["HF_HUB_OFFLINE"] == "1"
    assert [compose["networks"][n].get("internal") for n in compose["services"]["worker"]["networks"]] == [True]


def test_every_setting_reaches_the_containers() -> None:
    """But the address to listen on, which is the containers' own."""
    from app.config import Settings

    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    rows = re.findall(r"^\| (`HTAV_[^|]+) \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert len(documented) > 10
    wanted = (documented | {f"HTAV_{name.upper()}" for name in Settings.model_fields}) - {"HTAV_HOST", "HTAV_PORT"}
    fixed = {"HTAV_DATA_DIR", "HTAV_MEDIA_ROOTS", "HTAV_ALLOWED_HOSTS"}
    for name in ("api", "worker"):
        given = compose["services"][name]["environment"]
        assert sorted(wanted - set(given)) == [], name
        assert {given[setting] for setting in wanted - fixed} == {None}, "the host's value, if any"


def test_the_database_is_ready_when_it_answers_by_tcp() -> None:
    """As the service asks it: the image's first start sets up the database behind the socket file alone."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    asked = compose["services"]["postgres"]["healthcheck"]["test"]
    assert asked[:2] == ["CMD", "pg_isready"] and asked[asked.index("--host") + 1] == "127.0.0.1"


def test_the_container_answers_to_this_machines_names_alone_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens on all of its addresses: without a list of names, any page could rebind its own to it."""
    from app.config import Settings
    from app.main import hosts

    api = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["api"]
    default = re.fullmatch(r"\$\{HTAV_ALLOWED_HOSTS:-(.+)\}", api["environment"]["HTAV_ALLOWED_HOSTS"])
    assert default is not None
    assert f"HTAV_ALLOWED_HOSTS={default[1]}" in dict(dockerfile_steps())["ENV"].split(), "without compose, too"
    monkeypatch.setenv("HTAV_ALLOWED_HOSTS", default[1])
    listens_on = api["command"][api["command"].index("--host") + 1]
    assert set(hosts(Settings(host=listens_on))) == {"localhost", "127.0.0.1", "[::1]", listens_on}


def dockerfile_steps() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def test_the_image_has_two_stages_a_health_check_and_no_root() -> None:
    steps = dockerfile_steps()
    names = [name for name, _ in steps]
    last_stage = steps[len(names) - 1 - names[::-1].index("FROM") :]
    assert names.count("FROM") == 2
    assert ("ARG", 'TORCH_INDEX_URL=""') in steps
    assert [rest for name, rest in last_stage if name == "USER"] == ["10001:10001"]
    assert "HEALTHCHECK" in dict(last_stage)
    assert not any("pip install" in rest for name, rest in last_stage if name == "RUN")


def test_what_the_dockerfile_copies_exists_and_reaches_the_engine() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sources = [
        source
        for name, rest in dockerfile_steps()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert {"model", "indexer", "app", "migrations", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        verdict = [not rule.startswith("!") for rule in rules if fnmatch.fnmatch(source, rule.removeprefix("!"))]
        assert verdict and verdict[-1] is False, f".dockerignore hides {source}"


def test_the_wheel_holds_all_that_a_service_needs(tmp_path: Path) -> None:
    unneeded = {".git", ".venv", ".demo", "tests", "docs", "build", "data", "runs"}
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=lambda at, _: unneeded if Path(at) == ROOT else {"__pycache__"})
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}"]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        relative(path)
        for pattern in ("model/**/*.py", "indexer/**/*.py", "app/**/*.py", "app/web/**/*", "model/presets/*.json",
                        "model/weights/**/*", "migrations/**/*.py", "migrations/*.mako")
        for path in ROOT.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert wanted and sorted(wanted - inside) == []
    assert any(name.endswith("licenses/LICENSE-WEIGHTS") for name in inside)


def test_the_constraints_name_a_matching_trio() -> None:
    pins = dict(re.findall(r"^(torch\w*)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert pins == {"torch": "2.14.1", "torchvision": "0.29.1", "torchaudio": "2.11.0"}


def test_the_notice_names_each_shipped_trunk_by_its_pinned_digest() -> None:
    from model.training import trunks

    notice = (ROOT / "NOTICE").read_text()
    for file in (trunks.LITE2, trunks.MINILM_WEIGHTS, trunks.MINILM_TOKENIZER):
        assert file.sha256 in notice and f"{file.package} {file.version}" in notice
    for word in ("FFmpeg", "libx264", "eSpeak NG", "Swagger UI"):
        assert word in notice
