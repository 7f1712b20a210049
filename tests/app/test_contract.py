"""The whole API against its own description (T18): valid and invalid requests, every check of schemathesis.

HTAV_API_EXAMPLES sets the examples an operation: 50 by default, 200 and more for a thorough run.
"""

import os
import shutil
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import BaseSchema, GenerationMode

from app.security import add_key
from tests.app.conftest import Library, Served, serve, until
from tests.app.test_docs import OPERATIONS

EXAMPLES = int(os.environ.get("HTAV_API_EXAMPLES", "50"))
HARD = settings(
    max_examples=max(5, EXAMPLES // 2),  # half of them valid, half of them not
    deadline=None,
    derandomize=EXAMPLES <= 50,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
NOTHING_TO_GIVE = {"livez", "readyz", "metrics", "version"}  # nor, therefore, to get wrong
CASES = [
    pytest.param(name, mode, id=f"{name}-{mode.value}")
    for name in sorted(OPERATIONS)
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or name not in NOTHING_TO_GIVE
]
# 422 is a true answer to a valid body: a query without a known word, a name of no media file.
ACCEPTED = ["2xx", "400", "403", "404", "409", "410", "422"]


@pytest.fixture(scope="module")
def target(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that may be changed and asks for a key; its event streams end soon, as nobody works on its jobs."""
    folder = tmp_path_factory.mktemp("contract")
    media = folder / "media"
    shutil.copytree(library.media, media)
    changes = {"event_stream_s": 0.2, "media_roots": [media], "require_api_key": True, "requests_per_minute": 10**6}
    with serve(library.copy(folder, **changes).settings) as running:
        yield running


@pytest.fixture(scope="module")
def api(target: Served) -> BaseSchema:
    checks = {"positive_data_acceptance": {"expected-statuses": ACCEPTED}}
    key = add_key(target.service.catalog, "contract", ["admin"])
    until(lambda: target.client.get("/v1/videos", headers={"X-API-Key": key}).status_code == 200)
    auth = {"openapi": {"APIKeyHeader": {"api_key": key}, "HTTPBearer": {"bearer": key}}}
    # Deleting a job cancels it; it can still be looked at, so it is not a resource that is gone.
    jobs = [{"include-path-regex": "^/v1/index-jobs", "checks": {"use_after_free": {"enabled": False}}}]
    config = schemathesis.Config.from_dict({"checks": checks, "auth": auth, "operations": jobs})
    return schemathesis.openapi.from_url(f"{target.client.base_url}/openapi.json", config=config)


def test_all_that_can_be_given_is_also_given_wrongly(api: BaseSchema) -> None:
    operations = {name: api.find_operation_by_id(name) for name in OPERATIONS}
    without = {name for name, found in operations.items() if not (found.body or any(found.iter_parameters()))}
    assert without == NOTHING_TO_GIVE


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_every_answer_is_as_described(api: BaseSchema, name: str, mode: GenerationMode) -> None:
    operation = api.find_operation_by_id(name)

    @HARD
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(timeout=20)

    ask()


def test_what_answers_link_to_is_as_described(api: BaseSchema) -> None:
    """Jobs and videos that were made are followed, cancelled, tried again: chains of requests, not single ones."""
    machine = api.as_state_machine()
    run_state_machine_as_test(
        machine, settings=settings(HARD, max_examples=max(10, EXAMPLES // 5), stateful_step_count=6)
    )
