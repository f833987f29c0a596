"""The examples do what they say."""

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
from tests.helpers.images import picture
from tests.helpers.paths import ROOT, TINY
from tests.runtime.test_generator import _foreign as foreign


def pixels(content: bytes) -> Any:
    """[h, w, 3]; [frames, h, w, 3] of a film."""
    with Image.open(io.BytesIO(content)) as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    return frames[0] if len(frames) == 1 else np.stack(frames)


def close(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1)


@pytest.fixture(scope="module")
def tiny() -> Iterator[gankit.Generator]:
    with gankit.load(TINY, device="cpu") as generator:
        yield generator


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(web_app.make_app(str(TINY))) as client:
        yield client


# The web app


def test_the_page_has_a_form_of_the_labels_and_faces_that_can_be_fetched(client: TestClient) -> None:
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


def test_the_page_writes_names_as_text(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, evil = client.app.state.faces, '"><script>alert(1)</script>'  # type: ignore[attr-defined]
    labels = replace(faces.card.labels, names=(evil, "Black_Hair", "Smiling"))
    monkeypatch.setattr(faces, "card", replace(faces.card, name=evil, labels=labels))
    page = client.get("/", params={"label": [evil, "", "smiling"]}).text
    assert "alert(1)" in page and "<script" not in page


def test_a_picture_is_what_the_generator_makes(client: TestClient, tiny: gankit.Generator) -> None:
    one = client.get("/face.png?seed=7&start=3&label=blond&scale=2")
    assert one.headers["content-type"] == "image/png"
    assert close(pixels(one.content), enlarge(tiny.sample(1, 7, "blond", start=3), 2)[0])
    sheet = client.get("/sheet.png?n=5&seed=7&label=blond=0.5,black=0.5&scale=1")
    assert close(pixels(sheet.content), tiny.grid(5, 7, {"blond": 0.5, "black": 0.5}))
    walk = client.get("/walk.webp?seeds=0,7,42&frames=9&label=black&scale=1")
    assert walk.headers["content-type"] == "image/webp"
    film = pixels(client.get("/walk.gif?seeds=0,7,42&frames=9&label=black&scale=1").content)
    frames = tiny.interpolate([0, 7, 42], 9, loop=True, label="black")
    assert film.shape == frames.shape == pixels(walk.content).shape
    assert np.abs(film.astype(int) - frames).mean() < 4  # of 256 colours


@asynccontextmanager
async def talking(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose requests come at the same time."""
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


def test_many_requests_at_a_time_get_the_right_images(tiny: gankit.Generator) -> None:
    async def ask() -> list[httpx2.Response]:
        async with talking(web_app.make_app(str(TINY))) as client:
            return await asyncio.gather(*(client.get(f"/face.png?seed={s}&label=blond&scale=1") for s in range(50)))

    for seed, answer in enumerate(asyncio.run(ask())):
        assert answer.status_code == 200 and close(pixels(answer.content), tiny.sample(1, seed, "blond")[0])


def test_who_comes_when_it_is_full_is_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    go, encode, app = threading.Event(), web_app.encode, web_app.make_app(str(TINY), limit=2)

    def held(*arguments: Any) -> bytes:
        assert go.wait(60)
        return encode(*arguments)

    async def ask() -> tuple[list[httpx2.Response], httpx2.Response]:
        async with talking(app) as client:
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
        ("/face.png?label=green", "no label fits 'green'; there are Blond_Hair, Black_Hair, Smiling"),
        ("/face.png?label=blond,not-blond", "asks for Blond_Hair and for its opposite"),
        ("/face.png?seed=x", "seed must be a whole number from 0 to 18446744073709551615, not 'x'"),
        ("/face.png?seed=-1", "not '-1'"),
        ("/face.png?seed=18446744073709551616", "seed must be"),
        (f"/face.png?seed={'9' * 5000}", "seed must be"),
        ("/face.png?scale=0", "scale must be a whole number from 1 to 256"),
        ("/sheet.png?n=0", "n must be"),
        ("/sheet.png?n=1000000", "n must be a whole number from 1 to 256, not '1000000'"),
        ("/walk.gif?seeds=1,,2", "a seed must be"),
        ("/walk.gif?seeds=1", "needs two seeds or more"),
        ("/walk.webp?frames=1000000", "frames must be"),
        ("/?label=green", "no label fits"),
        ("/?seed=x", "seed must be"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_line(client: TestClient, address: str, words: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 400 and words in answer.text
    assert len(answer.text.splitlines()) == 1 and len(answer.text) < 300


def test_a_failure_of_the_device_is_the_servers_fault(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*arguments: object) -> None:
        raise gankit.GankitError("tiny failed on cpu: it is broken")

    monkeypatch.setattr(client.app.state.faces, "sample_async", fails)  # type: ignore[attr-defined]
    answer = client.get("/face.png")
    assert answer.status_code == 500 and answer.text == "tiny failed on cpu: it is broken"


def test_what_a_browser_has_is_not_made_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_health_says_where_it_runs(client: TestClient) -> None:
    faces = client.app.state.faces  # type: ignore[attr-defined]
    expected = {"model": "tiny", "device": faces.device, "fallback_reason": faces.fallback_reason}
    assert client.get("/healthz").json() == expected


def test_the_end_of_the_app_closes_the_model() -> None:
    before, app = set(threading.enumerate()), web_app.make_app(str(TINY))
    with TestClient(app) as client:
        assert client.get("/sheet.png?n=100&scale=1").status_code == 200
        assert not app.state.faces.closed
    assert app.state.faces.closed
    faces, app.state.faces = app.state.faces, None
    del faces
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_a_model_that_is_not_there_is_told_at_the_start() -> None:
    with (
        pytest.raises(gankit.ModelNotFoundError, match="there is no model at"),
        TestClient(web_app.make_app("no.onnx")),
    ):
        pass


def test_a_model_without_labels_has_a_page_too(tmp_path: Path) -> None:
    model = tmp_path / "plain.onnx"
    model.write_bytes(foreign("uint8", labels=False))
    with TestClient(web_app.make_app(str(model))) as client:
        page = client.get("/")
        assert page.status_code == 200 and "<select" not in page.text
        assert client.get("/face.png").status_code == 200
        assert client.get("/face.png?label=blond").status_code == 400


# The notebook


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the pictures, alone in another, and what was printed."""
    folder, said = tmp_path_factory.mktemp("notebook") / "pictures", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(sys, "argv", ["notebook.py", str(folder)])
        patch.chdir(folder.parent)
        runpy.run_path(str(ROOT / "examples" / "notebook.py"))
    return folder, said.getvalue()


def test_the_notebook_runs_to_its_end(notebook: tuple[Path, str]) -> None:
    folder, said = notebook
    assert "runs on " in said and "have long hair" in said and str(folder) in said
    assert list(folder.parent.iterdir()) == [folder]  # and nothing elsewhere
    pictures = {path.name: picture(path) for path in folder.iterdir()}
    rows = {"1-sample": 4, "2-labels": 4, "3-blends": 3, "4-psi": 5, "5-walk": 2, "6-own-latents": 2, "8-arithmetic": 4}
    for name, count in rows.items():
        assert pictures.pop(f"{name}.png").shape == (3 * (34 * count + 2), 3 * (34 * 10 + 2), 3)
    assert pictures.pop("7-where.png").shape == (3 * 36, 3 * (34 * 6 + 2), 3)
    assert pictures.pop("5-walk.gif").shape == (90, 128, 128, 3) and not pictures


def test_the_notebooks_pictures_show_what_its_text_says(notebook: tuple[Path, str]) -> None:
    def faces(name: str, rows: int, columns: int = 10) -> Any:
        sheet = picture(notebook[0] / name)[::3, ::3].astype(float)[2:, 2:]
        return sheet.reshape(rows, 34, columns, 34, 3).swapaxes(1, 2)[:, :, :32, :32]

    with gankit.load(device="cpu") as generator:
        expected = generator.sample(40, seed=0).reshape(4, 10, 32, 32, 3)
    assert close(faces("1-sample.png", 4), expected)
    blond, black, *_ = faces("2-labels.png", 4)
    assert (blond[:, 3:6, 12:20] - black[:, 3:6, 12:20])[..., :2].mean() > 60  # the top of the head
    assert np.abs(blond[:, 16:] - black[:, 16:]).mean() < np.abs(blond[:, :12] - black[:, :12]).mean() / 2
    psi = faces("4-psi.png", 5).std(1).mean((1, 2, 3))
    assert psi[0] < 1 and (np.diff(psi) > 0).all()
    eyes, mouth = faces("7-where.png", 1, 6)[0, 4:].mean(-1)
    assert eyes[12:18].mean() > 2 * eyes[20:26].mean() and mouth[19:27].mean() > 2 * mouth[8:16].mean()
    beside_the_neck = faces("8-arithmetic.png", 4)[:, :, 18:27, [6, 7, 24, 25]].mean((2, 3, 4))
    assert (beside_the_neck[0] > 150).all() and (beside_the_neck[3] < 100).all()
