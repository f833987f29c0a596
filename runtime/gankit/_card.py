"""The model card: a small versioned JSON document inside every exported file, with everything needed to use the file.

Cards are read and written here and nowhere else. An ONNX file has the card in its metadata under the key `gankit`; the
zip formats of PyTorch (TorchScript, .pt2) have it in the extra file `gankit.json`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gankit._errors import ModelError
from gankit._labels import Labels

SCHEMA = 1
KEY = "gankit"
"""The metadata key of the card in ONNX files, and the name of the extra file in PyTorch's formats."""

_OLD_VERIFICATION = {
    "largest_error_steps": "max_error",
    "mean_error_steps": "mean_error",
    "tolerance_steps": "tolerance",
}
"""Fields of `verification` that gankit 0.1 wrote under other names."""


@dataclass(frozen=True)
class Card:
    """What a generator file produces and how it was trained and exported."""

    name: str
    """The model's name, usable as a file name."""
    height: int
    """Height of the images in pixels."""
    width: int
    """Width of the images in pixels."""
    channels: int
    """Channels of the images: 1 (grey) or 3 (RGB)."""
    z_dim: int
    """Dimension of the latent vectors."""
    labels: Labels | None = None
    """The labels of a conditional model; None for an unconditional one."""
    variant: str = "unknown"
    """The kind of GAN: `vanilla`, `dcgan`, `wgan-gp`, `cgan` or another name."""
    output: Literal["uint8", "float"] = "uint8"
    """What the graph returns. `uint8`: [n, height, width, channels] in 0 … 255. `float`: float32
    [n, channels, height, width] in [-1, 1]."""
    data: str = "unknown"
    """The name of the training data."""
    fingerprint: str = ""
    """A hash of the training images, which tells data sets of the same name apart; empty if unknown."""
    images_seen: int = 0
    """The number of training images that the discriminator had processed when the weights were saved."""
    ema: bool = False
    """Whether the weights are the exponential moving average over training."""
    precision: str = "float32"
    """`float32`, `float16` (float16 weights and arithmetic) or `compact` (float16 weights, float32 arithmetic)."""
    rewrite: str = "plain"
    """`subpixel` or `phases` if the export replaced transposed convolutions: see `gankit_export.graph`."""
    opset: int = 0
    """The ONNX opset of the file; 0 for other formats."""
    checkpoint_sha256: str = ""
    """SHA-256 of the exported checkpoint; empty if there was none."""
    versions: dict[str, str] = field(default_factory=dict)
    """The versions of the packages that exported the file."""
    verification: dict[str, Any] = field(default_factory=dict)
    """How far the file's images were from the network's when it was exported: see `gankit_export.verify`. Errors are in
    grey levels, steps of 1/255."""

    @property
    def has_file_name(self) -> bool:
        """Whether `name` is usable as a file name, because it becomes part of output paths."""
        return Path(self.name).name == self.name and self.name not in ("", "..")

    def to_json(self) -> str:
        """The card as a JSON document, with its schema version."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Reads a JSON document of the current or an older schema. Unknown fields are ignored.

        Raises:
            ModelError: the text is not JSON, has a newer schema, or has missing or impossible fields.
        """
        try:
            document = json.loads(text)
            if document["schema"] > SCHEMA:
                raise ModelError(
                    f"the model's card has schema {document['schema']}, newer than {SCHEMA}: upgrade gankit"
                )
            values = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
            if values.get("labels"):
                values["labels"] = _labels_from(values["labels"])
            values["verification"] = _with_current_names(values.get("verification", {}))
            card = cls(**values)
            if not card.has_file_name:
                raise ModelError(f"the model's card has the name {card.name!r}, which is not a file name")
            if min(card.height, card.width, card.channels, card.z_dim) < 1:
                raise ModelError(f"the model's card has an impossible size: {card}")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"the model's card cannot be read ({type(error).__name__}: {error}); export the model again"
            ) from None
        return card

    @classmethod
    def from_archive(cls, path: Path) -> "Card":
        """Reads the card of a TorchScript or .pt2 file, without PyTorch.

        Raises:
            ModelError: the file has no card, or the card cannot be read.
        """
        import zipfile  # here, because it imports every compression module

        try:
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith(f"extra/{KEY}.json"))
                return cls.from_json(archive.read(name).decode())
        except (StopIteration, OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise ModelError(f"{path} has no card; only files of gan-export have one") from error


def card_from_session(session: Any, name: str) -> Card:
    """The card of an open ONNX Runtime session. A file without a card gets one that its inputs and outputs imply.

    Args:
        session: an `onnxruntime.InferenceSession`.
        name: what errors call the model.

    Raises:
        ModelError: the inputs and outputs do not fit the generator's contract, or contradict the card.
    """
    implied = _card_from_shapes(session, name)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        return implied
    card, found = Card.from_json(text), _signature(session)
    for field_name, written, actual in (
        ("height", card.height, implied.height),
        ("width", card.width, implied.width),
        ("channels", card.channels, implied.channels),
        ("z_dim", card.z_dim, implied.z_dim),
        ("output", card.output, implied.output),
    ):
        if written != actual:
            raise ModelError(f"the card of {name} has {field_name} {written}, but the graph has {found}")
    labels, columns = (len(each.labels.names) if each.labels else 0 for each in (card, implied))
    if labels != columns:
        raise ModelError(f"the card of {name} has {labels} labels, but the graph has {found}")
    return card


def _card_from_shapes(session: Any, name: str) -> Card:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    fits = len(inputs) in (1, 2) and len(outputs) == 1 and all(i.type == "tensor(float)" for i in inputs)
    fits = fits and all(len(i.shape) == 2 and isinstance(i.shape[1], int) for i in inputs)
    fits = fits and len(outputs[0].shape) == 4 and outputs[0].type in ("tensor(uint8)", "tensor(float)")
    if not fits or not all(isinstance(edge, int) for edge in outputs[0].shape[1:]):
        raise ModelError(
            f"{name} does not fit gankit's contract, which is z [n, z_dim] and optionally label [n, k] → images; "
            f"it has {_signature(session)}"
        )
    if isinstance(inputs[0].shape[0], int):
        raise ModelError(f"{name} only takes batches of {inputs[0].shape[0]}; export it with a dynamic batch axis")
    output: Literal["uint8", "float"] = "uint8" if outputs[0].type == "tensor(uint8)" else "float"
    size = outputs[0].shape[1:]
    height, width, channels = size if output == "uint8" else (size[1], size[2], size[0])
    k = inputs[1].shape[1] if len(inputs) == 2 else 0
    labels = Labels(tuple(map(str, range(k))), "classes", (1 / k,) * k, (tuple(range(k)),)) if k else None
    return Card(Path(name).stem or "model", height, width, channels, inputs[0].shape[1], labels, output=output)


def _signature(session: Any) -> str:
    """The inputs and outputs of a session, for errors."""
    values = [*session.get_inputs(), *session.get_outputs()]
    return ", ".join(f"{value.name} {value.type} {value.shape}" for value in values)


def _labels_from(document: dict[str, Any]) -> Labels:
    return Labels(
        tuple(document["names"]),
        document["kind"],
        tuple(document["frequency"]),
        tuple(tuple(group) for group in document["exclusive"]),
    )


def _with_current_names(verification: Any) -> Any:
    """The `verification` of a card of any version, with today's field names."""
    if isinstance(verification, dict):
        return {_OLD_VERIFICATION.get(key, key): _with_current_names(value) for key, value in verification.items()}
    return [_with_current_names(each) for each in verification] if isinstance(verification, list) else verification
