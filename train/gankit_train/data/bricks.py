"""The built-in data set `bricks`: toy bricks with round studs in random views, drawn with numpy and pillow alone.

Lengths are in studs: a brick is 1.2 high, a plate 0.4. The solids of a part are convex and listed from the bottom up,
its studs stand on the last, and the camera is above them all: painting the solids in order, then the studs from far to
near, hides what should be hidden. x is right, y away from the viewer, z up.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain, pairwise, product
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Pairs: TypeAlias = Sequence[tuple[float, float]]

KIND = "classes"
COUNT = 10_000
_SEED = 0x627269636B73
_SIZE, _OVERSAMPLE = 64, 4
_CANVAS = _SIZE * _OVERSAMPLE
_SIDES = 40  # of the polygon that stands for a circle
_STUD_RADIUS, _STUD_HEIGHT = 0.3, 0.2
_BRICK, _PLATE, _LIP = 1.2, 0.4, 0.2

_COLOURS = np.array([(212, 32, 36), (28, 84, 200), (248, 206, 44), (30, 140, 62), (246, 128, 30), (158, 164, 168)])
_BACKGROUND, _FLOOR_SHADOW, _TOP_SHADOW = 236, 180, 0.7
_AMBIENT, _DIFFUSE = 0.38, 0.74
# From the upper left, towards the viewer. Steep, so that no stud's shadow leaves the face the stud stands on.
_LIGHT = np.array([-0.48, -0.2, 0.86]) / np.linalg.norm([-0.48, -0.2, 0.86])


class _Mesh(NamedTuple):
    points: Floats  # [V, 3], the corners of face after face, centred on the bounding box
    starts: Ints  # [F + 1]: face f is points[starts[f]:starts[f + 1]]
    normals: Floats  # [F, 3], outward, length 1
    studs: Ints  # [S, _SIDES + 2], the faces of each stud; its top is the last


def _loft(low: Floats, high: Floats) -> list[Floats]:
    """Faces of the solid between two rings [N, 3] that run counter-clockwise seen from `high`; the last is `high`."""
    return [*np.stack([low, np.roll(low, -1, 0), np.roll(high, -1, 0), high], 1), low[::-1], high]


def _circle(radius: float, z: float, x: float = 0, y: float = 0) -> Floats:
    turn = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn), np.full(_SIDES, z)], 1)


def _mesh(body: list[Floats], studs: Pairs) -> _Mesh:
    """The faces of a body, from the bottom up, and of a stud at every (x, y) on its top."""
    top = max(face[:, 2].max() for face in body)
    ends = [(_circle(_STUD_RADIUS, top, x, y), _circle(_STUD_RADIUS, top + _STUD_HEIGHT, x, y)) for x, y in studs]
    faces = [*body, *chain.from_iterable(_loft(*pair) for pair in ends)]
    points = np.concatenate(faces)
    points -= (points.min(0) + points.max(0)) / 2
    normals = np.array([np.cross(face[1] - face[0], face[2] - face[1]) for face in faces])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    stud_faces = np.arange(len(body), len(faces)).reshape(-1, _SIDES + 2)
    return _Mesh(points, np.cumsum([0, *map(len, faces)]), normals, stud_faces)


def _prism(profile: Pairs, depth: float, studs: Pairs) -> _Mesh:
    """A convex (x, z) profile, clockwise, drawn out along y."""
    near, far = (np.array([(x, y, z) for x, z in profile]) for y in (0, depth))
    return _mesh(_loft(near, far), studs)


def _box(width: int, depth: int, height: float, studs: Pairs | None = None) -> _Mesh:
    grid = [(x + 0.5, y + 0.5) for x, y in product(range(width), range(depth))]
    return _prism([(0, 0), (0, height), (width, height), (width, 0)], depth, grid if studs is None else studs)


def _turned(outline: Pairs, studs: Pairs = ((0, 0),)) -> _Mesh:
    """A (radius, z) outline, from the bottom up, turned round the z axis."""
    rings = [_circle(radius, z) for radius, z in outline]
    return _mesh([face for pair in pairwise(rings) for face in _loft(*pair)], studs)


_INNER = (-0.42, 0.42)  # nearer the axis than on a square brick, to keep the studs' shadows on the round top
_PARTS = {
    "brick_1x1": lambda: _box(1, 1, _BRICK), "brick_1x2": lambda: _box(2, 1, _BRICK),
    "brick_1x4": lambda: _box(4, 1, _BRICK), "brick_2x2": lambda: _box(2, 2, _BRICK),
    "brick_2x4": lambda: _box(4, 2, _BRICK), "plate_1x3": lambda: _box(3, 1, _PLATE),
    "plate_2x2": lambda: _box(2, 2, _PLATE), "plate_2x4": lambda: _box(4, 2, _PLATE),
    "tile_2x2": lambda: _box(2, 2, _PLATE, studs=[]), "jumper_1x2": lambda: _box(2, 1, _PLATE, studs=[(1, 0.5)]),
    "slope_2x2": lambda: _prism([(0, 0), (0, _BRICK), (1, _BRICK), (2, _LIP), (2, 0)], 2, [(0.5, 0.5), (0.5, 1.5)]),
    "slope_1x3": lambda: _prism([(0, 0), (0, _BRICK), (1, _BRICK), (3, _LIP), (3, 0)], 1, [(0.5, 0.5)]),
    "inverted_1x2": lambda: _prism([(0, 0), (0, _BRICK), (2, _BRICK), (2, 1), (1, 0)], 1, [(0.5, 0.5), (1.5, 0.5)]),
    "round_1x1": lambda: _turned([(0.4, 0), (0.4, 0.25), (0.5, 0.25), (0.5, _BRICK)]),
    "round_2x2": lambda: _turned([(0.88, 0), (0.88, 0.2), (1, 0.2), (1, _BRICK)], [*product(_INNER, _INNER)]),
    "cone_1x1": lambda: _turned([(0.6, 0), (0.6, 0.15), (0.42, _BRICK)]),
}  # fmt: skip
LABELS: tuple[str, ...] = tuple(_PARTS)


@cache
def _part(name: str) -> _Mesh:
    return _PARTS[name]()


def labels() -> NDArray[np.uint8]:
    """The part of every image, one-hot: uint8 [COUNT, len(LABELS)], as many images of each part."""
    return np.eye(len(LABELS), dtype=np.uint8)[np.arange(COUNT) % len(LABELS)]


def draw(index: int) -> Image.Image:
    """Image `index`, 0 <= index < COUNT: RGB 64x64, part `index % len(LABELS)` in a colour and view of its own."""
    rng = np.random.Generator(np.random.Philox(key=[_SEED, index]))
    colour = _COLOURS[rng.integers(len(_COLOURS))]
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(22, 58))
    distance, fill = rng.uniform(4, 7), rng.uniform(0.8, 0.9)

    mesh = _part(LABELS[index % len(LABELS)])
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    turn = np.array([(cos, sin, 0), (-sin, cos, 0), (0, 0, 1)])
    points, normals = mesh.points @ turn, mesh.normals @ turn
    forward = np.array([0, np.cos(elevation), -np.sin(elevation)])
    up = np.array([0, np.sin(elevation), np.cos(elevation)])
    camera = -forward * distance * np.linalg.norm(points, axis=1).max()

    def project(at: Floats) -> Floats:
        ray = at - camera
        plane: Floats = np.stack([ray[:, 0], -ray @ up], 1) / (ray @ forward)[:, None]
        return plane

    outline = project(points)
    low, high = outline.min(0), outline.max(0)
    scale = fill * _CANVAS / (high - low).max()

    def paint(canvas: Image.Image, at: Floats, faces: Ints, fills: Sequence[int | tuple[int, ...]]) -> None:
        # Rounded, so that the last bits of a sine or a sum, which differ between machines, stay out of the picture.
        pixels = np.round((project(at) - (low + high) / 2) * scale + _CANVAS / 2, 3)
        pen = ImageDraw.Draw(canvas)
        for face in faces:
            pen.polygon(pixels[mesh.starts[face] : mesh.starts[face + 1]].ravel().tolist(), fill=fills[face])

    def shadow(z: float, slant: float = 1) -> Floats:
        """The points, moved along the light to height z; sideways only `slant` as far."""
        moved: Floats = points - (points[:, 2:] - z) / _LIGHT[2] * _LIGHT * (slant, slant, 1)
        return moved

    corners = points[mesh.starts[:-1]]
    visible = ((camera - corners) * normals).sum(1) > 0
    lit = _AMBIENT + _DIFFUSE * np.clip(normals @ _LIGHT, 0, None)
    fills = [tuple(rgb) for rgb in np.clip(lit[:, None] * colour, 0, 255).astype(int).tolist()]
    dark = tuple((_TOP_SHADOW * colour).astype(int).tolist())
    body = np.arange(len(normals) - mesh.studs.size)
    tops = mesh.studs[:, -1]
    studs = mesh.studs[np.argsort(-corners[tops] @ forward)].ravel()

    floor = Image.new("L", (_CANVAS, _CANVAS), _BACKGROUND)
    # Shorter than the light would have it, so that the frame cuts off little of it.
    paint(floor, shadow(points[:, 2].min(), slant=0.3), body, [_FLOOR_SHADOW] * len(body))
    floor = floor.reduce(_OVERSAMPLE).filter(ImageFilter.GaussianBlur(1.5))
    image = floor.resize((_CANVAS, _CANVAS), Image.Resampling.BILINEAR).convert("RGB")
    paint(image, points, body[visible[body]], fills)
    paint(image, shadow(points[:, 2].max() - _STUD_HEIGHT), tops, [dark] * len(fills))
    paint(image, points, studs[visible[studs]], fills)
    return image.reduce(_OVERSAMPLE)
