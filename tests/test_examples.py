"""The examples do what their texts say."""

import asyncio
import io
import runpy
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image, ImageSequence
from starlette.applications import Starlette
from starlette.testclient import TestClient

import gankit
from examples import web_app
from gankit._images import enlarge
from tests.helpers.images import close, picture
from tests.helpers.models import foreign_model
from tests.helpers.paths import ROOT, TINY


def pixels(content: bytes) -> Any:
    """[h, w, 3]; for an animation, [frames, h, w, 3]."""
    with Image.open(io.BytesIO(content)) as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    return frames[0] if len(frames) == 1 else np.stack(frames)


@pytest.fixture(scope="module")
def tiny() -> Iterator[gankit.Generator]:
    with gankit.load(TINY, device="cpu") as generator:
        yield generator


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(web_app.make_app(str(TINY))) as client:
        yield client


# The web app


def test_the_page_has_a_form_of_the_labels_and_faces(client: TestClient) -> None:
    page = client.get("/?seed=7&label=Blond_Hair&label=&label=not-Smiling")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert '<option value="Blond_Hair" selected>Blond Hair</option>' in page.text
    assert '<option value="not-Smiling" selected>' in page.text and '<option value="Smiling">' in page.text
    addresses = [part.split('"')[0].replace("&amp;", "&") for part in page.text.split('src="')[1:]]
    assert len(addresses) == 25 and not any(":" in address for address in addresses)
    assert "http" not in page.text and "<script" not in page.text
    for i in (0, 23):
        image = pixels(client.get(addresses[i]).content)
        expected = client.get(f"/face.png?seed=7&start={i}&label=blond,not-smiling")
        assert close(image, pixels(expected.content))
    assert pixels(client.get(addresses[24]).content).ndim == 4


def test_the_page_escapes_names(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, evil = client.app.state.faces, '"><script>alert(1)</script>'  # type: ignore[attr-defined]
    labels = replace(faces.card.labels, names=(evil, "Black_Hair", "Smiling"))
    monkeypatch.setattr(faces, "card", replace(faces.card, name=evil, labels=labels))
    page = client.get("/", params={"label": [evil, "", "smiling"]}).text
    assert "alert(1)" in page and "<script" not in page


def test_a_picture_has_the_generators_images(client: TestClient, tiny: gankit.Generator) -> None:
    one = client.get("/face.png?seed=7&start=3&label=blond&scale=2")
    assert one.headers["content-type"] == "image/png"
    assert close(pixels(one.content), enlarge(tiny.sample(1, seed=7, label="blond", start=3), 2)[0])
    grid = client.get("/grid.png?n=5&seed=7&label=blond=0.5,black=0.5&scale=1")
    assert close(pixels(grid.content), tiny.grid(5, seed=7, label={"blond": 0.5, "black": 0.5}))
    webp = client.get("/interpolation.webp?seeds=0,7,42&frames=9&label=black&scale=1")
    assert webp.headers["content-type"] == "image/webp"
    gif = pixels(client.get("/interpolation.gif?seeds=0,7,42&frames=9&label=black&scale=1").content)
    frames = tiny.interpolate([0, 7, 42], frames=9, loop=True, label="black")
    assert gif.shape == frames.shape == pixels(webp.content).shape
    assert np.abs(gif.astype(int) - frames).mean() < 4  # of 256 colours


@asynccontextmanager
async def simultaneous(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose requests run at the same time."""
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


def test_simultaneous_requests_get_the_right_images(tiny: gankit.Generator) -> None:
    async def ask() -> list[httpx2.Response]:
        async with simultaneous(web_app.make_app(str(TINY))) as client:
            return await asyncio.gather(*(client.get(f"/face.png?seed={s}&label=blond&scale=1") for s in range(50)))

    for seed, answer in enumerate(asyncio.run(ask())):
        assert answer.status_code == 200 and close(pixels(answer.content), tiny.sample(1, seed=seed, label="blond")[0])


def test_excess_requests_get_503(monkeypatch: pytest.MonkeyPatch) -> None:
    go, encode, app = threading.Event(), web_app.encode, web_app.make_app(str(TINY), limit=2)

    def held(*arguments: Any) -> bytes:
        assert go.wait(60)
        return encode(*arguments)

    async def ask() -> tuple[list[httpx2.Response], httpx2.Response]:
        async with simultaneous(app) as client:
            monkeypatch.setattr(web_app, "encode", held)
            first, second = (asyncio.ensure_future(client.get(f"/face.png?seed={seed}")) for seed in (1, 2))
            while not app.state.places.locked():
                await asyncio.sleep(0)
            refused, health = await client.get("/face.png?seed=3"), await client.get("/healthz")
            go.set()
            return [await first, await second, health, await client.get("/face.png?seed=3")], refused

    served, refused = asyncio.run(ask())
    assert [answer.status_code for answer in served] == [200] * 4
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/face.png?label=green", "no label matches 'green'; this model has Blond_Hair, Black_Hair, Smiling"),
        ("/face.png?label=blond,not-blond", "requests both Blond_Hair and its opposite"),
        ("/face.png?seed=x", "seed must be a whole number from 0 to 18446744073709551615, not 'x'"),
        ("/face.png?seed=-1", "not '-1'"),
        ("/face.png?seed=18446744073709551616", "seed must be"),
        (f"/face.png?seed={'9' * 5000}", "seed must be"),
        ("/face.png?scale=0", "scale must be a whole number from 1 to 256"),
        ("/grid.png?n=0", "n must be"),
        ("/grid.png?n=1000000", "n must be a whole number from 1 to 256, not '1000000'"),
        ("/interpolation.gif?seeds=1,,2", "a seed must be"),
        ("/interpolation.gif?seeds=1", "needs at least two stops"),
        ("/interpolation.webp?frames=1000000", "frames must be"),
        ("/?label=green", "no label matches"),
        ("/?seed=x", "seed must be"),
    ],
)
def test_an_unusable_request_is_explained_on_one_line(client: TestClient, address: str, words: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 400 and words in answer.text
    assert len(answer.text.splitlines()) == 1 and len(answer.text) < 300


def test_a_failed_device_is_a_server_error(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*arguments: object, **options: object) -> None:
        raise gankit.GankitError("tiny failed on cpu: it is broken")

    monkeypatch.setattr(client.app.state.faces, "sample_async", fails)  # type: ignore[attr-defined]
    answer = client.get("/face.png")
    assert answer.status_code == 500 and answer.text == "tiny failed on cpu: it is broken"


def test_a_cached_picture_is_not_computed_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/face.png?seed=7")
    assert "max-age" in first.headers["cache-control"]
    tag = first.headers["etag"]
    monkeypatch.setattr(web_app, "encode", None)  # which would fail
    again = client.get("/face.png?seed=7", headers={"If-None-Match": f'"other", {tag}'})
    assert again.status_code == 304 and not again.content and again.headers["etag"] == tag
    monkeypatch.undo()
    assert client.get("/face.png?seed=8", headers={"If-None-Match": tag}).status_code == 200
    with TestClient(web_app.make_app()) as other:  # another model under the same address
        assert other.get("/face.png?seed=7", headers={"If-None-Match": tag}).status_code == 200


def test_health_reports_the_device(client: TestClient) -> None:
    faces = client.app.state.faces  # type: ignore[attr-defined]
    expected = {"model": "tiny", "device": faces.device, "fallback_reason": faces.fallback_reason}
    assert client.get("/healthz").json() == expected


def test_the_end_of_the_app_closes_the_model() -> None:
    before, app = set(threading.enumerate()), web_app.make_app(str(TINY))
    with TestClient(app) as client:
        assert client.get("/grid.png?n=100&scale=1").status_code == 200
        assert not app.state.faces.closed
    assert app.state.faces.closed
    faces, app.state.faces = app.state.faces, None
    del faces
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_a_missing_model_is_an_error_at_the_start() -> None:
    with (
        pytest.raises(gankit.ModelNotFoundError, match="there is no model at"),
        TestClient(web_app.make_app("no.onnx")),
    ):
        pass


def test_a_model_without_labels_has_a_page(tmp_path: Path) -> None:
    model = tmp_path / "plain.onnx"
    model.write_bytes(foreign_model("uint8", labels=False))
    with TestClient(web_app.make_app(str(model))) as client:
        page = client.get("/")
        assert page.status_code == 200 and "<select" not in page.text
        assert client.get("/face.png").status_code == 200
        assert client.get("/face.png?label=blond").status_code == 400


# The notebook


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the pictures, which is the only file in its parent, and the printed text."""
    folder, output = tmp_path_factory.mktemp("notebook") / "pictures", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        patch.setattr(sys, "argv", ["notebook.py", str(folder)])
        patch.chdir(folder.parent)
        runpy.run_path(str(ROOT / "examples" / "notebook.py"))
    return folder, output.getvalue()


def test_the_notebook_runs_to_its_end(notebook: tuple[Path, str]) -> None:
    folder, output = notebook
    assert "runs on " in output and "have long hair" in output and str(folder) in output
    assert list(folder.parent.iterdir()) == [folder]  # and nothing elsewhere
    pictures = {path.name: picture(path) for path in folder.iterdir()}
    rows = {"1-sample": 4, "2-labels": 4, "3-blends": 3, "4-truncation": 5, "5-interpolation": 2}
    rows |= {"6-own-latents": 2, "8-arithmetic": 4}
    for name, count in rows.items():
        assert pictures.pop(f"{name}.png").shape == (3 * (34 * count + 2), 3 * (34 * 10 + 2), 3)
    assert pictures.pop("7-where.png").shape == (3 * 36, 3 * (34 * 6 + 2), 3)
    assert pictures.pop("5-interpolation.gif").shape == (90, 128, 128, 3) and not pictures


def test_the_notebooks_pictures_show_what_its_text_says(notebook: tuple[Path, str]) -> None:
    def faces(name: str, rows: int, columns: int = 10) -> Any:
        grid = picture(notebook[0] / name)[::3, ::3].astype(float)[2:, 2:]
        return grid.reshape(rows, 34, columns, 34, 3).swapaxes(1, 2)[:, :, :32, :32]

    with gankit.load(device="cpu") as generator:
        expected = generator.sample(40, seed=0).reshape(4, 10, 32, 32, 3)
    assert close(faces("1-sample.png", 4), expected)
    blond, black, *_ = faces("2-labels.png", 4)
    assert (blond[:, 3:6, 12:20] - black[:, 3:6, 12:20])[..., :2].mean() > 60  # the top of the head
    assert np.abs(blond[:, 16:] - black[:, 16:]).mean() < np.abs(blond[:, :12] - black[:, :12]).mean() / 2
    variety = faces("4-truncation.png", 5).std(1).mean((1, 2, 3))
    assert variety[0] < 1 and (np.diff(variety) > 0).all()
    eyes, mouth = faces("7-where.png", 1, 6)[0, 4:].mean(-1)
    assert eyes[12:18].mean() > 2 * eyes[20:26].mean() and mouth[19:27].mean() > 2 * mouth[8:16].mean()
    beside_the_neck = faces("8-arithmetic.png", 4)[:, :, 18:27, [6, 7, 24, 25]].mean((2, 3, 4))
    assert (beside_the_neck[0] > 150).all() and (beside_the_neck[3] < 100).all()
