"""Everything a run has before its first step: network, data, features, optimiser."""

import dataclasses
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from model import checkpoint
from model.cachedir import cache_dir
from model.config import ConfidenceConfig
from model.data.batches import BatchSampler
from model.data.examples import Folder, Source, compute_features, decode_all, gather, usable
from model.data.features import FeatureStore
from model.data.items import ClipCache, Shape
from model.losses import LossWeights, RetrievalLoss
from model.retriever import Retriever
from model.training import parameters
from model.training.compose import COMPOSED, Composer, composed
from model.training.devices import computing_on
from model.training.feed import BatchMaker, Feed
from model.training.frozen_frames import freeze_frames
from model.training.frozen_text import freeze_text_trunk
from model.training.named import NAMED, Classifier, Namer, named, published_classifier
from model.training.options import Options, TrainingError
from model.training.report import Report
from model.training.start import deepened

CARD = """# Trained from {name}

By `htav train --init`. What {name} reached, and its confidence, do not tell of this checkpoint.
"""


@dataclass
class Prepared:
    """A run, ready to start."""

    retriever: Retriever
    loss: RetrievalLoss
    trained: parameters.Trained
    feed: Feed
    sampler: BatchSampler
    validation: list[Source]
    pixels: ClipCache


def build(options: Options, *, resumed: bool) -> tuple[Retriever, RetrievalLoss]:
    """The network to start from: a checkpoint (`--init`), or the preset with its publishers' trunks.

    A resumed run loads every weight from its state, so it needs neither of them. What the checkpoint says of itself
    (confidence, gate temperature, card) is no longer true of what it becomes, nor is what its shortlist and its gate
    were taught.
    """
    if options.init is not None and not resumed:
        retriever = _of_preset(options.init, options.preset, "Give its --preset, or another --init.")
        card = CARD.format(name=retriever.name)
        retriever = deepened(retriever, options.seed)
        retriever.coarse.sound_gate = None  # `htav gate` makes it anew of the text encoder that this becomes
        retriever.config = replace(retriever.config, sound_gate=0, confidence=ConfidenceConfig())
        retriever.temper(1.0)
        retriever.card = card
        if retriever.coarse.listing is not None:
            retriever.coarse.listing.forget()
    else:
        pretrained = options.preset != "tiny" and not resumed
        retriever = Retriever.from_preset(options.preset, pretrained=pretrained, seed=options.seed)
    if options.audio_from is not None and not resumed:
        other = deepened(
            _of_preset(options.audio_from, options.preset, f"Give one of the preset {options.preset}."), options.seed
        )
        retriever.audio.load_state_dict(other.audio.state_dict())
        if retriever.spelling is not None and other.spelling is not None:
            retriever.spelling.symbols.load_state_dict(other.spelling.symbols.state_dict())
    return retriever, RetrievalLoss(loss_weights(options.loss))


def _of_preset(folder: Path, preset: str, hint: str) -> Retriever:
    retriever = Retriever.from_pretrained(folder)
    if retriever.config.preset != preset:
        raise TrainingError(f"{folder} is of the preset {retriever.config.preset}, not {preset}.", hint)
    return retriever


def loss_weights(given: str) -> LossWeights:
    """`ctc=1,cross_clr=0.1,dual_softmax=1` over the defaults."""
    defaults = LossWeights()
    known = {field.name: type(getattr(defaults, field.name)) for field in dataclasses.fields(defaults)}
    chosen: dict[str, Any] = {}
    for part in filter(None, given.replace(" ", "").split(",")):
        name, _, value = part.partition("=")
        try:
            chosen[name] = known[name](_finite(value))
        except (KeyError, ValueError) as err:
            raise TrainingError(
                f"--loss {part} cannot be read.", f"Write name=weight; names: {', '.join(known)}."
            ) from err
    return dataclasses.replace(defaults, **chosen)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no weight")
    return value


def prepare(
    options: Options, retriever: Retriever, loss: RetrievalLoss, report: Report, rank: int = 0, world: int = 1
) -> Prepared:
    """Read and decode the data, run the frozen trunk once over it, and set up the optimiser."""
    trained = parameters.select(retriever, loss, options)
    if trained.frozen_text_layers:
        freeze_text_trunk(retriever.text, trained.frozen_text_layers)
    shape = Shape.of(retriever.config.video)
    pixels = ClipCache(cache_dir("clips"), shape)
    kept_frames = freeze_frames(retriever.video, trained.frozen_frame_stages)
    kept_maps = kept_frames[1] if kept_frames else None
    classifier = published_classifier(retriever.config.video, kept_maps) if options.names else None
    cache = ClipCache(cache_dir("clips"), shape, keep_frames=kept_frames is None)
    folders = [Folder.parse(given) for given in options.data]
    sources = _sources(folders, options.split, cache, report, rank / world)
    _check_times(sources, loss.weights)
    store = None
    if kept_frames is not None:
        digest, shapes = kept_frames
        store = FeatureStore(cache_dir("features") / digest, shapes)
        _fill(store, retriever, sources, cache, options, report)
    sources = usable(_shared(sources, world, report), options.split)
    validation = _validation(folders, pixels, options, report)
    makers: dict[str, BatchMaker] = {}
    if options.compose:
        makers[COMPOSED] = _composer(sources, store, cache, shape, options, world)
    if store is not None and classifier is not None:
        makers[NAMED] = _namer(sources, store, classifier, options, world)
    sampler = _sampler(sources, options, report, rank, world)
    feed = Feed(
        sources,
        cache,
        options.seed,
        features=store,
        views=options.views,
        change=options.augment,
        captions=options.captions,
        makers=makers,
    )
    return Prepared(retriever, loss, trained, feed, sampler, validation, pixels)


def _check_times(sources: list[Source], weights: LossWeights) -> None:
    """A loss that nothing feeds would teach nothing, and say so nowhere."""
    if weights.timed > 0 and not any(example.item.words for source in sources for example in source.examples):
        raise TrainingError(
            "--loss timed needs sounds whose `words` have times, and no manifest has any.",
            "Make them with eSpeak NG's library (pip install htav[synth]), or leave timed out.",
        )


def _shared(sources: list[Source], world: int, report: Report) -> list[Source]:
    """The sources of which each process has an example in every step."""
    for source in sources:
        if len(source.examples) < world:
            report.say(f"left out: {source.name}: {len(source.examples)} examples for {world} processes")
    return [source for source in sources if len(source.examples) >= world]


def _validation(folders: list[Folder], pixels: ClipCache, options: Options, report: Report) -> list[Source]:
    sources, failures = gather(folders, "val", pixels, report.bars, options.validate_items)
    failures += decode_all(sources, pixels, report.bars)
    for failure in failures:
        report.say(f"left out of validation: {failure.file}: {failure.message}")
    return [source for source in sources if source.examples]


def _composer(
    sources: list[Source], store: FeatureStore | None, cache: ClipCache, shape: Shape, options: Options, world: int
) -> Composer:
    """What composes films out of the sources, to which their own is added."""
    if store is None:
        raise TrainingError("films are composed of kept maps.", "Freeze the trunk's first stages: see --train.")
    composer = Composer(sources, store, cache, seed=options.seed, frames=shape.frames, views=options.views_kept())
    sources += composed(sources, options.compose, world)
    return composer


def _namer(sources: list[Source], store: FeatureStore, classifier: Classifier, options: Options, world: int) -> Namer:
    """What moves photographs towards names, to whose sources their own is added."""
    sources.append(named(sources, options.names, world))
    return Namer(sources[-1], store, classifier, seed=options.seed, views=options.views_kept())


def _sampler(sources: list[Source], options: Options, report: Report, rank: int, world: int) -> BatchSampler:
    sizes = options.batch_sizes()
    sampler = BatchSampler(
        [len(source.examples) for source in sources],
        [sizes[source.form] for source in sources],
        [source.weight for source in sources],
        options.seed,
        rank,
        world,
    )
    for source, batch in zip(sources, sampler.batch_sizes, strict=True):
        report.say(f"{source.name}: {len(source.examples)} examples, {batch} a step, weight {source.weight:.3g}")
    return sampler


def _sources(folders: list[Folder], split: str, cache: ClipCache, report: Report, begin_at: float) -> list[Source]:
    sources, failures = gather(folders, split, cache, report.bars)
    # where frames are not kept, films are decoded when their features are made
    kept = [source for source in sources if cache.keep_frames or source.form == "sound"]
    failures += decode_all(kept, cache, report.bars, begin_at)
    for failure in failures:
        report.say(f"left out: {failure.file}: {failure.message}")
    return usable(sources, split)


def _fill(
    store: FeatureStore,
    retriever: Retriever,
    sources: list[Source],
    cache: ClipCache,
    options: Options,
    report: Report,
) -> None:
    """Bring into the store what the trunk's frozen stages give of these sources.

    One process does; the others wait for the store, so it has their threads, too.
    """
    views = options.views_kept()
    retriever.eval()
    busy = partial(report.say, "another process keeps what the frozen trunk says of the frames; this one waits for it")
    with computing_on(options.threads):
        for failure in compute_features(sources, cache, retriever.video, store, views, report.bars, busy):
            report.say(f"left out: {failure.file}: {failure.message}")


def stand_for(folder: Path, inner: str) -> None:
    """Make `folder` loadable as the checkpoint in its sub-folder `inner`, by links that a new checkpoint keeps true."""
    for name in (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.TOKENIZER, checkpoint.CARD):
        link = folder / name
        if not link.is_symlink():
            link.unlink(missing_ok=True)  # a file where the run was copied without its links
            link.symlink_to(Path(inner) / name)
