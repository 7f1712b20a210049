"""Health, metrics, version: for operators and probes. They need no key; compose and Kubernetes have none."""

from fastapi import APIRouter
from starlette.responses import Response

from app import about
from app.deps import ServiceDep
from app.problems import documented
from app.schemas import Liveness, Readiness, VersionOut

router = APIRouter(tags=["operations"])


@router.get("/livez", operation_id="livez", summary="The process answers")
async def livez() -> Liveness:
    return Liveness()


@router.get("/readyz", operation_id="readyz", responses=documented(), summary="Searches are answered")
def readyz(service: ServiceDep) -> Readiness:
    """200 when the model is warm, the catalog answers and the index is open (or nothing was indexed yet); else 503."""
    snapshot = service.check_ready()
    return Readiness(
        status="ready", snapshot=snapshot.id if snapshot else None, videos=snapshot.videos if snapshot else 0
    )


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="For Prometheus",
)
def metrics(service: ServiceDep) -> Response:
    service.count_files()
    text, media_type = service.metrics.text()
    return Response(text, media_type=media_type)


@router.get("/version", operation_id="version", summary="Versions and licences")
def version(service: ServiceDep) -> VersionOut:
    retriever = service.retriever
    return VersionOut(
        version=about.version(),
        model=retriever.name if retriever else None,
        fingerprint=retriever.fingerprint if retriever else None,
        code_licence=about.CODE_LICENCE,
        weights_licence=about.WEIGHTS_LICENCE,
        languages=["en"],
    )
