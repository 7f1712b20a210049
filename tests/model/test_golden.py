"""No encoder and no head changes what it gives by accident."""

import pytest
import torch
from safetensors.torch import load_file

from tests.model import golden


@pytest.mark.parametrize("name", golden.MAKERS)
def test_outputs_are_the_golden_ones(name: str) -> None:
    expected, found = load_file(golden.FOLDER / f"{name}.safetensors"), golden.made(name)
    assert set(found) == set(expected)
    for part, value in expected.items():
        assert float(value.float().std()) > 1e-3, f"{part} says nothing"
        torch.testing.assert_close(
            found[part], value, rtol=1e-3, atol=1e-4, msg=lambda text, part=part: f"{part}: {text}"
        )


def test_every_golden_file_is_compared() -> None:
    assert {path.stem for path in golden.FOLDER.glob("*.safetensors")} == set(golden.MAKERS)
