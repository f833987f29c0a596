"""The labels of a conditional model: their names, how often the data has them, and how a request becomes vectors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gankit._errors import LabelError
from gankit._latents import uniforms

_One = str | Mapping[str, float] | None
LabelRequest = _One | Sequence[_One] | Sequence[float] | NDArray[np.floating]
"""What a caller may ask for.

* `None`: labels as the data has them.
* A name, an unambiguous part of one (`"blond"`), its opposite (`"not-blond"`), or several joined by commas
  (`"blond,smiling"`): for every image.
* Weights from 0 to 1: `{"blond": 0.7, "smiling": 1}`, or as text `"blond=0.7,smiling"`. What is left of labels of which
  every image has one, such as the hair colours, goes to another of them.
* A sequence of such requests: one for each image.
* An array [k] or [n, k], or a list of k numbers: the label vectors themselves; fractions blend.
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

    def __post_init__(self) -> None:
        """Raises ValueError where the parts do not fit together, as in a damaged card."""
        if len(self.frequency) != len(self.names) or not all(0 <= share <= 1 for share in self.frequency):
            raise ValueError(f"{len(self.names)} labels with the frequencies {self.frequency}")
        if not all(0 <= i < len(self.names) for group in self.exclusive for i in group):
            raise ValueError(f"{len(self.names)} labels in the groups {self.exclusive}")

    def vectors(self, request: LabelRequest, seed: int, start: int, count: int) -> NDArray[np.float32]:
        """Label vectors for the images `start` … of a seed: float32 [count, k].

        What a request leaves open is drawn as often as the data has it, from the seed and the image number alone. So
        an image keeps its glasses when only its hair colour is asked to change.

        Raises:
            LabelError: an unknown or ambiguous name, or an array or a sequence of the wrong length.
        """
        if request is None or isinstance(request, str | Mapping):
            requests: list[Any] = [request] * count
        elif all(each is None or isinstance(each, str | Mapping) for each in _sequence(request)):
            requests = list(request)
        else:
            return self._given(request, count)
        if len(requests) != count:
            raise LabelError(f"{len(requests)} labels were given for {count} images; give one for all, or one for each")
        draws = uniforms("labels", seed, start, count, len(self.names))
        rows: dict[Any, list[int]] = {}  # of each different request, which is read once
        for i, each in enumerate(requests):
            rows.setdefault(id(each) if isinstance(each, Mapping) else each, []).append(i)
        vectors = np.zeros((count, len(self.names)), np.float32)
        for same in rows.values():
            vectors[same] = self._filled(self._parse(requests[same[0]]), draws[same])
        return vectors

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
        """All columns that `text` fits: the name itself, else a name in another case, else every name that has it.

        Raises:
            LabelError: no name fits.
        """
        if text in self.names:
            return [self.names.index(text)]
        wanted, names = _plain(text), [_plain(name) for name in self.names]
        found = [i for i, name in enumerate(names) if name == wanted]
        found = found or [i for i, name in enumerate(names) if wanted and wanted in name]
        if not found:
            raise LabelError(f"no label fits {text!r}; there are {self._list(range(len(self.names)))}")
        return found

    def _parse(self, request: str | Mapping[str, float] | None) -> dict[int, float]:
        """What a request fixes: column → weight, 0 for a label that an image must not have."""
        asked: dict[int, float] = {}
        for text, weight in self._parts(request):
            opposite = re.match(r"\s*not[-_ ](.*)", text, re.IGNORECASE)
            if opposite and weight == 1 and _plain(text) not in map(_plain, self.names):
                column, weight = self.find(opposite[1].strip()), 0.0
            else:
                column = self.find(text)
            if not 0 <= weight <= 1:
                raise LabelError(f"a label's weight is from 0 to 1, not {weight} as for {text!r}")
            if asked.setdefault(column, weight) != weight:
                other = "its opposite" if 0 in (weight, asked[column]) else "another weight of it"
                raise LabelError(f"{request!r} asks for {self.names[column]} and for {other}")
        for group in self.exclusive:
            wanted = [i for i in group if asked.get(i)]
            if sum(asked[i] for i in wanted) > 1 + 1e-6:
                parts = ",".join(f"{self.names[i]}={1 / len(wanted):.2g}" for i in wanted)
                raise LabelError(
                    f"an image has only one of {self._list(wanted)}; blend them by weights, such as {parts}"
                )
            if self._certain(group) and all(asked.get(i) == 0 for i in group):
                raise LabelError(f"{request!r} leaves none of {self._list(group)}, of which every image has one")
        return asked

    def _parts(self, request: str | Mapping[str, float] | None) -> list[tuple[str, float]]:
        """A request as names and weights."""
        if isinstance(request, Mapping):
            try:
                return [(str(name), float(weight)) for name, weight in request.items()]
            except (TypeError, ValueError):
                raise LabelError(f"labels are given weights that are numbers, not {dict(request)!r}") from None
        # A name may have a comma or an equals sign in it.
        parts = [] if request is None else [request] if request in self.names else request.split(",")
        found = []
        for part in (part.strip() for part in parts):
            name, equals, weight = part.rpartition("=")
            if not equals or part in self.names:
                found.append((part, 1.0))
                continue
            try:
                found.append((name.strip(), float(weight)))
            except ValueError:
                raise LabelError(f"a label's weight is a number, such as {name}=0.7, not {weight!r}") from None
        return found

    def _filled(self, asked: dict[int, float], draws: NDArray[np.float64]) -> NDArray[np.float32]:
        """Vectors with what was asked for, and the rest by `draws` in [0, 1): [n, k] → [n, k]."""
        vectors = np.zeros(draws.shape, np.float32)
        for i, weight in asked.items():
            vectors[:, i] = weight
        grouped = {i for group in self.exclusive for i in group}
        for group in [*self.exclusive, *((i,) for i in range(len(self.names)) if i not in grouped)]:
            left = 1.0 - sum(asked.get(i, 0.0) for i in group)
            settled = any(i in asked for i in group) and (len(group) == 1 or left < 1)
            if settled and (len(group) == 1 or left < 1e-6 or not self._certain(group)):
                continue
            shares = np.array([0.0 if i in asked else self.frequency[i] for i in group])
            edges = np.cumsum(shares)
            # What is still possible: one of those left, or, where not every image has one of the group, none.
            total = edges[-1] if self._certain(group) else 1.0 - sum(self.frequency[i] for i in group if i in asked)
            if total > 0:
                chosen = np.searchsorted(edges / total, draws[:, group[0]], side="right")
                row = np.flatnonzero(chosen < len(group))
                vectors[row, np.asarray(group)[chosen[row]]] = left
        return vectors

    def _certain(self, group: Sequence[int]) -> bool:
        """Whether every image of the data has one label of the group."""
        return sum(self.frequency[i] for i in group) > 1 - 1e-6

    def _given(self, request: Any, count: int) -> NDArray[np.float32]:
        k = len(self.names)
        try:
            vectors = np.asarray(request, np.float32)
        except (TypeError, ValueError):
            raise LabelError(f"labels are names or numbers, not {request!r}") from None
        if vectors.shape not in [(k,), (count, k)] or not np.isfinite(vectors).all():
            raise LabelError(f"label vectors must be finite, [{k}] or [{count}, {k}], not {list(vectors.shape)}")
        return np.broadcast_to(vectors, (count, k)).copy()

    def _list(self, columns: Sequence[int]) -> str:
        return ", ".join(self.names[i] for i in columns)


def one_for_each(request: LabelRequest) -> bool:
    """Whether a request has a part for each image, and is not one for all of them."""
    if request is None or isinstance(request, str | Mapping):
        return False
    parts = _sequence(request)
    return all(each is None or isinstance(each, str | Mapping) for each in parts) or np.ndim(parts[0]) == 1


def _sequence(request: Any) -> Any:
    if not isinstance(request, Sequence | np.ndarray) or getattr(request, "ndim", 1) == 0:
        raise LabelError(f"labels are names or numbers, not {request!r}")
    return request


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
