"""The trainers that are compared."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import roofline, trainers
from benchmarks.measurement import FailedError, UnavailableError
from benchmarks.options import Options
from benchmarks.suites import training


def test_checkouts_are_recognised_by_their_files(tmp_path: Path) -> None:
    examples, gan = trainers.BASELINES
    for folder, baseline in (("one", examples), ("two", gan)):
        (tmp_path / folder / baseline.script).parent.mkdir(parents=True)
        (tmp_path / folder / baseline.script).write_text("")
    found = trainers.find_baselines((tmp_path / "one", tmp_path / "two"))
    assert found == {examples: tmp_path / "one" / examples.script, gan: tmp_path / "two" / gan.script}


def test_all_trainers_get_the_same_images(tmp_path: Path) -> None:
    from gankit_train.data import open_source

    trainers.write_images(tmp_path, 0)
    colour = np.load(tmp_path / "images.npy")
    assert colour.shape == (2 * trainers.BATCH, 64, 64, 3)
    for path in (tmp_path / "png", tmp_path / "data" / "mnist" / "MNIST" / "raw"):
        source = open_source(str(path))
        assert len(source.names) == len(colour)
    grey = np.asarray(source.read(5))
    assert grey.shape == (64, 64)
    assert np.abs(grey - colour[5] @ [0.299, 0.587, 0.114]).max() < 1


def test_a_trainer_is_timed_by_what_it_prints_and_one_that_stops_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\nfor i in range(int(sys.argv[1])): print(f'[0/1][{i}/99] Loss')\nraise OSError('full')"
    )

    def baseline(steps: int) -> trainers.Baseline:
        step_line = trainers.BASELINES[0].step_line
        return trainers.Baseline("fake", "main.py", trainers.DCGAN, lambda *_: [steps], step_line)

    with pytest.raises(FailedError, match="after 5 steps: OSError: full"):
        trainers.run_baseline(baseline(5), script, 8, tmp_path, Options())
    with pytest.raises(UnavailableError, match="--baseline-dir"):
        trainers.run_baseline(baseline(5), None, 8, tmp_path, Options())
    # Without the slow imports of a real script.
    monkeypatch.setattr(trainers, "_LAUNCH", "import runpy, sys; del sys.argv[:2]; runpy.run_path(sys.argv[0])")
    [(metric, rate)] = trainers.run_baseline(baseline(50), script, 8, tmp_path, Options()).items()
    assert metric == trainers.DCGAN.metric and rate > 0


def test_settings_become_flags_of_gan_train() -> None:
    flags = trainers.flags(trainers.UPSAMPLING.settings)
    assert "--upsample --g-widths 128,128,64 --g-strides 2,2,1" in " ".join(flags)


def test_operations_of_a_step_are_counted_forward_and_backward() -> None:
    small, large = (training.count_operations((("filters", n),), 1)[roofline.OPERATIONS] for n in (2, 4))
    assert 2 < large / small < 4  # most layers have both their inputs and outputs twice as wide


def test_auto_is_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda has=has: {"avx512_bf16": has}, raising=False)
        assert trainers.auto_precision("cpu", 1) == ("bfloat16" if has else "float32")
