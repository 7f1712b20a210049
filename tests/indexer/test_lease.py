"""A lease is its holder's while he lives and keeps it, and nobody is taken for dead who may not be."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from indexer import jobs
from indexer.catalog import Catalog, now
from indexer.config import IndexSettings
from indexer.errors import CatalogUnusable, LeaseLost
from indexer.holder import Holder, _boot_id, process_start
from indexer.jobs import Lease
from tests.indexer.library_files import wait_for
from tests.indexer.test_jobs import claimed, edit
from tests.needs import need


def test_a_living_holder_keeps_his_job_until_the_lease_ends(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    job_id = jobs.submit(any_catalog, ["/media"])
    lease = claimed(any_catalog, any_settings)
    assert jobs.claim(any_catalog, any_settings) is None
    edit(any_catalog, job_id, lease_until=now())
    lease.heartbeat()
    assert jobs.claim(any_catalog, any_settings) is None
    edit(any_catalog, job_id, lease_until=now())
    other = claimed(any_catalog, any_settings)
    with pytest.raises(LeaseLost, match="no longer ours"):
        lease.heartbeat()
    with pytest.raises(LeaseLost):
        lease.finish({})
    assert other.heartbeat()


def test_a_lease_is_kept_whatever_its_holder_is_busy_with(any_catalog: Catalog, any_settings: IndexSettings) -> None:
    any_settings = any_settings.model_copy(update={"lease_s": 2.0})
    jobs.submit(any_catalog, ["/media"])
    with claimed(any_catalog, any_settings).kept():
        time.sleep(3.0)
        assert jobs.claim(any_catalog, any_settings) is None
    time.sleep(2.1)
    assert claimed(any_catalog, any_settings)


def test_a_lease_is_kept_past_a_moment_without_its_catalog_and_ends_with_its_job(
    catalog: Catalog, settings: IndexSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[bool] = []
    heartbeat = Lease.heartbeat

    def faltering(lease: Lease) -> bool:
        beats.append(True)
        if len(beats) == 1:
            raise CatalogUnusable("The catalog does not answer.")
        return heartbeat(lease)

    monkeypatch.setattr(Lease, "heartbeat", faltering)
    jobs.submit(catalog, ["/media"])
    lease = claimed(catalog, settings.model_copy(update={"lease_s": 0.2}))
    with lease.kept():
        wait_for(lambda: len(beats) > 2)
        lease.finish({})
        wait_for(lambda: "htav-lease" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({"lease_boot": "another boot"}, True),
        ({"lease_pid_start": 1}, True),  # the number was given to someone else
        ({"lease_pid": 2**22 + 1}, True),
        ({"lease_host": "elsewhere", "lease_boot": "another boot"}, False),  # only time can tell
        ({"lease_boot": f"{_boot_id()}/1", "lease_pid": 2**22 + 1}, False),  # another container of the same name
        ({"lease_boot": f"{_boot_id()}/1", "lease_until": datetime(2000, 1, 1, tzinfo=UTC)}, True),
        ({}, False),
    ],
)
def test_death_is_certain_or_not_assumed(
    catalog: Catalog, settings: IndexSettings, change: dict[str, object], free: bool
) -> None:
    job_id = jobs.submit(catalog, ["/media"])
    claimed(catalog, settings)
    edit(catalog, job_id, **change)
    assert (jobs.claim(catalog, settings) is not None) is free


def test_containers_of_one_name_do_not_take_each_other_for_dead(catalog: Catalog, settings: IndexSettings) -> None:
    """A real PID namespace on the same machine, in which this process has no number."""
    unshare = shutil.which("unshare")
    apart = [unshare or "unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    able = unshare is not None and subprocess.run([*apart, "true"], check=False, capture_output=True).returncode == 0
    need("namespaces", able, "this system lets nobody make a PID namespace")
    jobs.submit(catalog, ["/media"])
    job_id = claimed(catalog, settings).job_id
    holder = Holder.of(jobs.get(catalog, job_id))
    assert holder is not None and not holder.is_dead()
    program = f"from indexer.holder import Holder; print(Holder{dataclasses.astuple(holder)}.is_dead())"
    said = subprocess.run([*apart, sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "False"


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) is None
    child.wait()
    assert process_start(os.getpid()) is not None
