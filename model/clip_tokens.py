"""Clips as padded tensors: what attention and the coarse vectors read."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipTokens:
    """C token sets, padded. A modality that is missing has no valid token."""

    video: Tensor  # [C, V, d]
    video_mask: Tensor  # [C, V]
    video_levels: Tensor  # [C, V] pyramid level
    video_places: Tensor  # [C, V] place in time, in [0, 1) of the clip
    audio: Tensor  # [C, A, d]
    audio_mask: Tensor  # [C, A], the valid tokens of a row come first
    chance: Tensor  # [C] what words cost that are not said (`model.chance`), NaN where that is not known
    glance: Tensor  # [C, d] what the pictures show as a whole (`ClipGlance`), of length 1; 0 where that is not known
    silent: Tensor  # [C] whether it has no sound; of none where sound does not count
    lasting: Tensor  # [C] for what part of its pictures' time its sound goes on, in (0, 1]

    def __len__(self) -> int:
        return self.video.shape[0]

    def audio_places(self) -> Tensor:
        """[C, A] place in time of each sound token, in (0, 1) of the clip where it is valid."""
        sounds = self.audio_mask.sum(dim=1, keepdim=True).clamp(min=1)
        return (torch.arange(self.audio.shape[1], device=sounds.device) + 0.5) / sounds * self.lasting[:, None]

    def to(self, device: torch.device) -> "ClipTokens":
        return ClipTokens(*(getattr(self, field.name).to(device) for field in fields(self)))

    def rows(self, chosen: slice) -> "ClipTokens":
        """Some of the clips."""
        return ClipTokens(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def only(self, modalities: tuple[str, ...]) -> "ClipTokens":
        """The same clips with the modalities not named masked out."""
        return replace(
            self,
            video_mask=self.video_mask & ("video" in modalities),
            audio_mask=self.audio_mask & ("audio" in modalities),
            silent=self.silent & ("audio" in modalities),
        )
