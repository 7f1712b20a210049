"""What RoBERTa's frozen layers say of every text, computed once: training then costs only the layers that learn."""

import torch
from torch import Tensor

from model.text import TextEncoder

KEPT = 50_000  # texts: about half a gigabyte


class FrozenContext:
    """Stands in for `TextEncoder.contextual` (Eq. 9) while its embeddings and first layers do not learn.

    States are kept as fp16 by token ids, in memory: about 10 KB a caption. Beyond `KEPT` texts the oldest are dropped.
    """

    def __init__(self, text: TextEncoder, frozen_layers: int) -> None:
        self._text, self._frozen = text, frozen_layers
        self._states: dict[tuple[int, ...], Tensor] = {}  # the oldest first

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        B, N = ids.shape
        x = self._below(ids, mask)
        for layer in self._text.layers[self._frozen :]:
            x = layer(x, mask)
        return x

    @torch.no_grad()
    def _below(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The states [B, N, hidden] that the first moving layer starts from."""
        B, N = ids.shape
        lengths = mask.sum(dim=1).tolist()
        keys = [tuple(ids[row, :length].tolist()) for row, length in enumerate(lengths)]
        for row, key in enumerate(keys):
            if key not in self._states:
                # Each by itself: in a batch the last bits depend on its mates, and a resumed run has other batches.
                alone = mask[row : row + 1, : lengths[row]]
                x = self._text.embeddings(ids[row : row + 1, : lengths[row]], alone)
                for layer in self._text.layers[: self._frozen]:
                    x = layer(x, alone)
                self._states[key] = x[0].half()
        states = [self._states[key].float() for key in keys]
        while len(self._states) > KEPT:
            del self._states[next(iter(self._states))]
        padded: Tensor = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        return torch.nn.functional.pad(padded, (0, 0, 0, N - padded.shape[1]))


def freeze_text_trunk(text: TextEncoder, layers: int) -> None:
    """Stop RoBERTa's embeddings and first `layers` layers from learning and cache their states."""
    text.embeddings.requires_grad_(False)
    text.layers[:layers].requires_grad_(False)
    text.contextual = FrozenContext(text, layers)  # type: ignore[method-assign]
