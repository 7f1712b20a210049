"""RoBERTa's states of every text, computed once: training with a frozen text trunk then costs no transformer pass."""

import torch
from torch import Tensor

from model.text import TextEncoder


class FrozenContext:
    """Stands in for `TextEncoder.contextual` (Eq. 9) while its layers do not learn.

    States are kept as fp16 by token ids, in memory: about 10 KB a caption.
    """

    def __init__(self, text: TextEncoder) -> None:
        self._compute = text.contextual
        self._states: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        B, N = ids.shape
        lengths = mask.sum(dim=1).tolist()
        keys = [tuple(ids[row, :length].tolist()) for row, length in enumerate(lengths)]
        for row, key in enumerate(keys):
            if key not in self._states:
                # Each by itself: in a batch the last bits depend on its mates, and a resumed run has other batches.
                alone = self._compute(ids[row : row + 1, : lengths[row]], mask[row : row + 1, : lengths[row]])
                self._states[key] = alone[0].half()
        states = [self._states[key].float() for key in keys]
        padded: Tensor = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        return torch.nn.functional.pad(padded, (0, 0, 0, N - padded.shape[1]))


def freeze_text_trunk(text: TextEncoder) -> None:
    """Stop RoBERTa's layers and embeddings from learning and cache their states."""
    for part in (text.embeddings, text.layers):
        part.requires_grad_(False)
    text.contextual = FrozenContext(text)  # type: ignore[method-assign]
