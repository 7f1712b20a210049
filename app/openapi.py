"""The API's description, made true: the real error shape, and examples that answer when pressed.

FastAPI documents its own validation errors, which this service never sends; they are taken out. Example identifiers are
filled in from the catalog when the document is asked for, so that "Execute" in Swagger UI finds a video and a job.
"""

import copy
from typing import Any

from app.library import Library
from app.schemas import FieldProblem, Problem
from indexer import jobs
from indexer.catalog import Catalog, VideoState

REFERENCE = "#/components/schemas/{model}"


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the problem schema, remove FastAPI's own, and link what a job's creation leads to."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for model in (FieldProblem, Problem):
        schema = model.model_json_schema(ref_template=REFERENCE, mode="serialization")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    for path in document["paths"].values():
        for operation in path.values():
            _link(operation)
    return document


def _link(operation: dict[str, Any]) -> None:
    """What is created can be looked at, followed and cancelled: say so, for people and for testing tools."""
    accepted = operation["responses"].get("202")
    if accepted is None:
        return
    accepted["headers"] = {"Location": {"description": "The job", "schema": {"type": "string"}}}
    job_id = {"job_id": "$response.body#/job_id"}
    followers = ("get_index_job", "index_job_events", "cancel_index_job", "retry_index_job")
    accepted["links"] = {name: {"operationId": name, "parameters": job_id} for name in followers}
    if operation["operationId"] == "upload_video":
        video_id = {"video_id": "$response.body#/video_id"}
        accepted["links"] |= {"get_video": {"operationId": "get_video", "parameters": video_id}}


def with_live_examples(document: dict[str, Any], library: Library, catalog: Catalog) -> dict[str, Any]:
    """A copy whose example identifiers exist. To change or delete keeps an invented one: a press must cost nothing."""
    videos = library.videos(limit=1, after=None, state=VideoState.READY)
    newest = jobs.list_jobs(catalog, limit=1)
    live = {}
    if videos:
        live["video_id"] = str(videos[0].id)
    if newest:
        live["job_id"] = newest[0].id
    document = copy.deepcopy(document)
    for path in document["paths"].values():
        for method, operation in path.items():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in live and method not in ("delete", "patch"):
                    parameter["schema"]["examples"] = [live[parameter["name"]]]
                    parameter["example"] = live[parameter["name"]]
    return document
