"""T29: migrations run up, down and up with data on both databases, end in the models' schema, and ship in the wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

from indexer.catalog import Base, Catalog, Video, alembic_config, downgrade, make_engine, upgrade
from indexer.config import IndexSettings
from tests.index_samples import fill, ident

ROOT = Path(__file__).parents[2]


def schema(engine: Engine) -> dict[str, object]:
    """Everything about the tables that a migration could get wrong, in an order of its own."""
    inspector = inspect(engine)
    return {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            "keys": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(str(sorted(key.items(), key=str)) for key in inspector.get_foreign_keys(table)),
            "unique": sorted(str(u["name"]) for u in inspector.get_unique_constraints(table)),
            "indexes": sorted(str(i["name"]) for i in inspector.get_indexes(table)),
        }
        for table in sorted(inspector.get_table_names())
    }


def test_up_down_up_with_data(any_settings: IndexSettings) -> None:
    catalog = Catalog.open(any_settings)
    first = schema(catalog.engine)
    fill(any_settings, catalog, [1, 2])
    downgrade(catalog.engine, "base")
    assert inspect(catalog.engine).get_table_names() == ["alembic_version"]
    upgrade(catalog.engine)
    assert schema(catalog.engine) == first
    fill(any_settings, catalog, [1, 2])
    with catalog.session() as session:
        assert set(session.scalars(select(Video.id))) == {ident(1), ident(2)}
    catalog.close()


def test_the_scripts_end_in_the_models_schema(any_settings: IndexSettings) -> None:
    catalog = Catalog.open(any_settings)
    with catalog.engine.begin() as connection:
        command.check(alembic_config(connection))
    catalog.close()


def test_the_check_sees_a_column_without_a_script(any_settings: IndexSettings) -> None:
    """The control: the test above would fail if someone forgot the migration."""
    catalog = Catalog.open(any_settings)
    with catalog.engine.begin() as connection:
        connection.execute(text("ALTER TABLE video ADD COLUMN surprise INTEGER"))
    with catalog.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [difference[0] for difference in differences] == ["remove_column"]
    catalog.close()


def test_a_migration_that_fails_leaves_the_old_schema(settings: IndexSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.data_dir.mkdir()
    engine = make_engine(settings.sqlalchemy_url)
    names: list[str] = []

    def fail_half_way(_: object, name: str) -> str:
        names.append(name)
        if len(names) > 20:
            raise RuntimeError("power cut")
        return name

    monkeypatch.setattr("alembic.operations.Operations.f", fail_half_way)
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(engine)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_alembic_finds_its_settings_in_pyproject(tmp_path: Path) -> None:
    environment = {"HTAV_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""}
    for action in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *action], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "catalog.db").exists()


def test_a_wheel_brings_its_migrations(tmp_path: Path) -> None:
    """Only the packages this needs are put into the wheel: building all of them would copy the weights."""
    source = tmp_path / "source"
    for room in ("indexer", "migrations"):
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "model").mkdir()
    for name in ("errors.py", "tokens.py"):
        shutil.copy(ROOT / "model" / name, source / "model" / name)
    (source / "model" / "__init__.py").write_text("")
    shutil.copy(ROOT / "pyproject.toml", source)
    for name in ("README.md", "LICENSE", "LICENSE-WEIGHTS", "NOTICE"):
        (source / name).write_text("x")
    build = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    installed = tmp_path / "installed"
    with zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(installed)
    program = (
        "from indexer.catalog import Catalog; from indexer.config import IndexSettings\n"
        f"c = Catalog.open(IndexSettings(data_dir={str(tmp_path / 'data')!r}))\n"
        "import migrations; print(migrations.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed))
