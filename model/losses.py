"""Training losses: contrastive terms for fusion and coarse vectors, distillation between them, and what teaches speech.

References: InfoNCE (van den Oord et al. 2018), dual softmax (Cheng et al. 2021), CrossCLR (Zolfaghari et al. 2021),
Pearson distillation after TeachCLIP (Tian et al. 2024), CTC (Graves et al. 2006).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.alignment import monotone_score
from model.attention import AlignedAudio
from model.audio import TOKENS_PER_SECOND, AudioTokens
from model.clip_tokens import ClipTokens
from model.clips import limit_audio
from model.data.manifest import TimedWord
from model.letters import BLANK, SPACE, spelled
from model.retriever import Retriever
from model.spelling import FRAMES, Spelling
from model.text import TextEncoding
from model.training.batch import Sense, TrainBatch
from model.training.said import said_loss

_LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts; 0 switches it off."""

    fused: float = 1.0
    coarse: float = 0.5
    coarse_alone: float = 0.25  # the coarse vector of one modality by itself
    glance: float = 0.0  # pictures as a whole, by themselves
    distil: float = 0.5
    words: float = 0.5  # late interaction of each block by itself
    alone: float = 0.25  # the head on one modality by itself
    monotone: float = 0.5  # words and sound in the same order
    ctc: float = 0.5
    timed: float = 0.0  # the letters of words whose times are known, frame by frame
    said: float = 0.5  # which words of a query are said
    hardest: float = 0.2
    margin: float = 0.1
    cross_clr: float = 0.0
    dual_softmax: bool = False
    hide: float = 1.0  # no term: how much of what RetrievalLoss hides by chance it does hide
    late: bool = False  # no term: the fused score with its late sums, to weigh these; training needs them not

    @property
    def only_coarse(self) -> bool:
        """Whether nothing needs the fusion of pairs, so that batches may be large."""
        return self.fused == self.words == self.alone == self.monotone == self.hardest == self.distil == 0

    @property
    def only_ctc(self) -> bool:
        """Whether speech alone is taught, which needs no text encoder and no pairs."""
        return self.only_coarse and self.coarse == self.coarse_alone == self.glance == self.cross_clr == 0


class RetrievalLoss(nn.Module):
    """All terms for one batch.

    `drop` is the chance to hide one modality of a clip that has both; `drop_tokens` that of each picture token, and
    `drop_channels` that of each channel of the trunk's maps, so that no photograph is known by one of them alone.
    """

    def __init__(
        self,
        weights: LossWeights | None = None,
        drop: float = 0.2,
        drop_tokens: float = 0.1,
        drop_channels: float = 0.25,
    ) -> None:
        super().__init__()
        self.weights = weights or LossWeights()
        self.drop, self.drop_tokens, self.drop_channels = (
            self.weights.hide * chance for chance in (drop, drop_tokens, drop_channels)
        )
        self.word_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, retriever: Retriever, batch: TrainBatch) -> dict[str, Tensor]:
        """Named scalars with their sum in "total". Raises ValueError for a batch without pictures and sound."""
        weights = self.weights
        whole, sound = encode_batch(retriever, batch, self.drop_channels if self.training else 0.0)
        parts = {} if weights.only_ctc else self.contrast(retriever, batch, whole)
        spelling = retriever.spelling
        if sound is not None and batch.transcripts is not None and spelling is not None and weights.ctc > 0:
            parts["ctc"] = weights.ctc * ctc_loss(spelling, sound, batch.transcripts)
        if sound is not None and batch.timings is not None and spelling is not None and weights.timed > 0:
            parts["timed"] = weights.timed * timed_loss(spelling, sound, batch.timings)
        parts["total"] = torch.stack(list(parts.values())).sum() if parts else whole.video.sum() * 0.0
        return parts

    def contrast(self, retriever: Retriever, batch: TrainBatch, whole: ClipTokens) -> dict[str, Tensor]:
        """Every term that compares texts with clips."""
        weights = self.weights
        text: TextEncoding = retriever.text(batch.texts)
        clips = drop_tokens(drop_modalities(whole, self.drop), self.drop_tokens) if self.training else whole
        coarse_logits, parts = self.of_coarse(retriever, batch, text, clips)
        if weights.only_coarse:
            return parts
        pairs = retriever.pair_scores(text, clips) if weights.late else retriever.fusion(text, clips)
        scale = retriever.fusion.logit_scale.exp().clamp(max=_LARGEST_SCALE)
        fused_logits = scale * pairs.fused
        positives = batch.positives
        parts |= {
            "fused": weights.fused * info_nce(fused_logits, positives, dual_softmax=weights.dual_softmax),
            "distil": weights.distil * pearson_distillation(fused_logits.detach(), coarse_logits),
            "hardest": weights.hardest * hardest_negative(pairs.fused, positives, weights.margin),
        }
        if batch.said is not None and retriever.spelling is not None and weights.said > 0:
            parts["said"] = weights.said * said_loss(retriever.spelling.said, text, batch.said)
        seen, heard = senses(batch)
        parts |= self.per_modality(text, clips, pairs.video_block.affinity, pairs.audio_block, seen, heard)
        if pairs.audio_block is not None and bool(clips.video_mask.any()):
            parts["video_alone"] = weights.alone * of_one_sense(scale * pairs.video, seen, clips.video_mask)
            parts["audio_alone"] = weights.alone * of_one_sense(scale * pairs.audio, heard, clips.audio_mask)
        return parts

    def of_coarse(
        self, retriever: Retriever, batch: TrainBatch, text: TextEncoding, clips: ClipTokens
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The coarse vectors' logits [B, C], and what is asked of these vectors and of each modality's."""
        weights, coarse, positives = self.weights, retriever.coarse, batch.positives
        vectors = coarse.plain_clips(clips)  # what the listing adds, `htav distil` teaches
        scale = coarse.logit_scale.exp().clamp(max=_LARGEST_SCALE)
        logits = scale * coarse.plain_queries(text) @ vectors.T
        parts = {"coarse": weights.coarse * info_nce(logits, positives)}
        if weights.cross_clr > 0:
            parts["cross_clr"] = weights.cross_clr * cross_clr(text.pooled, vectors, positives)
        alone, (seen, heard) = coarse.compare(text, clips), senses(batch)
        if bool(clips.video_mask.any()):
            parts["coarse_seen"] = weights.coarse_alone * of_one_sense(scale * alone.video, seen, clips.video_mask)
            if weights.glance > 0:
                whole = of_one_sense(scale * coarse.glances(text, clips), seen, clips.video_mask)
                parts["glance"] = weights.glance * whole
        if bool(clips.audio_mask.any()):
            parts["coarse_heard"] = weights.coarse_alone * of_one_sense(scale * alone.audio, heard, clips.audio_mask)
        return logits, parts

    def per_modality(
        self,
        text: TextEncoding,
        clips: ClipTokens,
        seen_affinity: Tensor,
        audio: AlignedAudio | None,
        seen: Sense,
        heard: Sense,
    ) -> dict[str, Tensor]:
        """Contrast on the mean affinity of the words: what each block finds by itself, before fusion."""
        scale = self.word_scale.exp().clamp(max=_LARGEST_SCALE)
        counts = text.mask.sum(dim=1).clamp(min=1).view(-1, 1)
        parts = {}
        if bool(clips.video_mask.any()):
            logits = scale * seen_affinity.sum(dim=-1) / counts
            parts["seen_words"] = self.weights.words * of_one_sense(logits, seen, clips.video_mask)
        if audio is not None:
            words = scale * audio.kept_affinity.sum(dim=-1) / counts
            parts["heard_words"] = self.weights.words * of_one_sense(words, heard, clips.audio_mask)
            in_order = scale * order_scores(audio.cosine, text, clips)
            parts["monotone"] = self.weights.monotone * of_one_sense(in_order, heard, clips.audio_mask)
        return parts


def senses(batch: TrainBatch) -> tuple[Sense, Sense]:
    """Which queries ask about pictures and about sound; all of them where the batch does not say."""
    everything = Sense(batch.positives, torch.ones_like(batch.positives[:, 0]))
    return batch.seen or everything, batch.heard or everything


def order_scores(cosine: Tensor, text: TextEncoding, clips: ClipTokens, gamma: float = 0.05) -> Tensor:
    """The monotone score of every pair, [B, C], from the cosines [B, C, N, A] of words and sound tokens."""
    B, C, N, A = cosine.shape
    text_lengths = text.mask.sum(dim=1).repeat_interleave(C)
    audio_lengths = clips.audio_mask.sum(dim=1).repeat(B)
    return monotone_score(cosine.flatten(0, 1), text_lengths, audio_lengths, gamma).view(B, C)


def encode_batch(
    retriever: Retriever, batch: TrainBatch, channel_drop: float = 0.0
) -> tuple[ClipTokens, AudioTokens | None]:
    """The batch's clips as tokens with gradients; what goes into the index is the same but for int8."""
    C, width = batch.positives.shape[1], retriever.config.width
    device = retriever.coarse.logit_scale.device
    empty = torch.zeros(C, 1, dtype=torch.bool, device=device)
    video, video_mask, glance = torch.zeros(C, 1, width, device=device), empty, torch.zeros(C, width, device=device)
    levels = torch.zeros(C, 1, dtype=torch.long, device=device)
    places = torch.zeros(C, 1, device=device)
    if batch.frames is None and batch.video_features is None and batch.waveforms is None:
        raise ValueError("a batch needs frames, video features or waveforms")
    maps = None if batch.video_features is None else retriever.video.finish(batch.video_features)
    if maps is None and batch.frames is not None:
        maps = retriever.video.trunk_features(batch.frames)
    if maps is not None:
        encoded = retriever.video(drop_channels(maps, channel_drop) if channel_drop else maps)
        video, video_mask = encoded.tokens, torch.ones_like(encoded.tokens[..., 0], dtype=torch.bool)
        levels = encoded.levels.expand(C, -1)
        glance = glance if encoded.glance is None else encoded.glance
        places = ((encoded.steps + 0.5) / (encoded.steps.max() + 1)).expand(C, -1)
    unknown, deaf = torch.full((C,), torch.nan, device=device), torch.zeros(C, 1, width, device=device)
    silent, lasting = ~empty[:, 0], torch.ones(C, device=device)  # training takes sound to last as long as the pictures
    clips = ClipTokens(video, video_mask, levels, places, deaf, empty, unknown, glance, silent, lasting)
    if batch.waveforms is None:
        return clips, None
    sound: AudioTokens = retriever.audio(batch.waveforms)
    audio, audio_mask, _ = limit_audio(sound, retriever.config.audio.max_tokens)
    return replace(clips, audio=audio, audio_mask=audio_mask, silent=~audio_mask.any(dim=1)), sound


def drop_modalities(clips: ClipTokens, chance: float) -> ClipTokens:
    """Hide the pictures or the sound of some clips that have both, so that either works alone."""
    both = clips.video_mask.any(dim=1) & clips.audio_mask.any(dim=1)
    draw = torch.rand(len(clips), device=both.device)
    no_video, no_audio = both & (draw < chance / 2), both & (draw >= chance / 2) & (draw < chance)
    return replace(
        clips,
        video_mask=clips.video_mask & ~no_video.unsqueeze(1),
        audio_mask=clips.audio_mask & ~no_audio.unsqueeze(1),
    )


def drop_tokens(clips: ClipTokens, chance: float) -> ClipTokens:
    """Hide some picture tokens of each clip, never all that it has."""
    kept = clips.video_mask & (torch.rand(clips.video_mask.shape, device=clips.video_mask.device) >= chance)
    return replace(clips, video_mask=torch.where(kept.any(dim=1, keepdim=True), kept, clips.video_mask))


def drop_channels(levels: list[Tensor], chance: float) -> list[Tensor]:
    """Hide some channels of each clip's maps [C, T, channels, rows, columns], the same in all its frames and places."""
    return [
        level * F.dropout(torch.ones_like(level[:, :1, :, :1, :1], dtype=torch.float32), chance).to(level.dtype)
        for level in levels
    ]


def info_nce(logits: Tensor, positives: Tensor, present: Tensor | None = None, *, dual_softmax: bool = False) -> Tensor:
    """Symmetric InfoNCE over logits [B, C] with several positives; `present` [C] leaves out clips without the modality.

    A query that nothing answers is a negative for every clip. With `dual_softmax` the logits are first weighted by
    their softmax over queries (training only).
    """
    if present is not None:
        unanswered = ~positives.any(dim=1)
        logits, positives = logits[:, present], positives[:, present]
        kept = positives.any(dim=1) | unanswered  # a query that lost its clips would be told that they are wrong
        logits, positives = logits[kept], positives[kept]
    if not bool(positives.any()):
        return logits.sum() * 0.0
    if dual_softmax:
        logits = logits * logits.softmax(dim=0) * logits.shape[0]
    rows, columns = positives.any(dim=1), positives.any(dim=0)
    return 0.5 * (_one_way(logits[rows], positives[rows]) + _one_way(logits[:, columns].T, positives[:, columns].T))


def of_one_sense(logits: Tensor, sense: Sense, mask: Tensor) -> Tensor:
    """InfoNCE of one modality's logits [B, C], over its own queries and the clips with a token in `mask` [C, M]."""
    return info_nce(logits[sense.asks], sense.positives[sense.asks], mask.any(dim=1))


def _one_way(logits: Tensor, positives: Tensor) -> Tensor:
    """-log of the softmax mass that falls on the positives, averaged over rows."""
    found = logits.masked_fill(~positives, -1e4).logsumexp(dim=1)
    return (logits.logsumexp(dim=1) - found).mean()


def pearson_distillation(teacher: Tensor, student: Tensor) -> Tensor:
    """1 - Pearson correlation of the rows' and the columns' softmax of two logit matrices [B, C], averaged."""
    losses = []
    for dim in (1, 0):
        t, s = teacher.softmax(dim=dim), student.softmax(dim=dim)
        t, s = t - t.mean(dim=dim, keepdim=True), s - s.mean(dim=dim, keepdim=True)
        losses.append(1.0 - F.cosine_similarity(t, s, dim=dim, eps=1e-6).mean())
    return 0.5 * (losses[0] + losses[1])


def hardest_negative(cosines: Tensor, positives: Tensor, margin: float) -> Tensor:
    """Hinge of cosines [B, C] between each query's weakest positive and hardest negative; the same for each clip."""
    losses = []
    for scores, truth in ((cosines, positives), (cosines.T, positives.T)):
        usable = truth.any(dim=1) & ~truth.all(dim=1)
        own = scores.masked_fill(~truth, 2.0).amin(dim=1)
        other = scores.masked_fill(truth, -2.0).amax(dim=1)
        losses.append(F.relu(margin + other - own)[usable].sum() / usable.sum().clamp(min=1))
    return 0.5 * (losses[0] + losses[1])


def cross_clr(queries: Tensor, clips: Tensor, positives: Tensor, temperature: float = 0.05) -> Tensor:
    """CrossCLR's intra-modal negatives: texts that share no clip repel each other, and so do clips that share no text.

    Pairs joined by a positive are masked out with -inf, as is each with itself, be it that nothing answers it: a pruned
    pair adds nothing.
    """
    losses = []
    truth = positives.float()
    for vectors, joined in ((queries, truth @ truth.T), (clips, truth.T @ truth)):
        unit = F.normalize(vectors, dim=-1)
        pruned = (joined > 0) | torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        logits = (unit @ unit.T / temperature).masked_fill(pruned, float("-inf"))
        nothing = torch.zeros_like(logits[:, :1])
        losses.append(torch.cat([nothing, logits - 1.0 / temperature], dim=1).logsumexp(dim=1).mean())
    return 0.5 * (losses[0] + losses[1])


def timed_loss(spelling: Spelling, sound: AudioTokens, timings: list[list[TimedWord]]) -> Tensor:
    """Cross-entropy of the symbol at each place for letters, over the clips whose words have times, nats a place.

    A word's letters share its time alike, and a space follows them. That is only roughly so, but tells where to look:
    CTC from scratch learns nothing but how frequent each letter is, for hundreds of steps.
    """
    known = [row for row, words in enumerate(timings) if words and int(sound.lengths[row])]
    if not known:
        return sound.tokens.sum() * 0.0
    heard = spelling.letters(sound.tokens[known])
    targets = torch.full(heard.shape[:2], BLANK, dtype=torch.long)
    for target, row in zip(targets, known, strict=True):
        places = FRAMES * int(sound.lengths[row])
        target[places:] = -100  # cross_entropy leaves these out
        for word, start, end in timings[row]:
            symbols = [*spelled(word), SPACE]
            first, last = (round(at * TOKENS_PER_SECOND * FRAMES) for at in (start, end))
            for place in range(first, min(last, places)):
                target[place] = symbols[(place - first) * len(symbols) // (last - first)]
    return F.cross_entropy(heard.flatten(0, 1), targets.flatten().to(heard.device))


def ctc_loss(spelling: Spelling, sound: AudioTokens, transcripts: list[str | None]) -> Tensor:
    """Connectionist temporal classification of the spoken characters, over the clips whose words are known.

    A transcript longer than its sound can carry is left out by CTC itself (`zero_infinity`).
    """
    known = [row for row, transcript in enumerate(transcripts) if transcript]
    if not known:
        return sound.tokens.sum() * 0.0
    targets = [torch.tensor(spelled(transcripts[row] or ""), dtype=torch.long) for row in known]
    heard = spelling.letters(sound.tokens[known]).transpose(0, 1)
    lengths = torch.tensor([len(target) for target in targets])
    loss: Tensor = F.ctc_loss(
        heard, torch.cat(targets).to(heard.device), FRAMES * sound.lengths[known], lengths, zero_infinity=True
    )
    return loss
