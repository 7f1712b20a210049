"""What routes ask for: the service, permission, identifiers."""

from collections.abc import Callable
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.base import SecurityBase

from app.schemas.base import EXAMPLE_JOB, EXAMPLE_VIDEO
from app.security import Scope
from app.service import Service

api_key_header: SecurityBase = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="Needed once a key was made (`htav key add`)"
)
bearer: SecurityBase = HTTPBearer(auto_error=False, description="The same key as a bearer token")


def get_service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(get_service)]


def permit(scope: Scope) -> Callable[..., None]:
    """A dependency that lets through who may do this."""

    def check(
        service: ServiceDep,
        key: Annotated[str | None, Security(api_key_header)],
        token: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    ) -> None:
        service.guard.check(key or (token.credentials if token else None), scope)

    return check


def permit_media(
    service: ServiceDep,
    video_id: Annotated[UUID, Path()],
    key: Annotated[str | None, Security(api_key_header)],
    token: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    expires: Annotated[int | None, Query(ge=0, le=2**53, description="From a search's answer")] = None,
    signature: Annotated[str | None, Query(max_length=128, description="From a search's answer")] = None,
) -> None:
    """Lets through who may search, and links out of a search's answer: a picture in a page cannot send a key."""
    if expires is not None and signature is not None and service.links.opens(str(video_id), expires, signature):
        return
    service.guard.check(key or (token.credentials if token else None), "search")


JOB_ID = "^[0-9A-HJKMNP-TV-Z]{26}$"
VideoId = Annotated[UUID, Path(description="Id of a video", examples=[EXAMPLE_VIDEO])]
JobId = Annotated[
    str,
    Path(description="Id of a job", pattern=JOB_ID, examples=[EXAMPLE_JOB]),
]
Limit = Annotated[int, Query(ge=1, le=100, description="Entries a page")]
