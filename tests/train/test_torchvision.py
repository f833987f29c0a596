"""Data sets of torchvision: the real package on small files in the original formats, without a network."""

import gzip
import hashlib
import importlib.util
import io
import pickle
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from gankit._errors import GankitError, MissingExtraError
from gankit_train.data import open_dataset
from tests.helpers.datasets import celeba_folder, idx_bytes, random_images


@pytest.fixture(scope="session")
def datasets() -> ModuleType:
    """Imports torchvision.datasets; with a CPU build of torch, this works only without its compiled operators."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    import torch

    register = torch.library.register_fake

    def lenient(op: Any, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            try:
                return register(op, *arguments, **options)(function)
            except RuntimeError:
                if not str(op).startswith("torchvision::"):
                    raise
                return function

        return decorate

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(torch.library, "register_fake", lenient)
        from torchvision import datasets
    return datasets


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder in which torchvision looks for files."""
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "cache" / "torchvision"
    root.mkdir(parents=True)
    return root


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


IMAGES = random_images(6, 28, 28)
CLASSES = np.array([9, 0, 1, 6, 0, 9], np.uint8)
MNIST_FILES = {
    "train-images-idx3-ubyte": idx_bytes(IMAGES),
    "train-labels-idx1-ubyte": idx_bytes(CLASSES),
    "t10k-images-idx3-ubyte": idx_bytes(IMAGES[:2]),
    "t10k-labels-idx1-ubyte": idx_bytes(CLASSES[:2]),
}


def mnist_files(root: Path, kind: str = "MNIST") -> Path:
    raw = root / kind / "raw"
    raw.mkdir(parents=True)
    for name, content in MNIST_FILES.items():
        (raw / name).write_bytes(content)
    return raw


@pytest.mark.parametrize(
    ("name", "kind", "label_names"),
    [
        ("mnist", "MNIST", ("0", "1", "6", "9")),
        ("fashion-mnist", "FashionMNIST", ("t-shirt-top", "trouser", "shirt", "ankle-boot")),
    ],
)
def test_mnist_and_fashion_mnist_are_read(
    datasets: ModuleType, root: Path, name: str, kind: str, label_names: tuple[str, ...]
) -> None:
    mnist_files(root, kind)
    data = open_dataset(name)
    assert data.name == name and data.kind == "classes" and data.label_names == label_names
    assert np.array_equal(data.images[..., 0], IMAGES)  # the training part only
    assert data.vectors.argmax(1).tolist() == [3, 0, 1, 2, 0, 3]
    assert data.labels is not None and data.labels.find("0" if name == "mnist" else "T-shirt") == 0


def test_packed_files_may_be_put_there_by_hand(
    datasets: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, resources = root / "MNIST" / "raw", []
    raw.mkdir(parents=True)
    for name, content in MNIST_FILES.items():
        (raw / f"{name}.gz").write_bytes(packed := gzip.compress(content))
        resources.append((f"{name}.gz", md5(packed)))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    assert np.array_equal(open_dataset("mnist").images[..., 0], IMAGES)


def test_damaged_files_are_reported_with_what_to_do(datasets: ModuleType, root: Path) -> None:
    raw = mnist_files(root)
    (raw / "train-images-idx3-ubyte").write_bytes(MNIST_FILES["train-images-idx3-ubyte"][:-9])
    with pytest.raises(
        GankitError, match=r"torchvision cannot download mnist \(.+\): try again, or replace .*MNIST/raw"
    ):
        open_dataset("mnist")


def test_cifar10_is_read(datasets: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(1).integers(0, 256, (10, 3, 32, 32), np.uint8)
    classes = [0, 0, 3, 9, 3, 0, 9, 9, 9, 0]
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files: dict[str, Any] = {"batches.meta": {"label_names": names}}
    for i in range(5):
        part = slice(2 * i, 2 * i + 2)
        files[f"data_batch_{i + 1}"] = {"data": images[part].reshape(2, -1), "labels": classes[part]}
    files["test_batch"] = {"data": images[:1].reshape(1, -1), "labels": [5]}
    packed = {name: pickle.dumps(content, 2) for name, content in files.items()}
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, content in packed.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    # torchvision identifies the real files by their checksums; these are those of the small ones.
    kind, batches = datasets.CIFAR10, [f"data_batch_{i + 1}" for i in range(5)]
    monkeypatch.setattr(kind, "tgz_md5", md5((root / "cifar-10-python.tar.gz").read_bytes()))
    monkeypatch.setattr(kind, "train_list", [[name, md5(packed[name])] for name in batches])
    monkeypatch.setattr(kind, "test_list", [["test_batch", md5(packed["test_batch"])]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(packed["batches.meta"])})

    data = open_dataset("cifar10")
    assert np.array_equal(data.images, images.transpose(0, 2, 3, 1))
    assert data.label_names == ("airplane", "cat", "truck")
    assert data.vectors.argmax(1).tolist() == [(0, 3, 9).index(i) for i in classes]


def celeba_files(root: Path) -> Path:
    """Writes a small CelebA as it is offered for download: images in a zip, and the lists beside it."""
    folder = celeba_folder(root / "celeba")
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for file in sorted((folder / "img_align_celeba").iterdir()):
            archive.write(file, file.relative_to(folder))
            file.unlink()
    (folder / "img_align_celeba").rmdir()
    names = [f"{i:06d}.jpg" for i in range(10)]
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in names))
    for part in ("bbox_celeba", "landmarks_align_celeba"):
        (folder / f"list_{part}.txt").write_text("10\nx y\n" + "".join(f"{name} 1 2\n" for name in names))
    return folder


@pytest.fixture
def small_celeba(datasets: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes CelebA's files as downloaded, with their checksums in torchvision, so that nothing is downloaded."""
    folder = celeba_files(root)
    known = [(key, md5((folder / name).read_bytes()), name) for key, _, name in datasets.CelebA.file_list]
    monkeypatch.setattr(datasets.CelebA, "file_list", known)
    monkeypatch.setitem(sys.modules, "gdown", ModuleType("gdown"))  # torchvision imports it before it looks for files
    return folder


def test_celeba_is_unpacked_and_read_with_its_attributes(small_celeba: Path) -> None:
    data = open_dataset("celeba", (32, 24), attributes=("smiling",))
    assert data.name == "celeba" and data.kind == "attributes" and data.label_names == ("Smiling",)
    assert data.images.shape == (9, 32, 24, 3)  # without the test image
    assert data.vectors[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert (small_celeba / "img_align_celeba" / "000009.jpg").exists()


def test_an_interrupted_unpacking_of_celeba_is_noticed(small_celeba: Path) -> None:
    open_dataset("celeba", (32, 24))
    (small_celeba / "img_align_celeba" / "000005.jpg").unlink()
    with pytest.raises(GankitError, match="img_align_celeba has 9 of 10 images: delete that folder"):
        open_dataset("celeba", (32, 24))


def test_celeba_put_there_by_hand_needs_no_torchvision(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    celeba_folder(root / "celeba")
    assert len(open_dataset("celeba", (32, 24)).images) == 9


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("mnist", "MNIST", "torchvision/MNIST/raw by its four .gz files"),
        ("fashion-mnist", "FashionMNIST", "torchvision/FashionMNIST/raw by its four .gz files"),
        ("cifar10", "CIFAR10", "torchvision by cifar-10-python.tar.gz"),
        ("celeba", "CelebA", "torchvision/celeba by list_attr_celeba.txt, .* and the folder img_align_celeba"),
    ],
)
def test_a_missing_network_is_reported_with_the_files_to_put_there(
    datasets: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, words: str
) -> None:
    def fail(self: object) -> None:
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr(getattr(datasets, kind), "download", fail)
    with pytest.raises(
        GankitError, match=rf"cannot download {name} \(.*Name or service not known>\): try again, or replace .*{words}"
    ) as caught:
        open_dataset(name)
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets that torchvision was imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_torchvision_for_another_torch_is_reported(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_torchvision: None
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        GankitError,
        match=r"does not fit the installed torch \(operator torchvision::nms does not exist\): install both .*PATH",
    ):
        open_dataset("cifar10")


def test_a_missing_torchvision_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch, no_torchvision: None) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r"the mnist data set .*gankit\[train\]"):
        open_dataset("mnist")
