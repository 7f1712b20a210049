"""How far a text asks for pictures, judged from the text alone; taught by texts alone (`htav gate`, ADR 20)."""

import torch
from torch import Tensor, nn

OPEN = 20.0  # the bias of an untaught gate: every text asks for pictures, so that nothing changes


class PictureGate(nn.Module):
    """One linear layer on RoBERTa's mean state: "a man on a bench" is looked for, "rain falling" is listened for."""

    def __init__(self, gist_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(gist_width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, OPEN)

    def forward(self, gist: Tensor) -> Tensor:
        """[B, hidden] to [B], 0 (sound alone) to 1 (pictures)."""
        asked: Tensor = torch.sigmoid(self.linear(gist)).squeeze(-1)
        return asked
