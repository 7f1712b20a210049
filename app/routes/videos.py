"""The catalog over HTTP: list, look at, correct, delete, play, picture, upload."""

import mimetypes
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from app import media, uploads
from app.deps import Limit, ServiceDep, VideoId, permit, permit_media
from app.problems import NotFound, documented
from app.schemas import UploadAccepted, VideoList, VideoOut, VideoPatch
from app.schemas.base import MAX_SECONDS
from app.schemas.videos import VideoStateName
from indexer.catalog import VideoState

router = APIRouter(prefix="/v1/videos", tags=["videos"])
reads, writes, deletes = Depends(permit("search")), Depends(permit("index")), Depends(permit("admin"))
plays = Depends(permit_media)

UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "The video or sound file"},
                    "title": {"type": "string", "maxLength": 300, "description": "Default: the file's name"},
                },
            }
        }
    },
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
PLAYED = {"video/*": BINARY, "audio/*": BINARY, "application/octet-stream": BINARY}


@router.get("", operation_id="list_videos", dependencies=[reads], responses=documented(), summary="List videos")
def list_videos(
    service: ServiceDep,
    limit: Limit = 50,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before")] = None,
    state: Annotated[VideoStateName | None, Query(description="Only videos in this state")] = None,
) -> VideoList:
    """Every video of the catalog, by id. Deleted ones are listed only when asked for by state."""
    wanted = VideoState(state) if state else None
    videos = service.library.videos(limit=limit + 1, after=str(cursor) if cursor else None, state=wanted)
    more = len(videos) > limit
    return VideoList(videos=videos[:limit], next_cursor=str(videos[limit - 1].id) if more else None)


@router.post(
    "",
    operation_id="upload_video",
    dependencies=[writes],
    status_code=202,
    response_model=UploadAccepted,
    responses=documented(507),
    openapi_extra={"requestBody": UPLOAD_BODY},
    summary="Upload a video and index it",
)
async def upload_video(request: Request, service: ServiceDep) -> Response:
    """The file is kept in the data folder and indexed by a job; follow the job at `Location`."""
    settings = service.settings
    received = await uploads.receive(
        request.stream(),
        request.headers.get("content-type", ""),
        settings,
        max_bytes=settings.max_upload_bytes,
        silence_s=settings.body_timeout_s,
    )
    accepted = await run_in_threadpool(uploads.accept, received, settings, service.catalog)
    return JSONResponse(
        accepted.model_dump(mode="json"), 202, headers={"Location": f"/v1/index-jobs/{accepted.job_id}"}
    )


@router.get(
    "/{video_id}", operation_id="get_video", dependencies=[reads], responses=documented(404), summary="One video"
)
def get_video(video_id: VideoId, service: ServiceDep) -> VideoOut:
    return service.library.video(str(video_id))


@router.patch(
    "/{video_id}",
    operation_id="change_video",
    dependencies=[writes],
    responses=documented(404),
    summary="Correct a video",
)
def change_video(video_id: VideoId, body: VideoPatch, service: ServiceDep) -> VideoOut:
    """Set title, tags or collection; a field left out stays. None is searched: scores are of pixels and sound."""
    return service.library.change(str(video_id), body)


@router.delete(
    "/{video_id}",
    operation_id="delete_video",
    dependencies=[deletes],
    status_code=204,
    responses=documented(404, 507),
    summary="Take a video out of the index",
)
def delete_video(
    video_id: VideoId,
    service: ServiceDep,
    purge: Annotated[bool, Query(description="Delete the uploaded copy too; never a file of yours")] = False,
) -> Response:
    """Index data goes; your file stays and is not indexed again until asked for by a job that names it."""
    service.library.delete(service.settings, str(video_id), purge=purge)
    return Response(status_code=204)


@router.get(
    "/{video_id}/stream",
    operation_id="stream_video",
    dependencies=[plays],
    response_class=FileResponse,
    responses=documented(404, 409, 416)
    | {200: {"content": PLAYED}, 206: {"content": PLAYED | {"multipart/byteranges": BINARY}}},
    summary="The file itself",
)
@router.head("/{video_id}/stream", include_in_schema=False, dependencies=[plays])
def stream_video(video_id: VideoId, service: ServiceDep) -> Response:
    """Answers Range requests, so that a player can seek; `#t=start,end` in the address makes it play one moment."""
    path, _ = service.library.file(str(video_id))
    return media.MediaFile(path, media_type=_media_type(path), headers={"Cache-Control": "private, max-age=3600"})


@router.get(
    "/{video_id}/thumbnail",
    operation_id="video_thumbnail",
    dependencies=[plays],
    response_class=Response,
    responses=documented(404, 409) | {200: {"content": {"image/jpeg": BINARY}}},
    summary="A still picture",
)
async def video_thumbnail(
    video_id: VideoId,
    service: ServiceDep,
    t: Annotated[float, Query(ge=0, le=MAX_SECONDS, allow_inf_nan=False, description="Second of the video")] = 0.0,
) -> Response:
    """The frame that is on the screen at second `t` (the last one when the video is shorter)."""
    path, video = await run_in_threadpool(service.library.file, str(video_id))
    if not video.has_video:
        raise NotFound("The file has sound only.", "It has no picture to show.", code="no_picture")
    picture = await service.thumbnails.get(path, min(t, video.duration_s or 0.0), video.width, video.height)
    return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


def _media_type(path: Path) -> str:
    """Sound and pictures by name; anything else must not be taken for a page by a browser."""
    guessed = mimetypes.guess_type(path.name)[0] or ""
    return guessed if guessed.startswith(("video/", "audio/")) else "application/octet-stream"
