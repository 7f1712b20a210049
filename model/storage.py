"""How weights are kept on disk: fp16, but the rows of word embeddings as int8 with a scale each.

Saving what was loaded gives the same numbers again (where a row's largest number is above 0.01).
"""

import torch
from torch import Tensor

BY_ROWS = "text.embeddings.word_embeddings.weight"
SCALES = f"{BY_ROWS}.scale"
_LARGEST = 127


def narrowed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights as they are stored."""
    stored = {name: _half(value) for name, value in state.items()}
    if BY_ROWS in state:
        rows = state[BY_ROWS].detach().float()
        scale = (rows.abs().amax(dim=1) / _LARGEST).half().float()
        divisor = torch.where(scale > 0, scale, 1.0).unsqueeze(1)
        stored[BY_ROWS] = (rows / divisor).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        stored[SCALES] = scale.half()
    return stored


def widened(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored weights in fp32; of a checkpoint without scales word embeddings are fp16 like the rest."""
    state = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
    scale = state.pop(SCALES, None)
    if scale is not None:
        state[BY_ROWS] = state[BY_ROWS].float() * scale.unsqueeze(1)
    return state


def _half(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()
