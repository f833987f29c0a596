"""Image folders, zips and CelebA's layout as training data."""

from pathlib import Path

import numpy as np
import pytest

from gankit._errors import UsageError
from gankit_train.data import open_dataset
from tests.helpers.datasets import celeba_folder, colour_folders, zip_folder


def test_folders_are_labels(cache: Path, tmp_path: Path) -> None:
    data = open_dataset(str(colour_folders(tmp_path / "set")))
    assert data.name == "set" and data.label_names == ("blue", "green", "red") and data.kind == "classes"
    assert data.images.shape == (30, 64, 64, 3)
    assert data.images[0, 0, 0].tolist() == [10, 10, 200] and data.vectors[0].tolist() == [1, 0, 0]
    assert data.labels is not None and data.labels.exclusive == ((0, 1, 2),)


def test_a_zip_equals_its_folder(cache: Path, tmp_path: Path) -> None:
    folder = open_dataset(str(colour_folders(tmp_path / "set")))
    archive = open_dataset(str(zip_folder(tmp_path / "set")))
    assert np.array_equal(folder.images, archive.images) and folder.fingerprint == archive.fingerprint


def test_a_single_folder_has_no_labels(cache: Path, tmp_path: Path) -> None:
    data = open_dataset(str(colour_folders(tmp_path / "set") / "red"))
    assert data.label_names == () and data.labels is None and len(data.images) == 10


def test_celeba_has_attributes_and_its_test_images_are_left_out(cache: Path, tmp_path: Path) -> None:
    root = celeba_folder(tmp_path / "faces")
    data = open_dataset(str(root), (32, 24))
    assert data.label_names == ("Blond_Hair", "Smiling") and data.kind == "attributes"
    assert data.images.shape == (9, 32, 24, 3)  # without the test image
    assert data.vectors.T.tolist() == [[0, 1, 0, 1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0]]
    one = open_dataset(str(zip_folder(root)), (32, 24), attributes=("blond",))
    assert one.label_names == ("Blond_Hair",) and one.vectors[:, 0].tolist() == data.vectors[:, 0].tolist()
    with pytest.raises(UsageError, match=r"'beard'.*Blond_Hair, Smiling"):
        open_dataset(str(root), attributes=("beard",))


def test_a_part_of_celeba_is_enough(cache: Path, tmp_path: Path) -> None:
    root = celeba_folder(tmp_path / "faces")
    (root / "img_align_celeba" / "000001.jpg").unlink()
    data = open_dataset(str(root))
    assert len(data.images) == 8 and data.vectors[:3].tolist() == [[0, 1], [0, 1], [1, 0]]


def test_celeba_with_the_csv_files_of_kaggle_is_the_same(cache: Path, tmp_path: Path) -> None:
    root = celeba_folder(tmp_path / "faces")
    expected = open_dataset(str(root)).vectors
    for name, header in (("list_attr_celeba", None), ("list_eval_partition", "image_id partition")):
        lines = (root / f"{name}.txt").read_text().splitlines()
        lines = [header, *lines] if header else [f"image_id {lines[1]}", *lines[2:]]
        (root / f"{name}.csv").write_text("\n".join(",".join(line.split()) for line in lines) + "\n")
        (root / f"{name}.txt").unlink()
    data = open_dataset(str(root))
    assert data.label_names == ("Blond_Hair", "Smiling") and np.array_equal(data.vectors, expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no attributes"),
        ("1\nBlond_Hair\n", "no attributes"),
        ("1\nBlond_Hair\n000001.jpg 1 1\n", "2 values for 000001.jpg, not 1"),
        ("1\nBlond_Hair\nnone.jpg 1\n", "no attributes of the training images"),
    ],
)
def test_a_damaged_attribute_file_is_refused_by_name(cache: Path, tmp_path: Path, text: str, words: str) -> None:
    root = celeba_folder(tmp_path / "faces")
    (root / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(UsageError, match=f"list_attr_celeba.txt.*{words}"):
        open_dataset(str(root))


def test_paths_without_images_are_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    for path, words in [
        (
            "none",
            "no data at.*digits, bricks, avatars, mnist, fashion-mnist, cifar10, celeba, stacked-mnist, or a path",
        ),
        ("empty", "no images"),
        ("text.zip", "neither"),
    ]:
        with pytest.raises(UsageError, match=words):
            open_dataset(str(tmp_path / path))
