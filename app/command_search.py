"""`htav search`: the same search as the service's, in this process."""

from pathlib import Path

from app.config import Settings
from app.library import Library
from app.schemas import SearchRequest, SearchResponse, SearchResult
from app.search import Searcher
from app.service import load_retriever
from app.telemetry import Metrics
from indexer.catalog import Catalog
from indexer.errors import NothingIndexed
from indexer.snapshot import CurrentSnapshot


class LocalResult(SearchResult):
    """A result as the owner of the files sees it."""

    path: str | None


class LocalResponse(SearchResponse):
    """The body of POST /v1/search, each result with the absolute path of its file."""

    results: list[LocalResult]  # type: ignore[assignment]  # narrower in what is only ever read


def search_document(text: str, limit: int, settings: Settings | None = None) -> LocalResponse:
    """Search the index of these settings. Raises HtavError, and ValidationError for a query or limit out of bounds."""
    request = SearchRequest(query=text, limit=limit)
    settings = settings or Settings()
    if not settings.data_dir.exists() and settings.database_url is None:
        raise NothingIndexed(
            f"Nothing has been indexed yet: there is no data folder at {settings.data_dir.absolute()}.",
            "Run `htav index FOLDER` first, or set HTAV_DATA_DIR.",
        )
    catalog = Catalog.open(settings)
    try:
        retriever = load_retriever(settings)
        library = Library(catalog)
        current = CurrentSnapshot(settings.data_dir, catalog, retriever.fingerprint)
        response = Searcher(retriever, library, current, Metrics()).search(request)
        shown = library.shown({str(result.video_id) for result in response.results})
        results = [
            LocalResult(**dict(result), path=_text(shown[str(result.video_id)].path)) for result in response.results
        ]
        return LocalResponse(**{**dict(response), "results": results})
    finally:
        catalog.close()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
