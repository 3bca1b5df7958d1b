"""Data from files: each kind, each selection, and everything that can be wrong with them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from concertina.errors import DataError
from concertina.load import open_data
from concertina.load.sources import SOURCES, base
from concertina.types import Preprocess

PLAIN = Preprocess()
PIXELS = Preprocess(1 / 255, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def npz(folder: Path, **arrays: object) -> str:
    np.savez(folder / "d.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    return str(folder / "d.npz")


def assert_refused(text: str, words: str, preprocess: Preprocess = PLAIN, class_names: tuple[str, ...] = ()) -> None:
    with pytest.raises(DataError, match=words):
        open_data(text, preprocess=preprocess, class_names=class_names)


def test_images_are_preprocessed_channel_by_channel(tmp_path: Path) -> None:
    data = open_data(npz(tmp_path, images=IMAGES, labels=LABELS.astype(np.uint8)), preprocess=PIXELS)
    expected = (IMAGES.transpose(0, 3, 1, 2) / 255 - np.reshape(PIXELS.mean, (3, 1, 1))) / np.reshape(
        PIXELS.std, (3, 1, 1)
    )
    assert data.inputs.dtype == torch.float32
    assert data.inputs.is_contiguous()
    assert torch.allclose(data.inputs, torch.from_numpy(expected).float(), atol=1e-6)
    assert data.labels.tolist() == LABELS.tolist()
    assert data.counts == {"0": 4, "1": 4, "2": 4}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((12, 7), (12, 7)), ((12, 5, 4), (12, 1, 5, 4)), ((12, 3, 5, 4), (12, 3, 5, 4)), ((12, 5, 4, 1), (12, 1, 5, 4))],
)
@pytest.mark.parametrize("dtype", [">f4", np.float16, np.float64, np.uint16, np.int32, np.bool_])
def test_shapes_and_dtypes_of_inputs(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...], dtype: object
) -> None:
    values = RNG.integers(0, 9, shape).astype(dtype)  # type: ignore[call-overload]
    data = open_data(npz(tmp_path, x=values, y=LABELS), preprocess=PLAIN)
    assert tuple(data.inputs.shape) == expected
    assert float(data.inputs.sum()) == float(values.astype(np.float64).sum())


def test_a_field_selects_samples_and_the_file_names_the_classes(tmp_path: Path) -> None:
    part = np.where(np.arange(12) < 6, "calibration", "test")
    path = npz(tmp_path, images=IMAGES, labels=LABELS, part=part, class_names=["x", "y", "z"])
    data = open_data(f"{path}@part=calibration", preprocess=PIXELS, class_names=("x", "y", "z"))
    assert (len(data), data.class_names) == (6, ("x", "y", "z"))
    assert torch.equal(data.inputs, open_data(path, preprocess=PIXELS).inputs[:6])
    assert_refused(f"{path}@part=none", r"field 'part' of .*got none; allowed: calibration \(6\), test \(6\)")
    assert_refused(f"{path}@split=train", "has no field 'split' to select by: allowed: images, labels, part")
    assert_refused(f"{path}@part=", "selection in .*got 'part='; allowed: 'split=train'")
    assert_refused(
        path, "class names of .* differ from the network's: got x, y, z; allowed: x, z, y", PIXELS, ("x", "z", "y")
    )


def test_a_prefix_is_a_split(tmp_path: Path) -> None:
    path = npz(tmp_path, train_images=IMAGES, train_labels=LABELS, val_images=IMAGES[:6], val_labels=LABELS[:6])
    assert len(open_data(f"{path}@split=train", preprocess=PLAIN)) == 12
    assert len(open_data(f"{path}@validation", preprocess=PLAIN)) == 6
    assert_refused(f"{path}@split=test", "split of .*got test; allowed: .*@split=train, .*@split=val")
    assert_refused(path, "split of .*got none; allowed: .*@split=train")


def test_files_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    assert_refused(str(tmp_path / "none.npz"), "got no such file or folder")
    assert_refused("bad\0name.npz", "got no such file or folder")
    assert_refused("x" * 5000, "got no such file or folder")
    for name in ("a.npz", "a.parquet"):
        (tmp_path / name).write_bytes(b"PK not this")
        assert_refused(str(tmp_path / name), "is no sound (npz|parquet) file")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")
    assert_refused(str(tmp_path / "a.csv"), "is no sound csv file")
    for name in ("a.xyz", "a.folder", "a.digits", "noending"):
        (tmp_path / name).write_bytes(b"")
        assert_refused(str(tmp_path / name), "got kind .*allowed: .npz, .parquet, .csv, a folder")
    whole = Path(npz(tmp_path, images=IMAGES, labels=LABELS)).read_bytes()
    for end in range(0, len(whole), 97):
        (tmp_path / "cut.npz").write_bytes(whole[:end])
        assert_refused(str(tmp_path / "cut.npz"), "is no sound npz file|cannot be read")


def test_arrays_with_code_are_not_run(tmp_path: Path) -> None:
    path = npz(tmp_path, images=np.array([{"a": 1}], dtype=object), labels=[0])
    assert_refused(path, "array 'images' of .* cannot be read: got Object arrays cannot be loaded")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES}, "has no labels: got images; allowed: labels or label"),
        ({"labels": LABELS}, "has no inputs: got labels; allowed: images or"),
        ({"images": IMAGES, "labels": LABELS[:5]}, r"inputs and labels: got shapes \(12, 5, 4, 3\) and \(5,\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "data without samples"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "labels: got torch.float64 with fractions"),
        ({"images": IMAGES, "labels": np.where(LABELS == 1, np.nan, LABELS)}, "labels: got torch.float64 with"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels out of range: got -1; allowed: 0 and more"),
        ({"images": IMAGES, "labels": LABELS * 2}, "classes without samples in .*: 1, 3: got 0 4, 1 0, 2 4, 3 0, 4 4"),
        (
            {"images": IMAGES, "labels": LABELS, "class_names": ["a", "b"]},
            "labels out of range: got 2; allowed: 0 to 1",
        ),
        (
            {"images": IMAGES, "labels": LABELS, "class_names": ["a", "b", "c", "d"]},
            "classes without samples in .*: d: got a 4, b 4, c 4, d 0",
        ),
        ({"images": IMAGES.astype(str), "labels": LABELS}, "inputs of .*: got <U.*; allowed: numbers"),
        ({"images": IMAGES[None, None][0], "labels": LABELS[:1]}, r"got shape \(1, 12, 5, 4, 3\); allowed: 2, 3 or 4"),
        ({"images": IMAGES, "labels": LABELS, "part": ["a"]}, "field part: allowed: one value for each of 12"),
    ],
)
def test_contents_that_cannot_be_used_are_named(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    suffix = "@part=a" if "part" in arrays else ""
    assert_refused(npz(tmp_path, **arrays) + suffix, words)


def test_inputs_that_do_not_suit_the_preprocessing(tmp_path: Path) -> None:
    assert_refused(npz(tmp_path, images=IMAGES / 255, labels=LABELS), "inputs are between 0 and 1 already", PIXELS)
    grey = npz(tmp_path, images=IMAGES[..., 0], labels=LABELS)
    assert_refused(grey, "channels of the data: got 1; allowed: 3", PIXELS)
    holes = np.where(np.arange(12)[:, None] == 7, np.nan, 1.0) * np.ones((12, 4))
    assert_refused(npz(tmp_path, x=holes, y=LABELS), "1 samples hold NaN or infinite inputs, the first is number 7")


def test_text_labels_are_numbered_in_the_networks_order(tmp_path: Path) -> None:
    path = npz(tmp_path, x=RNG.random((4, 2)), y=["cat", "dog", "dog", "ant"])
    assert open_data(path, preprocess=PLAIN).class_names == ("ant", "cat", "dog")
    data = open_data(path, preprocess=PLAIN, class_names=("dog", "cat", "ant"))
    assert data.labels.tolist() == [1, 0, 0, 2]
    assert_refused(path, "labels of .*: got ant; allowed: dog, cat", class_names=("dog", "cat"))


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,label,b,split\n1,0,2.5,train\n3,1,-1,train\n\n5,0,0,test\n", encoding="utf-8-sig")
    data = open_data(f"{path}@split=train", preprocess=PLAIN)
    assert data.inputs.tolist() == [[1.0, 2.5], [3.0, -1.0]]
    assert data.labels.tolist() == [0, 1]
    assert_refused(str(path), "column 'split' of .*could not convert string to float.*; allowed: numbers")
    assert_refused(f"{path}@fold=1", "has no field 'fold'")
    path.write_text("a,label\n1,0\n2\n")
    assert_refused(str(path), "line 3 of .*: got 1 fields; allowed: 2")
    path.write_text("a,label\n")
    assert_refused(str(path), "has no samples: allowed: a header line")
    path.write_text("label\n0\n")
    assert_refused(str(path), "has no feature columns")
    path.write_text("a,kind\n1,0\n")
    assert_refused(str(path), "has no label column: got a, kind")


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def test_parquet_with_encoded_images(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = str(tmp_path / "d.parquet")
    cells = [encoded(pixels, "WEBP", lossless=True) for pixels in IMAGES]
    split = ["train"] * 6 + ["test"] * 6
    parquet.write_table(arrow.table({"image": cells, "label": LABELS, "split": split}), path)
    calls: list[tuple[str, float]] = []
    data = open_data(f"{path}@split=test", preprocess=PIXELS, progress=lambda *seen: calls.append(seen))
    assert torch.equal(
        data.inputs, open_data(npz(tmp_path, images=IMAGES[6:], labels=LABELS[6:]), preprocess=PIXELS).inputs
    )
    assert calls[-1] == ("decoding images", 1.0)
    assert_refused(f"{path}@split=dev", r"field 'split' of .*allowed: test \(6\), train \(6\)")
    assert_refused(f"{path}@part=a", "has no column 'part' to select by: allowed: image, label, split")
    nested = [{"bytes": cell, "path": None} for cell in cells]
    parquet.write_table(arrow.table({"image": nested, "label": LABELS}), path)
    assert torch.equal(open_data(path, preprocess=PIXELS).inputs[6:], data.inputs)
    parquet.write_table(arrow.table({"image": [*cells[:-1], cells[0][:40]], "label": LABELS}), path)
    assert_refused(path, "column 'image', row 11 is no sound image")


def test_parquet_with_numbers_and_with_holes(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = str(tmp_path / "d.parquet")
    parquet.write_table(arrow.table({"a": [1, 2], "b": [0.5, 1.5], "label": ["n", "p"]}), path)
    data = open_data(path, preprocess=PLAIN)
    assert (data.inputs.tolist(), data.class_names) == ([[1.0, 0.5], [2.0, 1.5]], ("n", "p"))
    parquet.write_table(arrow.table({"x": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]}), path)
    assert open_data(path, preprocess=PLAIN).inputs.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    parquet.write_table(arrow.table({"x": [[1.0, 2.0], [3.0]], "y": [0, 1]}), path)
    assert_refused(path, "allowed: encoded images, or lists of numbers of one length")
    parquet.write_table(arrow.table({"a": [1, 2], "label": [0, None]}), path)
    assert_refused(path, "labels of .*: got missing or mixed values")
    parquet.write_table(arrow.table({"text": ["so", "so"], "label": [0, 1]}), path)
    assert_refused(path, "column 'text' of .*allowed: numbers")


def folder_of_images(root: Path, pixels: np.ndarray = IMAGES) -> str:
    for row, image in enumerate(pixels):
        place = root / "train" / "abc"[row % 3]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row:02}.png").write_bytes(encoded(image))
    return str(root)


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    path = folder_of_images(tmp_path)
    data = open_data(f"{path}@split=train", preprocess=PIXELS)
    assert (len(data), data.class_names) == (12, ("a", "b", "c"))
    assert torch.equal(data.inputs, open_data(f"{path}/train", preprocess=PIXELS).inputs)
    given = open_data(f"{path}/train", preprocess=PIXELS, class_names=("c", "b", "a"))
    assert given.labels[:4].tolist() == [0, 0, 0, 0]
    assert torch.equal(given.inputs[:4], data.inputs[8:])
    assert_refused(f"{path}@split=test", "split of .*got test; allowed: train")
    assert_refused(f"{path}@split=..", "split of .*allowed: train")
    assert_refused(f"{path}@part=a", "selection in the folder .*got part; allowed: split")
    assert_refused(f"{path}/train", "class folders of .*got b, c; allowed: a", PIXELS, ("a",))
    assert_refused(f"{path}/train", "classes without samples in .*: d", PIXELS, ("a", "b", "c", "d"))
    assert_refused(path, "holds no images: allowed: one folder per class")
    (tmp_path / "train" / "a" / "odd.png").write_bytes(encoded(IMAGES[0][:3]))
    assert_refused(
        f"{path}/train", "images of different size or kind: got 4x3 colour in .*odd.png; allowed: 4x5 colour"
    )
    (tmp_path / "train" / "a" / "odd.png").write_bytes(encoded(IMAGES[0].astype(np.uint16)[..., 0]))
    assert_refused(f"{path}/train", "odd.png has pixels of more than 8 bits: got I")


def test_digits_have_a_fixed_split_without_overlap() -> None:
    pytest.importorskip("sklearn")
    parts = [open_data(f"zoo:digits@{name}", preprocess=PLAIN) for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1078, 359, 360]
    assert float(max(part.inputs.max() for part in parts)) == 16.0
    rows = [{image.numpy().tobytes() for image in part.inputs} for part in parts]
    assert sum(map(len, rows)) - len(set.union(*rows)) == 0
    assert all(min(part.counts.values()) >= 35 for part in parts)
    assert parts[2].fingerprint == open_data("zoo:digits@split=test", preprocess=PLAIN).fingerprint
    assert_refused("zoo:digits", "part of zoo:digits: got none; allowed: zoo:digits@train, zoo:digits@validation")
    assert_refused("zoo:digits@dev", "got dev; allowed: zoo:digits@train")
    assert_refused("zoo:mnist@train", "got mnist; allowed: zoo:digits")


def test_a_missing_library_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(base.importlib, "import_module", missing)
    assert_refused(
        "zoo:digits@train", r'needs scikit-learn, which is not installed. Run: pip install "concertina-nn\[demo\]"'
    )
    (tmp_path / "d.parquet").write_bytes(b"")
    assert_refused(
        str(tmp_path / "d.parquet"),
        r'needs pyarrow.*"concertina-nn\[data\]" \(in a clone of the repository: pip install -e "\.\[data\]"\)',
    )


def test_every_kind_of_source_is_registered() -> None:
    assert SOURCES.names() == ("csv", "digits", "folder", "npz", "parquet")


@pytest.mark.real
def test_real_files_open(real_data: Path) -> None:
    cells = open_data(f"{real_data}/bccd-cells.npz@split=val", preprocess=PIXELS)
    assert cells.class_names == ("RBC", "WBC", "Platelets")
    assert list(cells.counts.values()) == [967, 87, 83]
    shirts = open_data(f"{real_data}/fashion-mnist.npz@split=test", preprocess=Preprocess(1 / 255))
    assert shirts.inputs.shape == (8000, 1, 28, 28)
    assert 0.27 < float(shirts.inputs.mean()) < 0.30


@pytest.mark.real
def test_real_network_reaches_its_known_accuracy_on_calibration_data(real_data: Path) -> None:
    from concertina.load import batches, check_fits, load

    core = load("zoo:cifar-resnet20", weights=real_data / "resnet20-cifar10.safetensors")
    path = real_data / "cifar10-test.npz"
    data = open_data(f"{path}@part=calibration", preprocess=core.preprocess, class_names=core.class_names)
    check_fits(data, core)
    with torch.no_grad():
        hits = sum(int((core.module(x).argmax(1) == y).sum()) for x, y in batches(data, 250))
    assert hits == pytest.approx(2317, abs=3)
