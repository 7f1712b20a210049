"""Index jobs over HTTP: ask, look, follow, cancel, try again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from app import indexing
from app.deps import JOB_ID, JobId, Limit, ServiceDep, permit
from app.problems import documented
from app.schemas import JobAccepted, JobCreate, JobList, JobOut
from app.schemas.jobs import JobStateName
from app.service import Service
from indexer import jobs
from indexer.catalog import JobState

router = APIRouter(prefix="/v1/index-jobs", tags=["index jobs"])
reads, writes = Depends(permit("search")), Depends(permit("index"))
EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event; `data` is a JSON object",
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
ENDED = {"description": "The job has finished, and no event lies behind `Last-Event-ID`: EventSource asks no more"}
POLL_S = 0.25
PING_S = 15.0


class EventStream(StreamingResponse):
    """Server-sent events, encoded by the route: an unknown job must be a 404, not a stream that breaks."""

    media_type = "text/event-stream"


def _accepted(job_id: str) -> Response:
    return JSONResponse(JobAccepted(job_id=job_id).model_dump(), 202, headers={"Location": f"/v1/index-jobs/{job_id}"})


@router.post(
    "",
    operation_id="create_index_job",
    dependencies=[writes],
    status_code=202,
    response_model=JobAccepted,
    responses=documented(403, 404),
    summary="Index files and folders",
)
def create_index_job(body: JobCreate, service: ServiceDep) -> Response:
    """Paths lie inside the media roots that the owner has set; others are refused. Unchanged files cost nothing."""
    return _accepted(indexing.submit(service.catalog, service.settings, body.paths))


@router.get(
    "", operation_id="list_index_jobs", dependencies=[reads], responses=documented(), summary="Jobs, newest first"
)
def list_index_jobs(
    service: ServiceDep,
    limit: Limit = 20,
    cursor: Annotated[str | None, Query(pattern=JOB_ID, description="`next_cursor` of the page before")] = None,
    state: Annotated[JobStateName | None, Query(description="Only jobs in this state")] = None,
) -> JobList:
    wanted = JobState(state) if state else None
    rows = jobs.list_jobs(service.catalog, limit=limit + 1, before=cursor, state=wanted)
    page, more = rows[:limit], len(rows) > limit
    return JobList(jobs=indexing.jobs_out(service.catalog, page), next_cursor=page[-1].id if more else None)


@router.get(
    "/{job_id}", operation_id="get_index_job", dependencies=[reads], responses=documented(404), summary="One job"
)
def get_index_job(job_id: JobId, service: ServiceDep) -> JobOut:
    return indexing.job_out(service.catalog, job_id)


@router.delete(
    "/{job_id}",
    operation_id="cancel_index_job",
    dependencies=[writes],
    responses=documented(404),
    summary="Cancel a job",
)
def cancel_index_job(job_id: JobId, service: ServiceDep) -> JobOut:
    """A waiting job ends at once, a running one after the file in hand. What was indexed stays."""
    jobs.cancel(service.catalog, job_id)
    return indexing.job_out(service.catalog, job_id)


@router.post(
    "/{job_id}/retry",
    operation_id="retry_index_job",
    dependencies=[writes],
    status_code=202,
    response_model=JobAccepted,
    responses=documented(404, 409),
    summary="Try a job's failed files again",
)
def retry_index_job(job_id: JobId, service: ServiceDep) -> Response:
    """A new job for what this one left undone."""
    return _accepted(indexing.retry(service.catalog, job_id))


@router.get(
    "/{job_id}/events",
    operation_id="index_job_events",
    dependencies=[reads],
    response_class=EventStream,
    responses=documented(404) | {200: {"content": {"text/event-stream": {"schema": EVENT}}}, 204: ENDED},
    summary="Follow a job",
)
async def index_job_events(
    job_id: JobId,
    request: Request,
    service: ServiceDep,
    last_event_id: Annotated[int, Header(ge=0, le=2**63 - 1, description="Go on behind this event")] = 0,
) -> Response:
    """Server-sent events, each with an id to resume at. The stream ends with the job.

    `state`, `scanned`, `found`, `file`, `note` and, when that was asked for, `cancel_requested`.
    """
    job = await run_in_threadpool(jobs.get, service.catalog, job_id)
    if job.state in jobs.FINISHED and not await run_in_threadpool(
        jobs.events, service.catalog, job_id, after=last_event_id, limit=1
    ):
        return Response(status_code=204)  # a stream that merely ends is opened anew by the browser, for ever
    stream = _events(service, request, job_id, last_event_id)
    return EventStream(stream, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


async def _events(service: Service, request: Request, job_id: str, after: int) -> AsyncIterator[bytes]:
    """The job's events, until it has finished, the client has left, or the service goes down."""
    loop = asyncio.get_running_loop()
    ends, silent_since = loop.time() + service.settings.event_stream_s, loop.time()
    yield format_sse_event(retry=2000)
    while not service.draining and loop.time() < ends and not await request.is_disconnected():
        finished = (await run_in_threadpool(jobs.get, service.catalog, job_id)).state in jobs.FINISHED
        news = await run_in_threadpool(jobs.events, service.catalog, job_id, after=after)
        for event in news:
            after, silent_since = event.id, loop.time()
            yield format_sse_event(data_str=indexing.event_json(event), event=event.kind, id=str(event.id))
        if finished and not news:
            return
        if loop.time() - silent_since > PING_S:
            silent_since = loop.time()
            yield format_sse_event(comment="still here")
        if not news:
            await asyncio.sleep(POLL_S)
