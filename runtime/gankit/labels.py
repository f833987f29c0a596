"""The labels of a conditional model: their names, how often the data has them, and how a request becomes vectors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gankit.errors import LabelError
from gankit.latents import uniforms

LabelRequest = str | Sequence[str] | NDArray[np.floating] | None
"""What a caller may ask for.

* `None`: labels as the data has them.
* A name, an unambiguous part of one (`"blond"`), its opposite (`"not-blond"`), or several joined by commas
  (`"blond,smiling"`): for every image.
* A sequence of such requests: one for each image.
* An array [k] or [n, k]: the label vectors themselves; fractions blend.
"""


@dataclass(frozen=True)
class Labels:
    """The label names of a model, in the order of the columns of its input `label`."""

    names: tuple[str, ...]
    kind: Literal["classes", "attributes"]
    """`classes`: one-hot, each image has exactly one. `attributes`: multi-hot, each image has any number."""
    frequency: tuple[float, ...]
    """The share of the training images that has each label, in [0, 1]."""
    exclusive: tuple[tuple[int, ...], ...] = ()
    """Groups of columns of which an image has at most one, such as the hair colours. All columns for classes."""

    def vectors(self, request: LabelRequest, seed: int, start: int, count: int) -> NDArray[np.float32]:
        """Label vectors for the images `start` … of a seed: float32 [count, k].

        What a request leaves open is drawn as often as the data has it, from the seed and the image number alone. So
        an image keeps its glasses when only its hair colour is asked to change.

        Raises:
            LabelError: an unknown or ambiguous name, or an array or a sequence of the wrong length.
        """
        if isinstance(request, np.ndarray):
            return self._given(request, count)
        draws = uniforms("labels", seed, start, count, len(self.names))
        if request is None or isinstance(request, str):
            asked = self._parse(request)
            return (
                np.stack([self._fill(asked, row) for row in draws]) if count else np.zeros((0, len(self.names)), "f4")
            )
        if len(request) != count:
            raise LabelError(f"{len(request)} labels were given for {count} images; give one for all, or one for each")
        return np.stack([self._fill(self._parse(text), row) for text, row in zip(request, draws, strict=True)])

    def find(self, text: str) -> int:
        """The column of the one label whose name has `text` in it, in any case; a whole name wins over a part.

        Raises:
            LabelError: no name fits (the message lists those there are) or several do.
        """
        found = self.matching(text)
        if len(found) > 1:
            raise LabelError(f"the label {text!r} fits {self._list(found)}; write more of the name")
        return found[0]

    def matching(self, text: str) -> list[int]:
        """All columns that `text` fits: the whole name in any case if there is one, else every name that has it.

        Raises:
            LabelError: no name fits.
        """
        wanted, names = _plain(text), [_plain(name) for name in self.names]
        found = [i for i, name in enumerate(names) if name == wanted]
        found = found or [i for i, name in enumerate(names) if wanted and wanted in name]
        if not found:
            raise LabelError(f"no label fits {text!r}; this model has {self._list(range(len(self.names)))}")
        return found

    def _parse(self, request: str | None) -> dict[int, bool]:
        """What a request fixes: column → has it or not."""
        asked: dict[int, bool] = {}
        for part in (request or "").split(",") if request is not None else []:
            text, negated = part.strip(), re.match(r"\s*not[-_ ]", part, re.IGNORECASE)
            if negated and _plain(text) not in map(_plain, self.names):
                asked[self.find(part[negated.end() :].strip())] = False
            else:
                asked[self.find(text)] = True
        if self.kind == "classes" and sum(asked.values()) > 1:
            raise LabelError(
                f"an image has one class, but {request!r} asks for several; blend with an array of weights"
            )
        return asked

    def _fill(self, asked: dict[int, bool], draws: NDArray[np.float64]) -> NDArray[np.float32]:
        """One label vector: what was asked for, and the rest by `draws`, one number in [0, 1) for each column."""
        vector = np.zeros(len(self.names), np.float32)
        vector[[i for i, has in asked.items() if has]] = 1
        grouped = {i for group in self.exclusive for i in group}
        for group in [*self.exclusive, *((i,) for i in range(len(self.names)) if i not in grouped)]:
            if vector[list(group)].any():
                continue  # one of them was asked for, so the others are out
            shares = np.array([0.0 if i in asked else self.frequency[i] for i in group])
            left = max(1.0 - sum(self.frequency[i] for i in group if i in asked), 1e-9)
            edges = np.cumsum(shares / left)
            if edges[-1] > 1 - 1e-6:
                edges[-1] = 1.0  # every image has one of the group: no gap for a rounding error to fall into
            chosen = int(np.searchsorted(edges, draws[group[0]], side="right"))
            if chosen < len(group) and shares[chosen] > 0:
                vector[group[chosen]] = 1
        return vector

    def _given(self, vectors: NDArray[np.floating], count: int) -> NDArray[np.float32]:
        k = len(self.names)
        if vectors.shape not in [(k,), (count, k)] or not np.isfinite(vectors).all():
            raise LabelError(f"label vectors must be finite, [{k}] or [{count}, {k}], not {list(vectors.shape)}")
        return np.broadcast_to(vectors, (count, k)).astype(np.float32)

    def _list(self, columns: Sequence[int]) -> str:
        return ", ".join(self.names[i] for i in columns)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
