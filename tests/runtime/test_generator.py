import json
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import gankit
from gankit._model import bundled_model
from tests.helpers.images import close
from tests.helpers.models import foreign_model
from tests.helpers.paths import TINY


@pytest.fixture(scope="module")
def tiny() -> gankit.Generator:
    return gankit.load(TINY, device="cpu")


def test_the_file_has_a_card_and_labels(tiny: gankit.Generator) -> None:
    assert (tiny.card.height, tiny.card.width, tiny.card.channels, tiny.card.z_dim) == (8, 8, 3, 6)
    assert tiny.labels == ("Blond_Hair", "Black_Hair", "Smiling")
    assert tiny.device == "cpu" and tiny.fallback_reason is None


def test_auto_says_why_it_runs_on_the_cpu() -> None:
    auto = gankit.load(TINY)
    if auto.device == "cpu":
        assert auto.fallback_reason and ("CUDA" in auto.fallback_reason or auto.fallback_reason == "no NVIDIA driver")


def test_it_loads_from_bytes_too(tiny: gankit.Generator) -> None:
    assert np.array_equal(gankit.load(TINY.read_bytes(), device="cpu").sample(2), tiny.sample(2))


@pytest.mark.parametrize("n", [1, 7, 33, 100])
def test_any_division_gives_the_same_images(tiny: gankit.Generator, n: int) -> None:
    whole = tiny.sample(100, seed=3)
    assert whole.shape == (100, 8, 8, 3) and whole.dtype == np.uint8
    parts = [tiny.sample(min(n, 100 - at), seed=3, start=at) for at in range(0, 100, n)]
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1


def test_a_stream_is_the_same_images_in_batches(tiny: gankit.Generator) -> None:
    batches = list(tiny.stream(50, seed=3, label="blond", batch=16))
    assert [len(batch) for batch in batches] == [16, 16, 16, 2]
    assert np.abs(np.concatenate(batches).astype(int) - tiny.sample(50, seed=3, label="blond")).max() <= 1
    for label in (["blond", "black"] * 25, [1.0, 0, 0.5], np.eye(3)[np.arange(50) % 3]):
        streamed = np.concatenate(list(tiny.stream(50, label=label, batch=7)))
        assert np.abs(streamed.astype(int) - tiny.sample(50, label=label)).max() <= 1


def test_a_stream_can_end_early(tiny: gankit.Generator) -> None:
    before = threading.active_count()
    stream = tiny.stream(10_000_000)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_the_label_changes_the_image_and_the_seed_too(tiny: gankit.Generator) -> None:
    blond, black = tiny.sample(4, label="blond"), tiny.sample(4, label="black")
    assert not np.array_equal(blond, black)
    assert not np.array_equal(tiny.sample(4, seed=1), tiny.sample(4, seed=2))


def test_comparing_labels_keeps_the_latents(tiny: gankit.Generator) -> None:
    rows = tiny.compare_labels(5, seed=2, labels=["blond", "black"])
    assert rows.shape == (2, 5, 8, 8, 3)
    assert np.array_equal(rows[1], tiny.sample(5, seed=2, label="black"))
    assert tiny.compare_labels(1).shape[0] == 3


def test_an_interpolation_passes_through_its_seeds(tiny: gankit.Generator) -> None:
    for label in (None, "blond", [0.5, 0.5, 0.0]):
        frames = tiny.interpolate([0, 7, 42], frames=21, label=label)
        stops = np.concatenate([tiny.sample(1, seed=seed, label=label) for seed in (0, 7, 42)])
        assert np.abs(frames[[0, 10, 20]].astype(int) - stops).max() <= 1
        assert np.abs(np.diff(frames.astype(int), axis=0)).mean() < 20  # no jumps between them


def test_numpys_integers_are_accepted_everywhere(tiny: gankit.Generator) -> None:
    expected = tiny.sample(4, seed=3, start=5)
    n, seed, start = np.int64(4), np.uint64(3), np.int32(5)
    assert np.array_equal(tiny.sample(n, seed=seed, start=start), expected)  # type: ignore[arg-type]
    assert np.array_equal(tiny.submit(n, seed=seed, start=start).result(60), expected)  # type: ignore[arg-type]
    assert np.array_equal(np.concatenate(list(tiny.stream(n, seed=seed, start=start))), expected)  # type: ignore[arg-type]
    z = tiny.inputs(4, seed=3, start=5)[0]
    assert np.array_equal(gankit.latents(seed, start, n, np.int8(6)), z)  # type: ignore[arg-type]
    frames = tiny.interpolate(np.array([0, 7]), frames=np.int16(5))  # type: ignore[arg-type]
    assert np.array_equal(frames, tiny.interpolate([0, 7], frames=5))
    options = {"batch": np.int64(8), "threads": np.int64(1)}
    with gankit.load(TINY, device="cpu", **options) as generator:  # type: ignore[arg-type]
        assert close(generator.sample(20, seed=3), tiny.sample(20, seed=3))


def test_a_loop_ends_one_frame_before_its_start(tiny: gankit.Generator) -> None:
    once, loop = tiny.interpolate([0, 7, 0], frames=21), tiny.interpolate([0, 7], frames=20, loop=True)
    assert np.abs(loop.astype(int) - once[:-1]).max() <= 1


def test_your_own_latents(tiny: gankit.Generator) -> None:
    z, label = tiny.inputs(5, seed=9)
    assert np.array_equal(tiny(z, label), tiny.sample(5, seed=9))


def test_unusable_values_are_refused(tiny: gankit.Generator) -> None:
    z = np.zeros((2, 6), np.float32)
    for call, words in [
        (lambda: tiny.sample(0), "at least 1, not 0"),
        (lambda: tiny.sample(2.5), "whole number of at least 1, not 2.5"),
        (lambda: tiny.sample(10**12), "stream"),
        (lambda: tiny.sample(1, seed=1.5), "seed must be a whole number, not 1.5"),
        (lambda: tiny.sample(1, label=3), "names or numbers, not 3"),
        (lambda: tiny.sample(1, label={"blond": "much"}), "weights of labels must be numbers"),
        (lambda: tiny.sample(1, label={"blond": 1.2}), "from 0 to 1, not 1.2"),
        (lambda: tiny.sample(1, label="blond=x"), "such as blond=0.7, not 'x'"),
        (lambda: tiny.sample(1, truncation=float("nan")), "truncation must be a number"),
        (lambda: tiny.sample(2, out=np.zeros((3, 8, 8, 3), np.uint8)), r"out must be an array uint8 \[2, 8, 8, 3\]"),
        (lambda: tiny.sample(2, out=np.zeros((2, 8, 8, 3))), r"not float64 \[2, 8, 8, 3\]"),
        (lambda: tiny.sample(1, out=np.frombuffer(bytes(192), np.uint8).reshape(1, 8, 8, 3)), "read-only"),
        (lambda: tiny.interpolate([1, 2], mode="cubic"), "slerp or lerp, not 'cubic'"),
        (lambda: tiny.interpolate([1, 2], label=["blond"]), "there are 1 labels for 2 stops"),
        (lambda: tiny.interpolate([0.5, 1]), "seed must be a whole number, not 0.5"),
        (lambda: tiny.interpolate(["a", "b"]), "seed must be a whole number, not 'a'"),
        (lambda: tiny.interpolate(5), "seeds or latents"),
        (lambda: tiny.interpolate([[1, 2], [3]]), "seeds or latents"),
        (lambda: tiny.interpolate(z[:, :5]), r"the stops must be \[n, 6\]"),
        (lambda: tiny.interpolate([1, 2], frames=2.5), "frames must be a whole number"),
        (lambda: tiny.interpolate([1, 2], truncation=float("inf")), "truncation must be a number"),
        (lambda: tiny.stream(5, truncation=None), "truncation must be a number"),
        (lambda: tiny.stream(5, seed=-1), "not -1"),
        (lambda: tiny.stream(5, label=["green"] * 5), "no label matches 'green'"),
        (lambda: tiny.stream(5.5), "whole number of at least 1, not 5.5"),
        (lambda: tiny.sample(1, start=2**300), "from 0 to"),
        (lambda: tiny.sample(10**30), "stream"),
        (lambda: tiny.grid(1, columns=0), "columns must be at least 1"),
        (lambda: gankit.load(TINY, threads=1.5), "threads must be"),
        (lambda: gankit.load(b"PK\3\4", device="tpu"), "device must be auto, .* not 'tpu'"),
        (lambda: gankit.load(b"PK\3\4", threads=2), "torch.set_num_threads"),
        (lambda: gankit.load(TINY, threads=-1), "threads must be"),
        (lambda: tiny(z, "blond"), "label must be numbers"),
        (lambda: tiny.sample(-3), "not -3"),
        (lambda: tiny.stream(0), "not 0"),
        (lambda: tiny.stream(5, label=["blond"]), "there are 1 labels for 5"),
        (lambda: tiny.interpolate([1]), "at least two stops, not 1"),
        (lambda: tiny.interpolate([1, 2, 3], frames=2), "frames must be at least the number of stops, 3, not 2"),
        (lambda: tiny(z), "needs a label"),
        (lambda: tiny(z[:, :5], np.zeros((2, 3))), r"z must be \[n, 6\]"),
        (lambda: tiny(z * np.nan, np.zeros((2, 3))), "must be finite"),
        (lambda: tiny(z, np.zeros((3, 3))), "z has 2 rows but label has 3"),
        (lambda: gankit.load(TINY, device="tpu"), "device must be auto, .* not 'tpu'"),
    ]:
        with pytest.raises(gankit.UsageError, match=words):
            call()


def test_files_that_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(gankit.ModelNotFoundError, match="no model at"):
        gankit.load(tmp_path / "none.onnx")
    with pytest.raises(FileNotFoundError):
        gankit.load(tmp_path / "none.onnx")
    for content in (b"", b"hello", TINY.read_bytes()[:4000]):
        (tmp_path / "bad.onnx").write_bytes(content)
        for device in ("cpu", "cuda", "auto"):
            with pytest.raises(gankit.ModelError, match=r"bad\.onnx"):
                gankit.load(tmp_path / "bad.onnx", device=device)
    with pytest.raises(gankit.ModelError, match="cannot read the model"):
        gankit.load(tmp_path)


def test_cuda_never_falls_back() -> None:
    try:
        assert gankit.load(TINY, device="cuda").device == "cuda"
    except gankit.DeviceError as error:
        assert str(error).startswith("CUDA is not available: ") and str(error).endswith("; or use the device cpu")


@pytest.mark.parametrize("output", ["uint8", "float"])
def test_a_file_without_a_card_works_by_its_shapes(output: Literal["uint8", "float"]) -> None:
    foreign = gankit.load(foreign_model(output, labels=False), device="cpu")
    assert (foreign.card.height, foreign.card.width, foreign.card.channels, foreign.card.z_dim) == (5, 4, 3, 60)
    assert foreign.sample(3).shape == (3, 5, 4, 3)
    assert foreign.labels == ()
    with pytest.raises(gankit.LabelError, match="has no labels"):
        foreign.sample(1, label="blond")


def test_float_output_becomes_rounded_bytes() -> None:
    foreign = gankit.load(foreign_model("float", labels=False), device="cpu")
    z = np.tile(np.float32([-2, -1, 0, 0.5, 1, 2]), 10)[None]
    expected = [0, 0, 128, 191, 255, 255]  # 127.5 x + 127.5, rounded half up, within 0 … 255
    assert foreign(z)[0].transpose(2, 0, 1).ravel().tolist() == expected * 10


def test_labels_of_a_file_without_a_card_are_numbered() -> None:
    foreign = gankit.load(foreign_model("uint8", labels=True), device="cpu")
    assert foreign.labels == ("0", "1")
    assert foreign.sample(2, label="1").shape == (2, 5, 4, 3)


def test_models_of_other_shapes_are_refused_with_what_they_have() -> None:
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 3, 8, 8]) for n in ("picture", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["picture"], ["out"])], "other", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(gankit.ModelError, match=r"contract.*picture tensor\(float\)"):
        gankit.load(model.SerializeToString())


def test_a_fixed_batch_is_refused() -> None:
    model = onnx.load_model_from_string(foreign_model("uint8", labels=False))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(gankit.ModelError, match=r"only takes batches of 1;.*dynamic"):
        gankit.load(model.SerializeToString(), device="cpu")


_LABELS = {"names": ["a", "b", "c"], "kind": "attributes", "frequency": [0.5, 0.5, 0.5], "exclusive": []}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z_dim": 7}, "z_dim 7, but the graph has"),
        ({"width": 9}, "width 9"),
        ({"labels": None}, "0 labels"),
        ({"name": "/tmp/evil"}, "not a file name"),
        ({"name": ".."}, "not a file name"),
        ({"labels": {**_LABELS, "frequency": [0.5]}}, "3 labels have the frequencies"),
        ({"labels": {**_LABELS, "frequency": [2, 0, 0]}}, "3 labels have the frequencies"),
        ({"labels": {**_LABELS, "exclusive": [[0, 3]]}}, "3 labels have the exclusive groups"),
        ({"labels": {**_LABELS, "names": 3}}, "card cannot be read"),
    ],
)
def test_an_impossible_card_is_an_error(change: dict[str, object], words: str) -> None:
    model = onnx.load(TINY)
    card = json.loads(gankit.load(TINY, device="cpu").card.to_json()) | change
    helper.set_model_props(model, {"gankit": json.dumps(card)})
    with pytest.raises(gankit.ModelError, match=words):
        gankit.load(model.SerializeToString(), device="cpu")


def test_a_damaged_card_is_an_error() -> None:
    model = onnx.load(TINY)
    for text in ("{", "[" * 100_000, "null", '{"schema": 1}'):
        helper.set_model_props(model, {"gankit": text})
        with pytest.raises(gankit.ModelError, match="card cannot be read"):
            gankit.load(model.SerializeToString())


def test_threads_may_share_a_generator(tiny: gankit.Generator) -> None:
    expected = [tiny.sample(20, seed=s) for s in range(4)]
    results: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda s=s: results.update({s: tiny.sample(20, seed=s)})) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for s in range(4):
        assert np.array_equal(results[s], expected[s])


def test_the_bundled_model_draws_faces_of_every_hair_colour() -> None:
    faces = gankit.load()
    assert bundled_model().stat().st_size <= 2_000_000
    assert {"Blond_Hair", "Black_Hair", "Brown_Hair", "Auburn_Hair"} <= set(faces.labels)
    hair = faces.compare_labels(32, labels=["blond", "black", "brown", "auburn"])
    top = hair[:, :, 4:8, 12:20].reshape(4, -1, 3).astype(float).mean(1)  # where every head has hair
    brightness = top.sum(1)
    assert brightness[0] > brightness[3] > brightness[1]  # blond, auburn, black
    assert top[3, 0] > 2 * top[3, 2]  # auburn is red
    assert hair.std(axis=1).mean() > 10  # not the same face again and again
