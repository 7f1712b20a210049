"""A pretrained Audio Spectrogram Transformer as the audio trunk of Eq. 6 (Gong et al. 2021), in transformers' layers.

It has no key mask, so it always sees windows of one fixed length, padded with the value that it was trained with; a
longer sound is cut into several. The shape comes from the config; weights through `load_trunks` or a checkpoint.
"""

import torch
from torch import Tensor, nn

from model.config import AudioConfig
from model.transforms import PADDING

WINDOW = 1024  # mel frames, 10.24 s
_PATCH, _STRIDE, _STEP = 16, 10, 4  # mel frames: of a patch, between patches, between the states that are handed on
_SPECIAL = 2  # [CLS] and the distillation token come first


class AstTrunk(nn.Module):
    """Log-mel [C, frames, mel] with lengths [C] to a state every 40 ms, [C, S, width], zero where invalid; lengths."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        from transformers import ASTConfig, ASTModel

        shape = ASTConfig(
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            num_mel_bins=config.mel_bins,
            max_length=WINDOW,
        )
        self.net = ASTModel(shape)
        self.rows = (config.mel_bins - _PATCH) // _STRIDE + 1
        self.register_buffer("resample", resampling(), persistent=False)
        self.resample: Tensor

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        C, frames, mel_bins = mel.shape
        windows = max(-(-frames // WINDOW), 1)
        padded = mel.new_full((C, windows * WINDOW, mel_bins), PADDING)
        padded[:, :frames] = mel
        invalid = torch.arange(windows * WINDOW, device=mel.device) >= lengths.unsqueeze(1)
        padded = padded.masked_fill(invalid.unsqueeze(-1), PADDING).view(C * windows, WINDOW, mel_bins)
        heard = ~invalid.view(C * windows, WINDOW).all(dim=1)
        states = mel.new_zeros(C * windows, WINDOW // _STEP, self.net.config.hidden_size)
        if bool(heard.any()):
            states[heard] = self.window(padded[heard]).to(states.dtype)
        lengths = (lengths + _STEP - 1) // _STEP
        states = states.view(C, windows * WINDOW // _STEP, -1)[:, : max(int(lengths.max()), 1)]
        valid = torch.arange(states.shape[1], device=mel.device) < lengths.unsqueeze(1)
        return states * valid.unsqueeze(-1), lengths

    def window(self, mel: Tensor) -> Tensor:
        """Eq. 6 on whole windows: [M, 1024, mel] to the mean over frequency rows, resampled, [M, 256, width]."""
        patches = self.net(mel).last_hidden_state[:, _SPECIAL:]  # rows of frequency one after another
        by_time: Tensor = torch.unflatten(patches, 1, (self.rows, -1)).mean(dim=1)
        return self.resample @ by_time


def resampling() -> Tensor:
    """[256, 101]: linear interpolation from the middles of patches to the middles of states, held at the ends."""
    patches = (WINDOW - _PATCH) // _STRIDE + 1
    middles = torch.arange(WINDOW // _STEP) * _STEP + (_STEP - 1) / 2
    places = ((middles - (_PATCH - 1) / 2) / _STRIDE).clamp(0, patches - 1)
    return (1.0 - (places.unsqueeze(1) - torch.arange(patches)).abs()).clamp(min=0.0)
