"""The labels of a conditional model: their names and frequencies, and the conversion of requests to label vectors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gankit._errors import LabelError
from gankit._latents import uniforms

_One = str | Mapping[str, float] | None
LabelRequest = _One | Sequence[_One | float] | NDArray[np.number]
"""A request for labels:

* `None`: random labels with the frequencies of the training data.
* A label's name, an unambiguous part of it (`"blond"`), its opposite (`"not-blond"`), or several joined by commas
  (`"blond,smiling"`), for all images.
* Weights from 0 to 1: `{"blond": 0.7, "smiling": 1}`, or as text `"blond=0.7,smiling"`. If every image has exactly one
  label of a group, such as a hair colour, the rest of the weight goes to another label of that group.
* A sequence of such requests, one for each image.
* The label vectors themselves: an array [k] or [n, k], or a list of k numbers. Fractions blend labels.
"""


@dataclass(frozen=True)
class Labels:
    """The labels of a conditional model, in the order of the columns of its input `label`."""

    names: tuple[str, ...]
    """The names of the labels."""
    kind: Literal["classes", "attributes"]
    """`classes`: one-hot, each image has exactly one label. `attributes`: multi-hot, each image has any number."""
    frequency: tuple[float, ...]
    """The fraction of the training images that has each label, in [0, 1]."""
    exclusive: tuple[tuple[int, ...], ...] = ()
    """Groups of columns that exclude each other, such as the hair colours. For classes, one group of all columns."""

    def __post_init__(self) -> None:
        """Raises ValueError if the fields contradict each other, as in a damaged card."""
        if len(self.frequency) != len(self.names) or not all(0 <= share <= 1 for share in self.frequency):
            raise ValueError(f"{len(self.names)} labels have the frequencies {self.frequency}")
        if not all(0 <= i < len(self.names) for group in self.exclusive for i in group):
            raise ValueError(f"{len(self.names)} labels have the exclusive groups {self.exclusive}")

    def vectors(self, request: LabelRequest, seed: int, start: int, count: int) -> NDArray[np.float32]:
        """Label vectors for the images `start` … `start + count - 1` of a seed: float32 [count, k].

        Labels that the request does not mention are drawn with the frequencies of the training data, from the seed and
        the image number alone. So an image keeps its glasses when a request changes only its hair colour.

        Raises:
            LabelError: a name is unknown or ambiguous, names contradict each other, or an array or a sequence has the
                wrong length.
        """
        if request is None or isinstance(request, str | Mapping):
            requests: list[Any] = [request] * count
        elif all(each is None or isinstance(each, str | Mapping) for each in _sequence(request)):
            requests = list(request)
        else:
            return self._as_vectors(request, count)
        if len(requests) != count:
            raise LabelError(
                f"there are {len(requests)} labels for {count} images; pass one for all images, or one for each"
            )
        draws = uniforms("labels", seed, start, count, len(self.names))
        rows: dict[Any, list[int]] = {}  # each distinct request, which is parsed once, and its images
        for i, each in enumerate(requests):
            rows.setdefault(id(each) if isinstance(each, Mapping) else each, []).append(i)
        vectors = np.zeros((count, len(self.names)), np.float32)
        for images in rows.values():
            vectors[images] = self._to_vectors(self._parse(requests[images[0]]), draws[images])
        return vectors

    def find(self, text: str) -> int:
        """The column of the one label whose name contains `text`, ignoring case; a full name wins over a part.

        Raises:
            LabelError: no name matches, or several do.
        """
        found = self.matching(text)
        if len(found) > 1:
            raise LabelError(f"the label {text!r} matches {self._list(found)}; write more of the name")
        return found[0]

    def matching(self, text: str) -> list[int]:
        """The columns that `text` matches: the exact name, else a name in another case, else every name containing it.

        Raises:
            LabelError: no name matches.
        """
        if text in self.names:
            return [self.names.index(text)]
        searched, names = _normalised(text), [_normalised(name) for name in self.names]
        found = [i for i, name in enumerate(names) if name == searched]
        found = found or [i for i, name in enumerate(names) if searched and searched in name]
        if not found:
            raise LabelError(f"no label matches {text!r}; this model has {self._list(range(len(self.names)))}")
        return found

    def _parse(self, request: str | Mapping[str, float] | None) -> dict[int, float]:
        """The weights that a request sets: column → weight, 0 for a label that the image must not have."""
        weights: dict[int, float] = {}
        for text, weight in self._split(request):
            opposite = re.match(r"\s*not[-_ ](.*)", text, re.IGNORECASE)
            if opposite and weight == 1 and _normalised(text) not in map(_normalised, self.names):
                column, weight = self.find(opposite[1].strip()), 0.0
            else:
                column = self.find(text)
            if not 0 <= weight <= 1:
                raise LabelError(f"the weight of a label must be from 0 to 1, not {weight} for {text!r}")
            if weights.setdefault(column, weight) != weight:
                other = "its opposite" if 0 in (weight, weights[column]) else "another weight of it"
                raise LabelError(f"{request!r} requests both {self.names[column]} and {other}; remove one")
        for group in self.exclusive:
            requested = [i for i in group if weights.get(i)]
            if sum(weights[i] for i in requested) > 1 + 1e-6:
                parts = ",".join(f"{self.names[i]}={1 / len(requested):.2g}" for i in requested)
                raise LabelError(
                    f"an image has only one of {self._list(requested)}; blend them with weights such as {parts}"
                )
            if self._is_complete(group) and all(weights.get(i) == 0 for i in group):
                raise LabelError(f"{request!r} excludes all of {self._list(group)}, but every image has one of them")
        return weights

    def _split(self, request: str | Mapping[str, float] | None) -> list[tuple[str, float]]:
        """Splits a request into names and weights."""
        if isinstance(request, Mapping):
            try:
                return [(str(name), float(weight)) for name, weight in request.items()]
            except (TypeError, ValueError):
                raise LabelError(f"the weights of labels must be numbers, not {dict(request)!r}") from None
        # A name may contain a comma or an equals sign.
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
                raise LabelError(
                    f"the weight of a label must be a number, such as {name}=0.7, not {weight!r}"
                ) from None
        return found

    def _to_vectors(self, weights: dict[int, float], draws: NDArray[np.float64]) -> NDArray[np.float32]:
        """Label vectors [n, k] with these weights, and with random labels where a request leaves them open.

        Args:
            weights: column → weight.
            draws: uniform numbers in [0, 1) [n, k], which select the random labels.
        """
        vectors = np.zeros(draws.shape, np.float32)
        for i, weight in weights.items():
            vectors[:, i] = weight
        grouped = {i for group in self.exclusive for i in group}
        single = ((i,) for i in range(len(self.names)) if i not in grouped)
        for group in [*self.exclusive, *single]:
            requested = [i for i in group if i in weights]
            left, complete = 1.0 - sum(weights[i] for i in requested), self._is_complete(group)
            # Without a rest to distribute, or where the data has images with none of the group, nothing is drawn.
            if requested and (len(group) == 1 or left < 1e-6 or (left < 1 and not complete)):
                continue
            shares = np.array([0.0 if i in weights else self.frequency[i] for i in group])
            edges = np.cumsum(shares)
            # The probability of the labels that are still possible, and of none unless every image has one.
            total = edges[-1] if complete else 1.0 - sum(self.frequency[i] for i in requested)
            if total > 0:
                chosen = np.searchsorted(edges / total, draws[:, group[0]], side="right")
                row = np.flatnonzero(chosen < len(group))
                vectors[row, np.asarray(group)[chosen[row]]] = left
        return vectors

    def _is_complete(self, group: Sequence[int]) -> bool:
        """Whether every image of the training data has one label of the group."""
        return sum(self.frequency[i] for i in group) > 1 - 1e-6

    def _as_vectors(self, request: Any, count: int) -> NDArray[np.float32]:
        """Converts a request that is label vectors already."""
        k = len(self.names)
        try:
            vectors = np.asarray(request, np.float32)
        except (TypeError, ValueError):
            raise LabelError(f"labels must be names or numbers, not {request!r}") from None
        if vectors.shape not in [(k,), (count, k)] or not np.isfinite(vectors).all():
            raise LabelError(f"label vectors must be finite, [{k}] or [{count}, {k}], not {list(vectors.shape)}")
        return np.broadcast_to(vectors, (count, k)).copy()

    def _list(self, columns: Sequence[int]) -> str:
        return ", ".join(self.names[i] for i in columns)


def is_per_image(request: LabelRequest) -> bool:
    """Whether a request has one part for each image, instead of being the same for all images."""
    if request is None or isinstance(request, str | Mapping):
        return False
    parts = _sequence(request)
    return all(each is None or isinstance(each, str | Mapping) for each in parts) or np.ndim(parts[0]) == 1


def _sequence(request: Any) -> Any:
    if not isinstance(request, Sequence | np.ndarray) or getattr(request, "ndim", 1) == 0:
        raise LabelError(f"labels must be names or numbers, not {request!r}")
    return request


def _normalised(name: str) -> str:
    """A name in lower case with single spaces, so that `Blond_Hair`, `blond hair` and `blond-hair` are equal."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
