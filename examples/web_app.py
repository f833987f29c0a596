"""A web app that serves faces. All requests share one generator, which joins them into batches.

pip install 'gankit[cpu]' starlette uvicorn jinja2
uvicorn examples.web_app:app                                            # open http://127.0.0.1:8000
GANKIT_MODEL=faces.onnx uvicorn examples.web_app:app --host 0.0.0.0     # your own model, also for a phone nearby
"""

from __future__ import annotations

import asyncio
import io
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

import gankit

Images = NDArray[np.uint8]
MAX_PIXELS = 1 << 22  # per response, so that no request fills the memory
TEMPLATES = Jinja2Templates(Path(__file__).parent)
MakeImages = Callable[[gankit.Generator, QueryParams, int], Awaitable[Images]]


def make_app(model: str | None = None, limit: int = 64) -> Starlette:
    """The app. It works on at most `limit` pictures at a time and answers 503 to excess requests."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with gankit.load(model) as faces:
            faces.serve(max_queue=limit)
            faces.warmup()
            # The model is identified by its card and its first images.
            identity = sha256(repr(faces.card).encode() + faces.sample(4).tobytes()).hexdigest()
            app.state.faces, app.state.model, app.state.places = faces, identity, asyncio.Semaphore(limit)
            yield

    makers: dict[str, MakeImages] = {
        "/face.png": face,
        "/grid.png": grid,
        "/interpolation.gif": interpolation,
        "/interpolation.webp": interpolation,
    }
    routes = [Route("/", page), Route("/healthz", healthz)]
    routes += [Route(path, picture(path, make)) for path, make in makers.items()]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={gankit.GankitError: refuse})


def picture(path: str, make: MakeImages) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for a picture. `make` computes images [n, h, w, c] from a query and the maximum number of images."""
    kind = path.rpartition(".")[2]

    async def answer(request: Request) -> Response:
        state, query = request.app.state, request.query_params
        # An image of a seed never changes, but another model may be served here tomorrow. The tag is weak, because
        # pixels may differ by one grey level with the batch that an image is computed in.
        tag = f'W/"{sha256(f"{state.model} {path}?{request.url.query}".encode()).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "public, max-age=3600"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if state.places.locked():
            raise HTTPException(503, "too many requests, retry in a second", {"Retry-After": "1"})
        async with state.places:
            height, width = state.faces.card.height, state.faces.card.width
            max_scale = math.isqrt(MAX_PIXELS // (height * width))
            scale = whole_number("scale", query.get("scale"), 128 // width or 1, 1, max_scale)
            images = await make(state.faces, query, MAX_PIXELS // (height * width * scale**2))
            content = await asyncio.to_thread(encode, images, kind, scale)
        return Response(content, media_type=f"image/{kind}", headers=headers)

    return answer


async def face(faces: gankit.Generator, query: QueryParams, max_images: int) -> Images:
    """`?seed=7&start=3&label=blond`: image 3 of seed 7."""
    start = whole_number("start", query.get("start"), 0)
    return await faces.sample_async(1, seed=seed(query), label=label(query), start=start)


async def grid(faces: gankit.Generator, query: QueryParams, max_images: int) -> Images:
    """`?n=36&seed=7&label=blond`: the first images of a seed in a grid."""
    n = whole_number("n", query.get("n"), 36, 1, max_images)
    return gankit.grid(await faces.sample_async(n, seed=seed(query), label=label(query)))[None]


async def interpolation(faces: gankit.Generator, query: QueryParams, max_images: int) -> Images:
    """`?seeds=0,7,42&frames=60&label=blond`: from face to face, and back to the first."""
    seeds = [whole_number("a seed", text, 0) for text in query.get("seeds", "0,7,42").split(",")]
    frames = whole_number("frames", query.get("frames"), 60, 2, max_images)
    return await asyncio.to_thread(
        partial(faces.interpolate, seeds, frames=frames, loop=True, label=label(query)),
    )


def page(request: Request) -> Response:
    """The form and 24 faces."""
    faces, query = request.app.state.faces, request.query_params
    faces.inputs(1, seed=seed(query), label=label(query))  # raises the error of an unknown label
    context = {"faces": faces, "seed": seed(query), "label": label(query), "requested": query.getlist("label")}
    return TEMPLATES.TemplateResponse(request, "web_app.html", context)


def healthz(request: Request) -> Response:
    """Whether the app serves, and where the model runs."""
    faces = request.app.state.faces
    return JSONResponse({"model": faces.card.name, "device": faces.device, "fallback_reason": faces.fallback_reason})


def refuse(request: Request, error: Exception) -> Response:
    """gankit's message: 400 for an unusable request, 500 for a device that failed."""
    return PlainTextResponse(str(error), 400 if isinstance(error, gankit.UsageError) else 500)


def seed(query: QueryParams) -> int:
    """`seed=7`."""
    return whole_number("seed", query.get("seed"), 0)


def label(query: QueryParams) -> str | None:
    """`label=blond,smiling`, or `label=blond&label=&label=smiling` as the form sends it: see `Generator.sample`."""
    return ",".join(filter(None, query.getlist("label"))) or None


def whole_number(name: str, text: str | None, default: int, minimum: int = 0, maximum: int = 2**64 - 1) -> int:
    """A number of the query."""
    if text is None:
        return min(default, maximum)
    if not (text.isdecimal() and len(text) < 30 and minimum <= int(text) <= maximum):
        raise gankit.UsageError(f"{name} must be a whole number from {minimum} to {maximum}, not {text[:40]!r}")
    return int(text)


def encode(images: Images, kind: str, scale: int) -> bytes:
    """The bytes of an image file, or of an animation of several images [n, h, w, c]."""
    first, *others = gankit.as_pil(images.repeat(scale, axis=-3).repeat(scale, axis=-2))
    animation = {"save_all": True, "append_images": others, "duration": 50, "loop": 0} if others else {}
    first.save(buffer := io.BytesIO(), kind, **animation)
    return buffer.getvalue()


app = make_app(os.environ.get("GANKIT_MODEL"))
