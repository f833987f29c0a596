"""A web app that serves faces: all requests share one generator, which joins them into batches.

pip install 'gankit[cpu]' starlette uvicorn jinja2
uvicorn examples.web_app:app                                            # open http://127.0.0.1:8000
GANKIT_MODEL=faces.onnx uvicorn examples.web_app:app --host 0.0.0.0     # a model of your own, for a phone nearby too
"""

from __future__ import annotations

import asyncio
import io
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

import gankit
from gankit._images import Images, enlarge

PIXELS = 1 << 22  # of an answer, so that nobody's wish fills the memory
TEMPLATES = Jinja2Templates(Path(__file__).parent)
Make = Callable[[gankit.Generator, QueryParams, int], Awaitable[Images]]


def make_app(model: str | None = None, limit: int = 64) -> Starlette:
    """The app. It makes `limit` pictures at a time, and asks who comes beyond that to come again."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with gankit.load(model) as faces:
            faces.serve(waiting=limit)
            faces.warmup()
            # A model is known by what it makes.
            made = sha256(repr(faces.card).encode() + faces.sample(4).tobytes()).hexdigest()
            app.state.faces, app.state.model, app.state.places = faces, made, asyncio.Semaphore(limit)
            yield

    makers = {"/face.png": face, "/sheet.png": sheet, "/walk.gif": walk, "/walk.webp": walk}
    routes = [Route("/", page), Route("/healthz", healthz), *(Route(p, picture(p, make)) for p, make in makers.items())]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={gankit.GankitError: refuse})


def picture(path: str, make: Make) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of what makes images [n, h, w, c] of a query; it is told how many may be asked for."""
    kind = path.rpartition(".")[2]

    async def answer(request: Request) -> Response:
        state, query = request.app.state, request.query_params
        # An image of a seed never changes, but another model may be served here tomorrow. Weak, as pixels may differ by
        # 1/255 with the batch that an image was in.
        tag = f'W/"{sha256(f"{state.model} {path}?{request.url.query}".encode()).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "public, max-age=3600"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if state.places.locked():
            raise HTTPException(503, "too many requests at a time, come again in a second", {"Retry-After": "1"})
        async with state.places:
            height, width = state.faces.card.height, state.faces.card.width
            scale = whole("scale", query.get("scale"), 128 // width or 1, 1, math.isqrt(PIXELS // (height * width)))
            images = await make(state.faces, query, PIXELS // (height * width * scale**2))
            content = await asyncio.to_thread(encode, images, kind, scale)
        return Response(content, media_type=f"image/{kind}", headers=headers)

    return answer


async def face(faces: gankit.Generator, query: QueryParams, most: int) -> Images:
    """`?seed=7&start=3&label=blond`: image 3 of seed 7."""
    return await faces.sample_async(1, seed(query), label(query), whole("start", query.get("start"), 0))


async def sheet(faces: gankit.Generator, query: QueryParams, most: int) -> Images:
    """`?n=36&seed=7&label=blond`: the first images of a seed."""
    n = whole("n", query.get("n"), 36, 1, most)
    return gankit.grid(await faces.sample_async(n, seed(query), label(query)))[None]


async def walk(faces: gankit.Generator, query: QueryParams, most: int) -> Images:
    """`?seeds=0,7,42&frames=60&label=blond`: from face to face, and back to the first."""
    seeds = [whole("a seed", text, 0) for text in query.get("seeds", "0,7,42").split(",")]
    frames = whole("frames", query.get("frames"), 60, 2, most)
    return await asyncio.to_thread(faces.interpolate, seeds, frames, True, label(query))


def page(request: Request) -> Response:
    """The form and a grid of faces."""
    faces, query = request.app.state.faces, request.query_params
    faces.inputs(1, seed(query), label(query))  # complains of labels that there are not
    context = {"faces": faces, "seed": seed(query), "label": label(query), "asked": query.getlist("label")}
    return TEMPLATES.TemplateResponse(request, "web_app.html", context)


def healthz(request: Request) -> Response:
    """Whether it serves, and where the model runs."""
    faces = request.app.state.faces
    return JSONResponse({"model": faces.card.name, "device": faces.device, "fallback_reason": faces.fallback_reason})


def refuse(request: Request, error: Exception) -> Response:
    """gankit's own sentence: of a wish that cannot be, or of a device that failed."""
    return PlainTextResponse(str(error), 400 if isinstance(error, gankit.UsageError) else 500)


def seed(query: QueryParams) -> int:
    """`seed=7`."""
    return whole("seed", query.get("seed"), 0)


def label(query: QueryParams) -> str | None:
    """`label=blond,smiling`, or `label=blond&label=&label=smiling` as the form sends it: see `Generator.sample`."""
    return ",".join(filter(None, query.getlist("label"))) or None


def whole(name: str, text: str | None, default: int, least: int = 0, most: int = 2**64 - 1) -> int:
    """A number of the query."""
    if text is None:
        return min(default, most)
    if not (text.isdecimal() and len(text) < 30 and least <= int(text) <= most):
        raise gankit.UsageError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}")
    return int(text)


def encode(images: Images, kind: str, scale: int) -> bytes:
    """A picture, or a film of several images [n, h, w, c]."""
    first, *others = gankit.as_pil(enlarge(images, scale))
    film = {"save_all": True, "append_images": others, "duration": 50, "loop": 0} if others else {}
    first.save(buffer := io.BytesIO(), kind, **film)
    return buffer.getvalue()


app = make_app(os.environ.get("GANKIT_MODEL"))
