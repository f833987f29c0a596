"""A file that computes something else than its network is never left under its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import gankit
from gankit._card import Card
from gankit._errors import GankitError
from gankit_export import ExportOptions, export
from gankit_export.exporter import write_file
from gankit_export.formats import FORMATS, Format
from gankit_export.graph import ImageGraph
from gankit_export.options import Precision
from gankit_export.verify import verification_cases
from tests.export.helpers import load_network, make_card, prepare


def damaged(fmt: Format, damage: str) -> Format:
    """The format with a build step that makes a mistake."""

    def build(graph: ImageGraph, card: Card) -> Any:
        body = graph.generator.body
        if damage == "flipped kernel":
            body[0].weight.data = body[0].weight.data.flip(3)
        if damage == "wrong activation":
            graph.generator.body = torch.nn.Sequential(*body[:-1], torch.nn.Hardtanh())
        if damage == "off by one label":
            first = graph.generator.first
            first.weight.data[:, 8:] = first.weight.data[:, 8:].roll(1, dims=1)
        if damage == "wrong rounding":
            graph.generator.body = torch.nn.Sequential(*body, HalfAGreyLevelDarker())
        return fmt.build(graph, card)

    return replace(fmt, build=build)


class HalfAGreyLevelDarker(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images - 0.5 / 127.5


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    yield
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("damage", ["flipped kernel", "wrong activation", "off by one label", "wrong rounding"])
def test_a_wrong_file_is_an_error(cgan_run: Path, tmp_path: Path, fmt: Format, damage: str) -> None:
    message = (
        r"was not written: .*computes something else on cpu: image \d+ with label \w+, pixel \(\d+, \d+\), "
        r"channel 0 is \d+ instead of [\d.-]+, more than 0.02 grey levels apart"
    )
    with nothing_left(tmp_path), pytest.raises(GankitError, match=message):
        write_file(damaged(fmt, damage), *prepare(cgan_run), tmp_path / f"x{fmt.suffix}")


def test_a_wrong_file_without_labels_is_an_error(dcgan_run: Path, tmp_path: Path) -> None:
    with nothing_left(tmp_path), pytest.raises(GankitError, match=r"on cpu: image \d+, pixel"):
        write_file(damaged(FORMATS["onnx"], "flipped kernel"), *prepare(dcgan_run), tmp_path / "x.onnx")


def test_the_file_is_verified_again_with_its_card(cgan_run: Path, tmp_path: Path) -> None:
    saves: list[Path] = []

    def save(artifact: Any, card: Card, path: Path) -> None:
        saves.append(path)
        if len(saves) == 2:  # when the card is added, the weights change
            for tensor in artifact.graph.initializer:
                if len(tensor.dims) > 1:
                    values = onnx.numpy_helper.to_array(tensor)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
        FORMATS["onnx"].save(artifact, card, path)

    with nothing_left(tmp_path), pytest.raises(GankitError, match="computes something else"):
        write_file(replace(FORMATS["onnx"], save=save), *prepare(cgan_run), tmp_path / "x.onnx")
    assert len(saves) == 2


@pytest.mark.parametrize("precision, shift", [("compact", 0.95), ("float16", 1.9)])
def test_a_small_shift_of_all_pixels_is_an_error(
    dcgan_run: Path, tmp_path: Path, precision: Precision, shift: float
) -> None:
    """Single pixels may be off by the tolerance, but not all of them."""

    def build(graph: ImageGraph, card: Card) -> Any:
        graph.low -= shift / 127.5
        return FORMATS["torchscript"].build(graph, card)

    with pytest.raises(GankitError, match="grey levels on average"):
        write_file(replace(FORMATS["torchscript"], build=build), *prepare(dcgan_run, precision), tmp_path / "x.ts")


def test_a_fixed_batch_size_is_an_error(dcgan_run: Path, tmp_path: Path) -> None:
    def build(graph: ImageGraph, card: Card) -> Any:
        model = FORMATS["onnx"].build(graph, card)
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = 2
        return model

    with nothing_left(tmp_path), pytest.raises(GankitError, match="batch of 1"):
        write_file(replace(FORMATS["onnx"], build=build), *prepare(dcgan_run), tmp_path / "x.onnx")


def test_float16_that_overflows_is_an_error(cgan_run: Path, tmp_path: Path) -> None:
    header, generator = load_network(cgan_run)
    with torch.no_grad():  # the same images, from numbers that float16 cannot represent
        generator.body[0].weight *= 1e6
        generator.body[3].weight /= 1e6
        norm = generator.body[1]
        norm.running_mean *= 1e6
        norm.running_var *= 1e12
        norm.weight *= 1e6
        norm.bias *= 1e6
    export(generator, make_card(header), tmp_path / "x.onnx")
    with pytest.raises(GankitError, match=r"x\.onnx was not written: .* computes something else on cpu"):
        export(generator, make_card(header), tmp_path / "x.onnx", options=ExportOptions(precision="float16"))
    assert gankit.load(tmp_path / "x.onnx", device="cpu").card.precision == "float32"  # the older file stays


def test_every_label_and_several_batch_sizes_are_compared(run: Path) -> None:
    header, _ = load_network(run)
    cases = list(verification_cases(make_card(header)))
    assert {len(case.z) for case in cases} >= {1, 7, 64}
    if header.labels:
        alone = np.concatenate([case.label for case in cases if case.label is not None and case.name[:5] == "label"])
        assert np.array_equal(np.unique(alone, axis=0), np.eye(10)[::-1])
