"""The retriever: one object that encodes queries and clips, shortlists, reranks and explains."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from model import checkpoint
from model.clip_tokens import ClipTokens
from model.clips import ClipInput, collate, encode
from model.coarse import CoarseEncoder, Wanted
from model.confidence import band, evidence
from model.config import RetrieverConfig, check_temperature
from model.explain import Explanation, Relevance, explain, relevances, said_seconds
from model.fusion import FusionHead, PairScores
from model.order import event_order, events
from model.share import QueryShare
from model.spelling import FRAMES, Spelling
from model.text import TextEncoder, TextEncoding, load_tokenizer
from model.tokens import TokenSet

Float32 = NDArray[np.float32]
SCORING_VERSION = 2  # raise it when the same weights score otherwise: scores and figures are kept
BOTH = ("video", "audio")
SAID = 0.1  # lifted by more than this, a clip is found by what is said in it


class Scores(NamedTuple):
    """Scores of one query with C clips, each [C], from -1 to 1; a modality that a clip lacks is NaN."""

    fused: Float32
    video: Float32
    audio: Float32
    mean: Float32  # of the cosines that `fused` sums, by the gates as taught: what confidence is made of


class Retriever(nn.Module, ModelHubMixin):
    """The whole network. `query_only` leaves out the video and audio encoders, and with them timm and torchvision."""

    def __init__(self, config: RetrieverConfig, tokenizer: Tokenizer, *, query_only: bool = False) -> None:
        super().__init__()
        self.config = config
        self.query_only = query_only
        self.text = TextEncoder(config.text, config.width, tokenizer)
        self.fusion = FusionHead(config.width, len(config.video.channels), config.dtw_gamma)
        self.coarse = CoarseEncoder(
            config.width, config.wide, config.gist_width, config.listing, config.glance, config.sound_gate
        )
        self.late = QueryShare(config.width, start=0.27) if config.wide else None
        self.spelling = Spelling(config.width) if config.spelling else None
        self.temper(config.gate_temperature)
        self.cells = sum(rows * columns for rows, columns in config.video.grids)
        self.card = ""
        self._weights_digest: str | None = None
        if not query_only:
            from model.audio import AudioEncoder
            from model.video import VideoEncoder

            self.video = VideoEncoder(config.video, config.width, config.wide, config.glance)
            self.audio = AudioEncoder(config.audio, config.width)

    def temper(self, gate_temperature: float) -> None:
        """Divide by this, from here on, what the gates say of a query's two modalities (`RetrieverConfig`).

        Raises ConfigError for zero, less, or no number.
        """
        check_temperature(gate_temperature)
        self.config = replace(self.config, gate_temperature=gate_temperature)
        self.fusion.gate_temperature = self.coarse.gate_temperature = gate_temperature

    @property
    def scoring(self) -> int | str:
        """What scores depend on besides tokens: those made with another of these are of another network."""
        tempered = self.config.gate_temperature
        return SCORING_VERSION if tempered == 1.0 else f"{SCORING_VERSION}, gate temperature {tempered:g}"

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | Path, *, query_only: bool = False) -> "Retriever":  # type: ignore[override]
        """Load a checkpoint folder, or fetch one from the model hub.

        Parameters
        ----------
        path_or_hub_id: a local folder, or a hub id `owner/name`.
        query_only: load what queries and reranking need, not the encoders of clips.

        Raises
        ------
        CheckpointError: a file is missing or altered, or the hub cannot be reached.
        """
        folder = checkpoint.resolve(path_or_hub_id)
        config, digests = checkpoint.read_config(folder)
        checkpoint.check_digests(folder, digests)
        with torch.random.fork_rng(devices=[]):  # building draws initial weights; the caller's random state stays
            retriever = cls(
                config, load_tokenizer(checkpoint.part(folder, checkpoint.TOKENIZER)), query_only=query_only
            )
        state = checkpoint.read_weights(folder, query_only)
        try:
            retriever.load_state_dict(state)
        except RuntimeError as err:
            raise checkpoint.CheckpointError(f"the weights in {folder} do not fit its config: {err}", "") from err
        card = checkpoint.part(folder, checkpoint.CARD)
        retriever.card = card.read_text() if card.is_file() else ""
        retriever._weights_digest = digests[checkpoint.WEIGHTS]
        return retriever.eval()

    @classmethod
    def embedded(cls, *, query_only: bool = False) -> "Retriever":
        """The checkpoint shipped with HTAV; needs no network."""
        return cls.from_pretrained(checkpoint.EMBEDDED, query_only=query_only)

    @classmethod
    def from_preset(cls, preset: str, *, pretrained: bool = False, seed: int = 0) -> "Retriever":
        """A new network of the preset's shape; `pretrained` starts its trunks from their publishers' weights."""
        from model.training.start import start_from_preset

        return start_from_preset(preset, pretrained=pretrained, seed=seed)

    def save_pretrained(self, path: str | Path, **_: Any) -> None:  # type: ignore[override]
        """Write a self-contained checkpoint folder (`model.storage`), replacing an older one in it as a whole."""
        if self.query_only:
            raise checkpoint.CheckpointError(
                "a query-only retriever lacks encoders and cannot be saved.", "Load it whole."
            )
        tokenizer = self.text.tokenizer.to_str()
        self._weights_digest = checkpoint.write(Path(path), self.config, self.state_dict(), tokenizer, self.card)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with anything that changes tokens. Weights count from the last load or save."""
        if self._weights_digest is None:
            self._weights_digest = checkpoint.state_digest(self.state_dict())
        return checkpoint.fingerprint(self.config, self._weights_digest)

    @property
    def name(self) -> str:
        return f"htav-{self.config.preset}@{self.fingerprint[:4]}"

    def train(self, mode: bool = True) -> "Retriever":
        """Training mode; the frame trunk's batch statistics stay frozen, so that no clip depends on its batch.

        What does not learn drops nothing: what learns beside it would learn from less than it will get.
        """
        super().train(mode)
        if mode:
            self._weights_digest = None  # what was saved is about to change
            for module in self.modules():
                weights = list(module.parameters())
                if weights and not any(weight.requires_grad for weight in weights):
                    module.eval()
        if not self.query_only:
            self.video.trunk.eval()
        return self

    # ---- encoding ----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> TextEncoding:
        """Encode B queries, one or more, and as queries of their own the events that they tell in order."""
        encoding: TextEncoding = self.text(texts)
        return replace(encoding, events=[self._events(text) for text in texts])

    def _events(self, text: str) -> TextEncoding | None:
        """The events that a query tells in order, encoded; None where there are none, or one means nothing."""
        told = events(text)
        encoding: TextEncoding | None = self.text(told) if told else None
        return encoding if encoding is not None and all(encoding.understood) else None

    @torch.inference_mode()
    def encode_clips(self, clips: list[ClipInput]) -> list[TokenSet]:
        """Encode a batch of clips to token sets. Each clip's tokens are its own: the batch does not change them."""
        encoded = encode(clips, self.video, self.audio, self.config.width)
        if self.spelling is None or not any(len(item.audio) for item in encoded):
            return encoded
        chance = self.spelling.chance(self.collate(encoded)).tolist()
        both = zip(encoded, chance, strict=True)
        return [replace(item, chance=cost) if len(item.audio) else item for item, cost in both]

    # ---- coarse ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def coarse_vectors(self, token_sets: list[TokenSet]) -> Float32:
        """Coarse vectors [C, 3 d] of clips: video | audio | fused, L2-normalised, zeros where missing."""
        vectors: Float32 = self.coarse.clips(self.collate(token_sets)).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def coarse_query(self, text: TextEncoding, modalities: tuple[str, ...] = BOTH) -> Float32:
        """Query vectors [B, 3 d]; the shortlist's score is their inner product with the coarse vectors."""
        vectors: Float32 = self.coarse.queries(text, modalities).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def readings(self, token_sets: list[TokenSet]) -> list[str]:
        """What is heard in each clip, letter by letter and without spaces: for the shortlist."""
        if self.spelling is None or not any(len(item.audio) for item in token_sets):
            return [""] * len(token_sets)
        return [reading.replace(" ", "") for reading in self.spelling.readings(self.collate(token_sets))]

    @torch.inference_mode()
    def wanted(self, text: TextEncoding, row: int, modalities: tuple[str, ...] = BOTH) -> Wanted:
        """What the shortlist looks for with query `row`; no letters where sound does not count."""
        spelling = self.spelling if "audio" in modalities else None
        letters = "" if spelling is None else spelling.said_letters(text, row)
        return Wanted(self.coarse_query(text.row(row), modalities)[0], letters)

    # ---- fusion ------------------------------------------------------------------------------------------------------

    def collate(self, token_sets: list[TokenSet]) -> ClipTokens:
        """Token sets as one batch of tensors, where the weights are: training validates on the device it trains on."""
        return collate(token_sets, self.cells, self.config.width).to(next(self.parameters()).device)

    def pair_scores(self, text: TextEncoding, clips: ClipTokens, *, letters: bool = True) -> PairScores:
        """All B x C scores with gradients: the fusion's, summed with the coarse vectors', led by order and letters."""
        pairs: PairScores = self.fusion(text, clips)
        if self.late is not None:
            share = self.late(text.pooled) * text.mask.any(dim=1, keepdim=True)
            pairs = pairs.summed(self.coarse.compare(text, clips, glance=True), share)
        if any(text.events):
            pairs = pairs.ordered(*event_order(self.fusion, self.coarse, text, clips))
        if letters and self.spelling is not None and bool(clips.audio_mask.any()):
            heard, share = self.spelling(text, clips)
            if self.coarse.sound_gate is not None:  # the name of a sound is no quotation
                share = share * (1.0 - self.coarse.sound_gate(text.gist)[:, None])
            pairs = pairs.lifted(heard, share)
        return pairs

    @torch.inference_mode()
    def rerank(
        self, text: TextEncoding, row: int, token_sets: list[TokenSet], modalities: tuple[str, ...] = BOTH
    ) -> Scores:
        """The full fusion of query `row` with each clip. A clip with none of the modalities asked for scores 0."""
        if not token_sets:
            nothing = np.zeros(0, np.float32)
            return Scores(nothing, nothing, nothing, nothing)
        clips = self.collate(token_sets).only(modalities)
        pairs = self.pair_scores(text.row(row), clips)
        seen, heard = clips.video_mask.any(dim=1), clips.audio_mask.any(dim=1)
        return Scores(_array(pairs.fused), _array(pairs.video, seen), _array(pairs.audio, heard), _array(pairs.mean))

    @torch.inference_mode()
    def relevance(
        self, text: TextEncoding, row: int, token_set: TokenSet, modalities: tuple[str, ...] = BOTH
    ) -> Relevance:
        """How well each instant of a clip answers query `row`."""
        return self.relevances(text, row, [token_set], modalities)[0]

    @torch.inference_mode()
    def relevances(
        self, text: TextEncoding, row: int, token_sets: list[TokenSet], modalities: tuple[str, ...] = BOTH
    ) -> list[Relevance]:
        """`relevance` of several clips in one pass, which costs little more than one."""
        if not token_sets:
            return []
        return self._relevances(text.row(row), self.collate(token_sets).only(modalities), token_sets)

    def _relevances(self, query: TextEncoding, clips: ClipTokens, token_sets: list[TokenSet]) -> list[Relevance]:
        """The same of one query and clips that are tensors already."""
        pairs = self.pair_scores(query, clips)
        found = relevances(self.fusion, query, clips, pairs, token_sets)
        if told := next(filter(None, query.events), None):
            by_event = [self._relevances(told.row(event), clips, token_sets) for event in range(len(told.words))]
            by_clip = zip(found, zip(*by_event, strict=True), strict=True)
            return [replace(instants, events=of_clip) for instants, of_clip in by_clip]
        if self.spelling is None or pairs.lift is None or not bool((pairs.lift > SAID).any()):
            return found
        said = zip(found, token_sets, self.spelling.said_spans(query, 0, clips), pairs.lift[0].tolist(), strict=True)
        return [
            replace(instants, said=said_seconds(places, token_set, FRAMES)) if places and lift > SAID else instants
            for instants, token_set, places, lift in said
        ]

    @torch.inference_mode()
    def explain(
        self, text: TextEncoding, row: int, token_set: TokenSet, modalities: tuple[str, ...] = BOTH
    ) -> Explanation:
        """Attention, alignment and gates behind the score of query `row` with a clip."""
        query, clip = text.row(row), self.collate([token_set]).only(modalities)
        token_set = token_set.only(modalities)
        heard_as = ""
        if self.spelling is not None and len(token_set.audio):
            (heard_as,) = self.spelling.readings(clip)
        return explain(self.pair_scores(query, clip), query, token_set, heard_as)

    def confidences(self, text: TextEncoding, row: int, means: Sequence[float]) -> list[str]:
        """The calibrated band, high to none, of each result of query `row` by its mean [M], all that a search has.

        They come best first: none is surer than one before it.
        """
        found = evidence(self.config.confidence, text.pooled[row].float().numpy(), np.asarray(means))
        return [band(self.config.confidence, value) for value in np.minimum.accumulate(found).tolist()]


def _array(scores: Tensor, present: Tensor | None = None) -> Float32:
    """The only row of scores [1, C] as numpy [C], NaN where not present."""
    row = scores[0] if present is None else scores[0].masked_fill(~present, float("nan"))
    array: Float32 = row.float().cpu().numpy()
    return array
