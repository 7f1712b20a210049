"""The whole API against its own description (T18): valid and invalid requests, every check of schemathesis.

HTAV_API_EXAMPLES sets the examples an operation: 50 by default, 200 and more for a thorough run.
"""

import os
import shutil
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from tests.app.conftest import Library, Served, serve

EXAMPLES = int(os.environ.get("HTAV_API_EXAMPLES", "50"))
HARD = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 50,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def target(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that may be changed, and whose event streams end soon because nobody works on its jobs."""
    folder = tmp_path_factory.mktemp("contract")
    media = folder / "media"
    shutil.copytree(library.media, media)
    with serve(library.copy(folder, event_stream_s=0.2, media_roots=[media]).settings) as running:
        yield running


@pytest.fixture(scope="module")
def api(target: Served) -> schemathesis.BaseSchema:
    # 422 is a true answer to a valid body: a query without a known word, a cursor of another question.
    accepted = ["2xx", "400", "403", "404", "409", "410", "422"]
    checks = {"positive_data_acceptance": {"expected-statuses": accepted}}
    config = schemathesis.Config.from_dict({"checks": checks})
    return schemathesis.openapi.from_url(f"{target.client.base_url}/openapi.json", config=config)


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@HARD
def test_every_answer_is_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(timeout=20)
