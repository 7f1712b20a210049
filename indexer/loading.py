"""The model for indexing, loaded late: torch takes seconds, and most commands do without it."""

from typing import TYPE_CHECKING

from indexer.config import IndexSettings
from model.memory import keep_freed_memory

if TYPE_CHECKING:
    from model import Retriever


def load_retriever(settings: IndexSettings) -> "Retriever":
    """The whole network of the configured checkpoint, computing with the configured number of threads."""
    import torch

    from model import Retriever

    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    return Retriever.embedded() if settings.model is None else Retriever.from_pretrained(settings.model)
