"""Augmentations: only moves and flips, one offset per image, all chance from the generator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from concertina.errors import DataError
from concertina.objective import AUGMENTATIONS

BLACK = torch.tensor([-7.0])


def images(batch: int = 32, channels: int = 3, height: int = 9, width: int = 6) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "reach", "flips"), [("shift", 1, False), ("flip-crop", 4, True)])
def test_every_image_is_a_crop_of_its_padded_self(name: str, reach: int, flips: bool) -> None:
    x = images()
    out = AUGMENTATIONS.get(name)(x, torch.Generator().manual_seed(0), BLACK)
    assert out.shape == x.shape
    seen = set()
    for before, after in zip(x, out, strict=True):
        for flipped in (False, True) if flips else (False,):
            padded = F.pad(before.flip(-1) if flipped else before, (reach,) * 4, value=-7.0)
            for row in range(2 * reach + 1):
                for column in range(2 * reach + 1):
                    if torch.equal(padded[:, row : row + 9, column : column + 6], after):
                        seen.add((flipped, row, column))
                        break
                else:
                    continue
                break
            else:
                continue
            break
        else:
            pytest.fail("an image is no crop of its padded self")
    assert len(seen) > 6
    assert {flipped for flipped, _, _ in seen} == ({False, True} if flips else {False})


@given(st.sampled_from(AUGMENTATIONS.names()), st.integers(1, 5), st.integers(0, 99))
def test_equal_seeds_give_equal_images_and_the_input_is_left_alone(name: str, batch: int, seed: int) -> None:
    x = images(batch)
    kept = x.clone()
    first = AUGMENTATIONS.get(name)(x, torch.Generator().manual_seed(seed), BLACK)
    torch.manual_seed(seed + 1)
    second = AUGMENTATIONS.get(name)(x, torch.Generator().manual_seed(seed), BLACK)
    assert torch.equal(first, second)
    assert torch.equal(x, kept)


def test_chance_comes_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    one, two = (AUGMENTATIONS.get("flip-crop")(images(), generator, BLACK) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(one, two)


def test_fill_has_one_value_per_channel() -> None:
    out = AUGMENTATIONS.get("shift")(torch.zeros(40, 2, 3, 3), torch.Generator(), torch.tensor([1.0, 2.0]))
    assert set(out[:, 0].unique().tolist()) == {0.0, 1.0}
    assert set(out[:, 1].unique().tolist()) == {0.0, 2.0}


def test_features_can_only_be_left_as_they_are() -> None:
    features = torch.rand(4, 6)
    assert AUGMENTATIONS.get("none")(features, torch.Generator(), BLACK) is features
    for name in ("shift", "flip-crop"):
        with pytest.raises(DataError, match=r"augmentation of images: got inputs of shape \(4, 6\).*'none'"):
            AUGMENTATIONS.get(name)(features, torch.Generator(), BLACK)
