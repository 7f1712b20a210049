"""POST /v1/search and GET /v1/videos/{id}/similar."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.deps import ServiceDep, VideoId, permit
from app.problems import CLIENT_LEFT, documented
from app.schemas import SearchRequest, SearchResponse, SimilarResponse, SimilarResult
from app.search import moment
from app.service import Service
from app.similar import similar

router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(permit("search"))])


@router.post(
    "/search",
    operation_id="search",
    response_model=SearchResponse,
    responses=documented(409, 410),
    summary="Find moments by a sentence",
)
async def search(body: SearchRequest, request: Request, service: ServiceDep) -> SearchResponse | Response:
    """Videos that answer the sentence, best first, each with the moments where it does.

    Describe in English what is seen, said or heard. `confidence` says how far to trust a result: `none` means that
    nothing in the library answers. Follow `next_cursor` for more.
    """
    engine = service.search.engine
    answer = asyncio.ensure_future(engine.submit(body))
    left = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            return Response(status_code=CLIENT_LEFT)
        response = await answer
    finally:
        left.cancel()
        answer.cancel()
    if await run_in_threadpool(lambda: service.guard.active):
        service.links.sign(response.results)
    return response


async def _disconnected(request: Request) -> None:
    """Ends when the client goes away; the body was read before the route was entered."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get(
    "/videos/{video_id}/similar",
    operation_id="similar_videos",
    responses=documented(404, 409),
    summary="More like this",
)
async def similar_videos(
    video_id: VideoId, service: ServiceDep, limit: Annotated[int, Query(ge=1, le=100, description="Videos")] = 10
) -> SimilarResponse:
    """Videos that look and sound like this one."""
    return await run_in_threadpool(_similar, service, str(video_id), limit)


def _similar(service: Service, video_id: str, limit: int) -> SimilarResponse:
    service.library.video(video_id)
    snapshot = service.search.current.get()
    results = [
        SimilarResult.model_validate(
            {
                "rank": rank,
                "video_id": neighbour.shown.id,
                "title": neighbour.shown.title,
                "uri": neighbour.shown.uri,
                "score": round(neighbour.score, 6),
                "moments": [moment(neighbour.shown.id, neighbour.span)],
            }
        )
        for rank, neighbour in enumerate(similar(service.library, snapshot, video_id, limit), 1)
    ]
    if service.guard.active:
        service.links.sign(results)
    body = {"video_id": video_id, "snapshot": snapshot.id, "model": snapshot.model, "results": results}
    return SimilarResponse.model_validate(body)
