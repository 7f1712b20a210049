"""The network: encoders, cross-attention fusion, training, evaluation. Imports nothing of `indexer` or `app`.

Importing this package is light; `Retriever` loads torch on first touch only.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.retriever import Retriever
    from model.tokens import TokenSet

__all__ = ["Retriever", "TokenSet"]


def __getattr__(name: str) -> Any:
    if name == "Retriever":
        from model.retriever import Retriever

        return Retriever
    if name == "TokenSet":
        from model.tokens import TokenSet

        return TokenSet
    raise AttributeError(f"module 'model' has no attribute {name!r}")
