"""Networks, cards and references of the export's tests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gankit._card import Card
from gankit_export import ExportOptions
from gankit_export.graph import ImageGraph
from gankit_export.options import Precision
from gankit_export.verify import Reference
from gankit_train.models import checkpoints

PLAIN = ExportOptions(rewrite="plain")
COMPACT = ExportOptions(precision="compact", rewrite="plain")
SUBPIXEL = ExportOptions(rewrite="subpixel")
PHASES = ExportOptions(rewrite="phases")


def load_network(run: Path) -> tuple[checkpoints.CheckpointInfo, Any]:
    header, document = checkpoints.load_checkpoint(checkpoints.newest_checkpoint(run))
    return header, checkpoints.load_generator(header, document)


def make_card(header: checkpoints.CheckpointInfo) -> Card:
    height, width, channels = header.shape
    return Card("x", height, width, channels, header.config.networks.z_dim, header.labels, opset=18)


def prepare(run: Path, precision: Precision = "float32") -> tuple[ImageGraph, Reference, Card]:
    """What `write_file` takes of a run."""
    header, generator = load_network(run)
    card = replace(make_card(header), precision=precision)
    return ImageGraph(generator, precision=precision), Reference(generator, card, (-1, 1)), card
