"""What a run keeps to go on from: whole or not there, whenever it died."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.training import state
from model.training.average import WeightAverage
from model.training.options import TrainingError


def moment(value: float, step: int) -> state.State:
    tensor = torch.full((3,), value)
    return state.State({"w": tensor}, {"w|exp_avg": tensor}, {"step": step}, {"w": tensor})


def test_the_newest_whole_state_counts_and_old_ones_go(tmp_path: Path) -> None:
    assert state.newest(tmp_path) is None
    for step in (1, 2, 3):
        state.save(tmp_path, step, moment(float(step), step))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000000002", "step-000000003"]
    found = state.newest(tmp_path)
    assert found is not None and found.meta == {"step": 3} and found.model["w"][0] == 3.0
    assert set(found.optimizer) == {"w|exp_avg"}


def test_a_state_that_holds_a_generator_s_state_as_older_ones_do_is_read(tmp_path: Path) -> None:
    path = state.save(tmp_path, 1, moment(1.0, 1)) / "optimizer.safetensors"
    save_file(load_file(path) | {"rng": torch.get_rng_state()}, path)
    found = state.newest(tmp_path)
    assert found is not None and set(found.optimizer) == {"w|exp_avg"}


@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        state.save(tmp_path, step, moment(float(step), step))
    path = tmp_path / "step-000000002" / damage
    path.write_bytes(path.read_bytes()[:10])
    found = state.newest(tmp_path)
    assert found is not None and found.meta == {"step": 1}


@pytest.mark.parametrize("place", ["save_file", "sync", "replace"])
def test_death_while_saving_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    state.save(tmp_path, 1, moment(1.0, 1))

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((Path, place) if place == "replace" else (state, place)), dies)
    with pytest.raises(KeyboardInterrupt):
        state.save(tmp_path, 2, moment(2.0, 2))
    monkeypatch.undo()
    found = state.newest(tmp_path)
    assert found is not None and found.meta == {"step": 1}
    assert not list(tmp_path.glob(f"{state.UNFINISHED}*"))
    state.save(tmp_path, 2, moment(2.0, 2))
    assert state.newest(tmp_path).meta == {"step": 2}  # type: ignore[union-attr]


def test_optimizer_of_other_weights_is_refused() -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    with pytest.raises(TrainingError, match="other weights"):
        state.restore_optimizer(optimizer, dict(layer.named_parameters()), {"gone|exp_avg": torch.zeros(2)})


def test_the_published_weights_are_the_mean_of_the_last_steps() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    average = WeightAverage({"w": weight}, 0.5)
    for step in range(1, 60):
        weight.data.fill_(1.0 if step % 2 else 3.0)
        average.update(step)
    with average.applied():
        assert 1.2 < weight.item() < 2.8
    assert weight.item() == 1.0
    with pytest.raises(TrainingError):
        average.restore({})


def test_without_averaging_nothing_is_kept() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    average = WeightAverage({"w": weight}, 0.0)
    average.update(1)
    with average.applied():
        assert weight.item() == 1.0
    assert average.means == {}


def test_states_of_which_none_can_be_read_are_not_begun_anew_over(tmp_path: Path) -> None:
    for step in (1, 2):
        (state.save(tmp_path, step, moment(1.0, step)) / "average.safetensors").unlink()
    with pytest.raises(TrainingError, match="no saved state in .* can be read"):
        state.newest(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
