"""The card: a small versioned JSON document inside every exported file that says all one needs to use it.

It is read and written here and nowhere else. In an ONNX file it sits in the metadata under the key `gankit`, in
TorchScript's and `.pt2`'s extra files as `gankit.json`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gankit._errors import ModelError
from gankit._labels import Labels

SCHEMA = 1
KEY = "gankit"
"""The metadata key in ONNX; TorchScript's extra file is named after it."""


@dataclass(frozen=True)
class Card:
    """What a generator file makes, and where it comes from."""

    name: str
    height: int
    width: int
    channels: int
    z_dim: int
    labels: Labels | None = None
    variant: str = "unknown"
    output: Literal["uint8", "float"] = "uint8"
    """`uint8`: [n, height, width, channels] in 0 … 255. `float`: float32 [n, channels, height, width] in [-1, 1]."""
    data: str = "unknown"
    fingerprint: str = ""
    """Of the training images, so that others of the same name are not taken for them; empty where it is not known."""
    images_seen: int = 0
    """Real images that the discriminator had seen when the weights were taken."""
    ema: bool = False
    """Whether the weights are the exponential moving average."""
    precision: str = "float32"
    """`float32`, `float16` (half weights and arithmetic) or `compact` (half weights, float32 arithmetic)."""
    rewrite: str = "plain"
    """`subpixel` or `phases` where transposed convolutions were written as convolutions: see `gankit_export.graph`."""
    opset: int = 0
    checkpoint_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)
    """What the export measured against the network: see `gankit_export.verify`."""

    @property
    def has_file_name(self) -> bool:
        """Whether the name can be a file's, as it becomes part of paths."""
        return Path(self.name).name == self.name and self.name not in ("", "..")

    def to_json(self) -> str:
        """The document, with its schema version."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_archive(cls, path: Path) -> "Card":
        """The card in a TorchScript or .pt2 file, which are zip archives; needs no torch.

        Raises:
            ModelError: there is none in it, or it cannot be read.
        """
        import zipfile  # here, as it brings every compression with it

        try:
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith(f"extra/{KEY}.json"))
                return cls.from_json(archive.read(name).decode())
        except (StopIteration, OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise ModelError(f"{path} has no card of gan-export inside") from error

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Reads a document of this or an older schema; fields that it does not know are passed over.

        Raises:
            ModelError: no JSON, a newer schema, or fields that are missing or cannot be.
        """
        try:
            document = json.loads(text)
            if document["schema"] > SCHEMA:
                raise ModelError(
                    f"the model's card has schema {document['schema']}, newer than {SCHEMA}: upgrade gankit"
                )
            values = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
            if values.get("labels"):
                stored = values["labels"]
                values["labels"] = Labels(
                    tuple(stored["names"]),
                    stored["kind"],
                    tuple(stored["frequency"]),
                    tuple(tuple(group) for group in stored["exclusive"]),
                )
            card = cls(**values)
            if not card.has_file_name:
                raise ModelError(f"the model's card has a name that is no file name: {card.name!r}")
            if min(card.height, card.width, card.channels, card.z_dim) < 1:
                raise ModelError(f"the model's card gives an impossible size: {card}")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"the model's card cannot be read ({type(error).__name__}: {error}); export it again"
            ) from None
        return card
