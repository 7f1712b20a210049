"""How far a text names a sound, judged from the text alone; taught by texts alone (`htav gate`, ADR 20)."""

import torch
from torch import Tensor, nn

SHUT = -20.0  # the bias of an untaught gate: no text names a sound, so that nothing changes


class SoundGate(nn.Module):
    """One linear layer on RoBERTa's mean state: "rain falling" names a sound, "a man on a bench" and "see you" do not.

    What names a sound asks for no picture, so a clip without sound is no answer; and it is no quotation, so nobody need
    say it.
    """

    def __init__(self, gist_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(gist_width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, SHUT)

    def forward(self, gist: Tensor) -> Tensor:
        """[B, hidden] to [B], 0 (pictures, or words that are said) to 1 (a sound by its name)."""
        named: Tensor = torch.sigmoid(self.linear(gist)).squeeze(-1)
        return named
