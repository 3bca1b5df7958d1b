"""Data in memory: batches, subsets, fingerprints, and what a user's own dataset becomes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, TensorDataset

from concertina.errors import DataError
from concertina.load import ArrayData, TensorData, adapt, as_data, batches, check_fits, load


def some_data(n: int = 10) -> ArrayData:
    return ArrayData([torch.randn(n, 3, generator=torch.Generator().manual_seed(1)), torch.arange(n) % 2])


@given(st.integers(1, 30), st.integers(1, 12), st.booleans(), st.booleans())
def test_batches_hold_every_sample_once(n: int, size: int, shuffle: bool, drop_last: bool) -> None:
    data = TensorData([torch.arange(n), torch.arange(n) * 2])
    if drop_last and n < size:
        with pytest.raises(DataError, match=f"batch size: got {size}; allowed: up to the {n} samples"):
            batches(data, size, drop_last=True)
        return
    generator = torch.Generator().manual_seed(0) if shuffle else None
    found = list(batches(data, size, generator=generator, drop_last=drop_last))
    assert all(torch.equal(y, 2 * x) for x, y in found)
    assert all(len(x) == size for x, _ in found[:-1])
    rows = torch.cat([x for x, _ in found]).tolist()
    assert len(rows) == n - n % size if drop_last else len(rows) == n
    assert len(set(rows)) == len(rows)
    assert shuffle or rows == list(range(len(rows)))


def test_the_generator_alone_decides_the_order() -> None:
    data = some_data(50)
    one, two = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    first = [x for x, _ in batches(data, 7, generator=one)]
    torch.manual_seed(9)
    second = [x for x, _ in batches(data, 7, generator=two)]
    third = [x for x, _ in batches(data, 7, generator=two)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(second, third, strict=True))


def test_a_batch_size_below_one_is_refused_at_once() -> None:
    with pytest.raises(DataError, match="batch size: got 0; allowed: 1 or more"):
        batches(some_data(), 0)


def test_subsets_and_samples() -> None:
    data = ArrayData([torch.arange(6.0)[:, None], torch.tensor([0, 1, 0, 1, 0, 1])], ("even", "odd"))
    part = data.subset([4, 1])
    assert (part.inputs.flatten().tolist(), part.labels.tolist(), part.class_names) == (
        [4.0, 1.0],
        [0, 1],
        ("even", "odd"),
    )
    assert data[3][1] == 1
    assert isinstance(part, ArrayData)
    assert type(TensorData([torch.ones(3)]).subset([0])) is TensorData
    with pytest.raises(DataError, match="data without samples"):
        data.subset([])


def test_fingerprint_covers_inputs_labels_and_order() -> None:
    data = some_data()
    inputs, labels = data.inputs.clone(), data.labels.clone()
    assert ArrayData([inputs, labels]).fingerprint == data.fingerprint
    assert data.subset(range(9, -1, -1)).fingerprint != data.fingerprint
    labels[0] = 1 - labels[0]
    assert ArrayData([inputs, labels]).fingerprint != data.fingerprint


class Own(Dataset[tuple[torch.Tensor, int]]):
    """A user's dataset of samples."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((2,), float(index)), index % 2


def test_datasets_and_loaders_become_the_same_data() -> None:
    expected = as_data(Own(), ("a", "b"))
    assert isinstance(expected, ArrayData)
    assert (expected.class_names, expected.labels.tolist()) == (("a", "b"), [0, 1, 0, 1, 0])
    tensors = TensorDataset(expected.inputs, expected.labels)
    for source in (tensors, DataLoader(Own(), batch_size=2), [expected.tensors], iter([expected.tensors])):
        assert as_data(source).fingerprint == expected.fingerprint
    assert as_data(expected) is expected
    assert len(list(batches(Own(), 2))) == 3


def test_other_fields_stay_tensors() -> None:
    pairs = as_data([(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0.5, 1.0]))])
    assert (type(pairs), len(pairs.tensors)) == (TensorData, 3)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (3, "data: got int; allowed: a torch Dataset or an iterable of batches"),
        ([], "data without samples"),
        ([torch.ones(3)], "a sample or batch of the data: got Tensor; allowed: a tuple"),
        ([("text", 1)], "a field of the data: got str; allowed: tensors or numbers"),
        ([(torch.ones(2, 3), torch.zeros(2)), (torch.ones(2, 4), torch.zeros(2))], "differ in shape or number"),
        ([(torch.ones(2, 3), torch.zeros(2)), (torch.ones(2, 3),)], "differ in shape or number"),
        ([(torch.ones(2, 3), torch.zeros(3))], r"fields of the data: got lengths \[2, 3\]; allowed: one length"),
        ([(torch.ones(2, 3), torch.tensor([0, 2]))], "labels out of range: got 2; allowed: 0 to 1"),
    ],
)
def test_sources_that_cannot_be_used_are_named(source: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_data(source, ("a", "b"))


def test_labelled_data_has_two_fields() -> None:
    with pytest.raises(DataError, match="labelled data: got 3 fields; allowed: inputs and labels"):
        ArrayData([torch.ones(2)] * 3)
    with pytest.raises(DataError, match=r"labels: got shape \(2, 1\); allowed: one number a sample"):
        ArrayData([torch.ones(2), torch.ones(2, 1)])


def test_too_much_data_is_refused_before_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapt, "MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"data too large for memory: allowed: 100 bytes\. Give a part of it"):
        as_data((torch.ones(4, 4), torch.ones(4)) for _ in range(10**9))


def test_data_must_fit_the_network() -> None:
    core = load("zoo:digits-cnn")
    labels = torch.tensor([0, 9])
    check_fits(ArrayData([torch.randn(2, 1, 8, 8), labels]), core)
    check_fits(ArrayData([torch.randn(2, 64), labels]), load("zoo:mlp"))
    check_fits(TensorData([torch.randn(2, 5)] * 3), core)
    with pytest.raises(
        DataError, match=r"inputs of the data do not fit the network: got shape \(1, 9, 9\) each; allowed"
    ):
        check_fits(ArrayData([torch.randn(2, 1, 9, 9), labels]), core)
    with pytest.raises(DataError, match="the network does not run on the data: got"):
        check_fits(ArrayData([torch.randn(2, 64), labels]), core)
    with pytest.raises(DataError, match="labels of the data: got 10; allowed: 0 to 9"):
        check_fits(ArrayData([torch.randn(2, 1, 8, 8), torch.tensor([0, 10])]), core)
