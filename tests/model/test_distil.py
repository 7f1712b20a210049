"""The shortlist's own layers: nothing until they are taught, then nearer to what the whole network ranks first."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

from model.checkpoint import CARD
from model.cli import commands
from model.clips import collate
from model.coarse import CoarseEncoder
from model.config import ConfigError
from model.data.manifest import load_manifest
from model.evaluation.gallery import encode_gallery
from model.listing import Listing, told
from model.retriever import Retriever
from model.training import distil as module
from model.training.distil import Block, Pupil, Request, distil, drawn, holds_first, scored, teach, with_listing
from model.training.options import Options, TrainingError
from model.training.parameters import select
from tests.model.samples import CELLS, WIDTH, fresh_tiny, query, scramble, token_set
from tests.model.small_data import films, photographs, quiet, tones

HIDDEN = 24


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HTAV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "BLOCK", 3)
    monkeypatch.setattr(module, "SHORT", 0.2)
    photographs(tmp_path / "p", 2)
    films(tmp_path / "f", 4)
    fresh_tiny().save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / CARD).write_text("the card")
    return tmp_path


def request(data: Path, clips: int = 4000) -> Request:
    return Request(data / "checkpoint", (data / "p", data / "f"), clips=clips, steps=4, threads=1)


def test_nothing_is_added_until_it_is_taught() -> None:
    encoder = CoarseEncoder(WIDTH, HIDDEN, WIDTH, HIDDEN).eval()
    clips = collate([token_set(1), token_set(2, 0, 5), token_set(3, 2, 0), token_set(4, 0, 0)], CELLS, WIDTH)
    text = query([3, 2])
    with torch.no_grad():
        torch.testing.assert_close(encoder.clips(clips), encoder.plain_clips(clips))
        assert torch.equal(encoder.queries(text), encoder.plain_queries(text))
        scramble(encoder)
        vectors, plain = encoder.clips(clips), encoder.plain_clips(clips)
        asked, before = encoder.queries(text), encoder.plain_queries(text)
        alone = encoder.queries(text, ("audio",))
    for after, former in ((vectors, plain), (asked, before)):  # the third part alone has changed
        assert torch.equal(after[:, : 2 * WIDTH], former[:, : 2 * WIDTH])
        assert not torch.allclose(after[:2, 2 * WIDTH :], former[:2, 2 * WIDTH :])
    lengths = vectors[:, 2 * WIDTH :].norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 1.0, 0.0]))  # an empty clip is found by nothing
    assert torch.equal(alone, encoder.plain_queries(text, ("audio",)))  # one modality is asked as before


def test_halves_tell_what_comes_first() -> None:
    encoder = scramble(CoarseEncoder(WIDTH, HIDDEN, WIDTH, HIDDEN)).eval()
    assert isinstance(encoder, CoarseEncoder)
    clips = collate([token_set(1, 4, 6)], CELLS, WIDTH)
    with torch.no_grad():
        seen_early, seen_late, heard_early, heard_late = encoder.halves(clips).chunk(4, dim=-1)
        early = torch.from_numpy(np.flatnonzero(clips.video_places[0].numpy() < 0.5))
        pooled = encoder.video_pool(clips.video[:, early], clips.video_mask[:, early])
        heard = encoder.audio_pool(clips.audio[:, 3:], clips.audio_mask[:, 3:])
    torch.testing.assert_close(seen_early, pooled / pooled.norm())
    torch.testing.assert_close(heard_late, heard / heard.norm())
    assert not torch.allclose(seen_early, seen_late) and not torch.allclose(heard_early, heard_late)


def test_a_query_tells_its_first_and_its_last_event() -> None:
    network = fresh_tiny()
    text = network.encode_text(["first a red dog, then a cat, then a green car", "a cat"])
    found = told(text)
    first, last = found[:, -2 * WIDTH :].chunk(2, dim=-1)
    torch.testing.assert_close(first[0], network.encode_text(["a red dog"]).pooled[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(last[0], network.encode_text(["a green car"]).pooled[0], atol=1e-5, rtol=0)
    assert not first[1].any() and not last[1].any()


def test_the_shortlist_learns_a_ranking_that_plain_vectors_do_not_have() -> None:
    torch.manual_seed(0)
    d, Q, G = 4, 480, 600
    pupil = Pupil(*((0.1 if parts == 3 else 1.0) * torch.randn(rows, parts * d) for rows in (Q, G) for parts in (3, 4)))
    # Who ranks so minds the first half.
    scores: NDArray[np.float32] = (pupil.told[:, :d] @ pupil.halves[:, :d].T / 10).numpy()
    everything = np.arange(G, dtype=np.int64)
    blocks = [Block(range(start, start + 60), everything, scores[start : start + 60]) for start in range(0, Q, 60)]
    listing = Listing(d, d, 128)
    before = holds_first(pupil, listing, blocks[:1])
    teach(pupil, listing, blocks[1:], 200, 0, quiet)
    assert before < 10 and holds_first(pupil, listing, blocks[:1]) > 30


@pytest.mark.timeout(300)
def test_a_checkpoint_is_taught_in_place_and_scores_as_before(data: Path) -> None:
    before = Retriever.from_pretrained(data / "checkpoint")
    document = distil(request(data), quiet)
    after = Retriever.from_pretrained(data / "checkpoint")
    assert document["queries"] == 20 and document["clips"] == 20 and document["failed"] == []
    assert set(document["holds_first_percent"]) == {"before", "after"}
    assert after.card == "the card" and after.config.confidence == before.config.confidence
    assert after.fingerprint != before.fingerprint  # an index of the former does not fit
    moved = {name for name, value in before.state_dict().items() if not torch.equal(after.state_dict()[name], value)}
    assert moved and all(name.startswith("coarse.listing.") for name in moved), moved


@pytest.mark.timeout(300)
def test_what_was_scored_is_not_scored_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(data, clips=6)
    items = [item for folder in asked.data for item in load_manifest(folder, "train")]
    network, queries = Retriever.from_pretrained(asked.checkpoint), drawn(items, 4, 0)
    gallery = encode_gallery(items, network, data / "cache" / "evaluation", quiet)
    once = list(scored(asked, network, items, queries, gallery, quiet))
    assert [len(block.queries) for block in once] == [3, 3, 2]
    for block in once:
        assert block.scores.shape == (len(block.queries), 6) and np.isfinite(block.scores).all()
    monkeypatch.setattr(module, "score_queries", None)  # may not be called
    for block, again in zip(once, scored(asked, network, items, queries, gallery, quiet), strict=True):
        assert np.array_equal(block.scores, again.scores) and np.array_equal(block.clips, again.clips)
    network.temper(2.0)
    with pytest.raises(TypeError):  # by other gates it is scored anew
        list(scored(asked, network, items, queries, gallery, quiet))


@pytest.mark.timeout(300)
def test_words_found_by_their_letters_do_not_count() -> None:
    network = fresh_tiny()
    text, clips = network.encode_text(["a red dog"]), network.collate([token_set(1)])
    with torch.no_grad():
        lifted, plain = (network.pair_scores(text, clips, letters=chosen) for chosen in (True, False))
    assert lifted.lift is not None and plain.lift is None and not torch.equal(lifted.fused, plain.fused)


def test_what_is_said_is_not_asked(tmp_path: Path) -> None:
    lines = [{"file": f"{n}.wav", "texts": [f"tone {n}", f"word {n}"], "said": [f"word {n}"]} for n in range(4)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = drawn(load_manifest(tmp_path, "train"), 3, 0)
    assert len(found) == 3 and all(query.text.startswith("tone") for query in found)
    assert [query.text for query in found] == [query.text for query in drawn(load_manifest(tmp_path), 3, 0)]


@pytest.mark.timeout(300)
def test_what_cannot_be_learned_from_is_said(data: Path) -> None:
    tones(data / "t", 1)
    before = (data / "checkpoint" / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="1 queries that are not about speech are too few"):
        distil(Request(data / "checkpoint", (data / "t",), threads=1), quiet)
    old = fresh_tiny()
    old.config = type(old.config).from_json(old.config.to_json() | {"gist": 0, "listing": 0, "glance": 0})
    with pytest.raises(TrainingError, match="an earlier version"):
        with_listing(old, 0)
    assert (data / "checkpoint" / "model.safetensors").read_bytes() == before
    with pytest.raises(ConfigError, match="listing needs"):
        type(old.config).from_json(old.config.to_json() | {"listing": 16})


@pytest.mark.timeout(300)
def test_the_command_prints_one_document(data: Path) -> None:
    options = ["distil", str(data / "checkpoint"), "--data", str(data / "p"), "--steps", "2", "--threads", "1"]
    result = CliRunner().invoke(commands, options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["queries"] == 16


def test_training_leaves_the_listing_alone_and_forgets_what_it_was_taught() -> None:
    network = fresh_tiny()
    chosen = select(network, nn.Linear(1, 1), Options(data=(), out=Path("unused"), preset="tiny"))
    assert not [name for name in chosen.parameters if name.startswith("coarse.listing.")]
    assert [name for name in chosen.parameters if name.startswith("coarse.fused.")]
    listing = network.coarse.listing
    assert listing is not None and listing.query.out.weight.any()
    listing.forget()
    with torch.no_grad():
        assert torch.equal(network.coarse.queries(query([3])), network.coarse.plain_queries(query([3])))


@pytest.mark.timeout(300)
def test_a_damaged_score_file_is_made_again(data: Path) -> None:
    asked = request(data, clips=6)
    items = load_manifest(data / "p", "train")
    network, queries = Retriever.from_pretrained(asked.checkpoint), drawn(items, 4, 0)
    gallery = encode_gallery(items, network, data / "cache" / "evaluation", quiet)
    (first, *_) = scored(asked, network, items, queries, gallery, quiet)
    for path in (data / "cache" / "distil").glob("*.npy"):
        path.write_bytes(path.read_bytes()[:40])
    (again, *_) = scored(asked, network, items, queries, gallery, quiet)
    assert np.array_equal(first.scores, again.scores)


@pytest.mark.timeout(300)
def test_a_run_folder_still_links_to_its_checkpoint(data: Path) -> None:
    (data / "run").mkdir()
    for path in (data / "checkpoint").iterdir():
        (data / "run" / path.name).symlink_to(path)
    before = Retriever.from_pretrained(data / "checkpoint").fingerprint
    distil(Request(data / "run", (data / "p",), steps=2, threads=1), quiet)
    assert (data / "run" / "config.json").is_symlink()
    assert Retriever.from_pretrained(data / "run").fingerprint != before
