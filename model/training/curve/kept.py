"""What the trunks say of pictures and texts, computed once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.data.features import FeatureStore
from model.data.items import Shape, content_key, decode, look
from model.data.manifest import Item
from model.progress import Progress
from model.retriever import Retriever
from model.training.options import TrainingError

TEXT_BATCH: Final = 64


class Kept:
    """What the trunks of a network say of pictures and texts, each computed once and kept in a folder."""

    def __init__(self, retriever: Retriever, folder: Path, progress: Progress) -> None:
        self.retriever, self.progress = retriever, progress
        folder = folder / retriever.fingerprint
        self.pictures = FeatureStore(folder / "pictures", [(width, 1, 1) for width in retriever.config.video.channels])
        self.texts = FeatureStore(folder / "texts", [(retriever.config.text.hidden, 1, 1)])

    @torch.inference_mode()
    def see(self, items: Sequence[Item], what: str) -> list[list[str]]:
        """The keys among `pictures` of each item's clips. Raises MediaError, TrainingError for one without frames."""
        video, found = self.retriever.video, []
        with self.pictures.writing():
            for done, item in enumerate(items, 1):
                spans = look(item).spans
                found.append([f"{content_key(item)}/{number}" for number in range(len(spans))])
                for key, span in zip(found[-1], spans, strict=True):
                    if key not in self.pictures:
                        if (frames := decode(item, span, Shape.of(video.config)).frames) is None:
                            raise TrainingError(f"{item.name} has no pictures.", "Leave it out of the manifest.")
                        pixels = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
                        levels = video.trunk_features(pixels.unsqueeze(0))
                        self.pictures.add(key, [level.mean(dim=(1, 3, 4), keepdim=True)[0] for level in levels])
                self.progress(f"see {what}", done, len(items))
        return found

    @torch.inference_mode()
    def read(self, texts: Sequence[str], what: str) -> Tensor:
        """The mean of RoBERTa's states of each text, [B, hidden]."""
        with self.texts.writing():
            missing = sorted({text for text in texts if text not in self.texts}, key=lambda text: (len(text), text))
            for start in range(0, len(missing), TEXT_BATCH):  # of about one length each
                batch = missing[start : start + TEXT_BATCH]
                for text, state in zip(batch, self.retriever.text(batch).gist, strict=True):
                    self.texts.add(text, [state[None, :, None, None]])
                self.progress(f"read {what}", start + len(batch), len(missing))
        return joined(self.texts.get(texts))


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Levels [C, 1, channels, 1, 1] as one [C, all channels]."""
    return torch.cat([level.flatten(1) for level in levels], dim=1)
