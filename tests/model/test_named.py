"""Photographs moved towards a class: the classifier sees it, and its name asks for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import RetrieverConfig
from model.data.batches import Draw
from model.data.examples import Folder, Source, compute_features, gather
from model.data.features import FeatureStore
from model.data.items import ClipCache
from model.data.manifest import normalised
from model.losses import RetrievalLoss
from model.retriever import Retriever
from model.training.feed import Feed
from model.training.frozen_frames import freeze_frames
from model.training.named import NAMED, Namer, class_names, moved, named, published_classifier
from model.training.options import Options, TrainingError
from model.training.prepare import loss_weights
from tests.model.small_data import SHAPE, photographs, quiet

CLASSES = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Namer, Source, torch.Tensor]:
    """A namer of real photographs' maps by the small preset, the source it draws from, and the classifier's weight."""
    folder = tmp_path_factory.mktemp("named")
    cache = ClipCache(folder / "cache", SHAPE)
    sources, failures = gather([Folder(photographs(folder / "p", 2))], "train", cache, quiet)
    retriever = Retriever.from_preset("tiny", seed=1).requires_grad_(False)
    kept = freeze_frames(retriever.video, 0)
    assert kept is not None and not failures
    store = FeatureStore(folder / "maps", kept[1])
    assert not compute_features(sources, cache, retriever.video, store, 2, quiet)
    weight = torch.randn(CLASSES, kept[1][-1][0], generator=torch.Generator().manual_seed(0))
    source = named(sources, 0.5)
    return Namer(source, store, (weight, torch.zeros(CLASSES)), seed=0, views=2), source, weight


def draw(source: Source, step: int = 0) -> Draw:
    return Draw(step, 0, 0, tuple(np.random.default_rng(step).permutation(len(source.examples)).tolist()))


def test_a_class_is_told_by_the_classifier_as_far_as_the_maps_were_moved(
    made: tuple[Namer, Source, torch.Tensor],
) -> None:
    namer, source, weight = made
    maps = namer.store.get([example.feature_key(0, 0) for example in source.examples[:CLASSES]])
    maps[-1] = maps[-1] + 100.0  # far above zero, where nothing is cut off
    logits = torch.linspace(1.0, 5.0, len(maps[0]))
    classes = list(range(len(maps[0])))
    after = moved(maps, [level[classes] for level in namer.directions], logits)
    gained = (after[-1] - maps[-1]).mean(dim=(1, 3, 4)) @ (weight - weight.mean(dim=0)).T
    torch.testing.assert_close(gained.diagonal(), logits, rtol=1e-3, atol=1e-3)
    assert all(not torch.equal(level, before) for level, before in zip(after, maps, strict=True))
    assert float(moved(maps, [-1e3 * level[classes] for level in namer.directions], logits)[-1].min()) == 0.0


def test_each_photograph_of_a_batch_is_asked_for_by_its_own_class(made: tuple[Namer, Source, torch.Tensor]) -> None:
    namer, source, _ = made
    batch = namer.batch(draw(source), source)
    known = [[normalised(name) for name in names] for names in class_names()[:CLASSES]]
    found = [next(n for n, names in enumerate(known) if any(name in text for name in names)) for text in batch.texts]
    assert len(set(found)) == len(found) == min(len(source.examples), CLASSES)
    assert torch.equal(batch.positives, torch.eye(len(found), dtype=torch.bool))
    assert batch.seen is not None and bool(batch.seen.asks.all())
    assert batch.heard is not None and not bool(batch.heard.asks.any())
    assert batch.video_features is not None and {len(level) for level in batch.video_features} == {len(found)}


def test_classes_of_one_name_answer_the_same_queries(
    made: tuple[Namer, Source, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    namer, source, _ = made
    monkeypatch.setattr(namer, "names", [["crane"], ["ostrich"], ["Crane"]])
    monkeypatch.setattr(namer, "directions", [level[:3] for level in namer.directions])
    batch = namer.batch(draw(source), source)
    cranes = ["crane" in text for text in batch.texts]
    assert batch.positives.tolist() == [[own == other for other in cranes] for own in cranes]
    assert sum(cranes) == 2 and any("an ostrich" in text or "the ostrich" in text for text in batch.texts)


def test_a_run_with_names_teaches_them(made: tuple[Namer, Source, torch.Tensor], tmp_path: Path) -> None:
    """The small preset has no publisher; all else is what `htav train --names` does."""
    namer, source, _ = made
    retriever = Retriever.from_preset("tiny", seed=1)
    feed = Feed([source], ClipCache(tmp_path, SHAPE), 0, features=namer.store, makers={NAMED: namer})
    loss = RetrievalLoss(loss_weights(""))
    optimizer = torch.optim.Adam(retriever.parameters(), lr=3e-3)
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(100):
            parts = loss(retriever, feed.batch(draw(source, step)))
            optimizer.zero_grad()
            parts["total"].backward()
            optimizer.step()
            losses.append(float(parts["coarse_seen"].detach()))
    assert sum(losses[-8:]) < 0.6 * sum(losses[:8])


def test_a_step_is_the_same_whenever_it_is_made(made: tuple[Namer, Source, torch.Tensor]) -> None:
    namer, source, _ = made
    first, again, next_one = (namer.batch(draw(source, step), source) for step in (3, 3, 4))
    assert first.texts == again.texts != next_one.texts
    assert first.video_features is not None and again.video_features is not None
    assert all(torch.equal(one, other) for one, other in zip(first.video_features, again.video_features, strict=True))


def test_names_are_drawn_for_their_share_of_the_steps(made: tuple[Namer, Source, torch.Tensor]) -> None:
    _, source, _ = made
    captions = Source("p", "still", 3.0, source.examples)
    assert named([captions], 0.25).form == NAMED
    assert named([captions], 0.25).weight == pytest.approx(1.0)


def test_names_are_taught_with_photographs_and_not_with_what_is_drawn(made: tuple[Namer, Source, torch.Tensor]) -> None:
    _, source, _ = made
    extra = {"text_source": "generated"}  # as `htav synth` says of its pictures
    drawn = [replace(example, item=replace(example.item, extra=extra)) for example in source.examples]
    both = [Source("d", "still", 3.0, drawn), Source("p", "still", 1.0, source.examples)]
    assert named(both, 0.5).examples == source.examples and named(both, 0.5).weight == pytest.approx(4.0)
    with pytest.raises(TrainingError, match="photographs"):
        named(both[:1], 0.5)


def test_what_cannot_be_taught_by_name_is_said(made: tuple[Namer, Source, torch.Tensor], tmp_path: Path) -> None:
    namer, _, _ = made
    with pytest.raises(TrainingError, match="photographs"):
        named([Source("s", "sound", 1.0, [])], 0.5)
    with pytest.raises(TrainingError, match="tf_efficientnet_lite2"):
        published_classifier(Retriever.from_preset("tiny").config.video, namer.store.shapes)
    compact = RetrieverConfig.from_preset("compact").video
    for kept in (None, [*namer.store.shapes, (192, 9, 9)]):  # pixels, and what a moving last stage starts from
        with pytest.raises(TrainingError, match="frames-last"):
            published_classifier(compact, kept)
    with pytest.raises(TrainingError, match="--names is 1"):
        Options(data=("d",), out=tmp_path, names=1.0).check()


def test_the_names_are_those_of_the_classifiers_outputs() -> None:
    names = class_names()
    assert len(names) == 1000
    assert names[1][0] == "goldfish" and names[388][0] == "giant panda" and "accordion" in names[401][0]
