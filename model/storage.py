"""How weights are kept on disk: fp16, but word embeddings and some wide layers as int8 rows with a scale each.

Saving what was loaded gives the same numbers again (where a row's largest number is above 0.01), but for wide layers of
checkpoints from before there was a glance, which had them in fp16.
"""

import re
from typing import Final

import torch
from torch import Tensor

BY_ROWS: Final = re.compile(
    r"text\.embeddings\.word_embeddings\.weight|(coarse\.(gist|widened|glance)|video\.glance)\.(wide|out)\.weight"
)
SCALE: Final = ".scale"  # after a weight's name
_LARGEST = 127


def narrowed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights as they are stored."""
    stored = {name: _half(value) for name, value in state.items()}
    for name in filter(BY_ROWS.fullmatch, state):
        rows = state[name].detach().float()
        scale = (rows.abs().amax(dim=1) / _LARGEST).half().float()
        divisor = torch.where(scale > 0, scale, 1.0).unsqueeze(1)
        stored[name] = (rows / divisor).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        stored[name + SCALE] = scale.half()
    return stored


def widened(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored weights in fp32; what a checkpoint has no scales for is fp16 like the rest."""
    state = {name: value.float() if value.is_floating_point() else value for name, value in stored.items()}
    for name in filter(BY_ROWS.fullmatch, stored):
        scale = state.pop(name + SCALE, None)
        if scale is not None:
            state[name] = state[name].float() * scale.unsqueeze(1)
    return state


def _half(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()
