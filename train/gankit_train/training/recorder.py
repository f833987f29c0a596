"""Records a run: rows of metrics.jsonl, checkpoints, sample grids, symptoms of failure, TensorBoard."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from gankit._errors import GankitError
from gankit._files import atomic_write
from gankit._writers import save_png
from gankit_train.config.flags import format_flag
from gankit_train.evaluation.diagnosis import Finding, Row, diagnose, read_rows
from gankit_train.models.checkpoints import list_checkpoints, save_checkpoint
from gankit_train.models.gan import GAN
from gankit_train.reporting.grids import sample_grid
from gankit_train.reporting.tensorboard import open_tensorboard
from gankit_train.training.batches import Batches
from gankit_train.training.overfitting import held_out_score_gap
from gankit_train.training.progress import Progress, Task
from gankit_train.training.setup import Setup


class DivergedError(GankitError):
    """The networks have NaN or infinite weights or losses."""

    def __init__(self, message: str, run: Path) -> None:
        super().__init__(message)
        self.run = run


class Recorder:
    """Sums metrics on the device and writes them, and everything else that is due, from the main process."""

    def __init__(self, setup: Setup, batches: Batches, progress: Progress) -> None:
        """Writes config.json and drops the rows of metrics.jsonl that were written after the resumed checkpoint."""
        self.setup, self.batches = setup, batches
        self.note = ""  # speed and losses since the last row, for the progress bar
        self._metrics_file = setup.run / "metrics.jsonl"
        self._rows: list[Row] = []
        self._board = None
        self._reset(progress.images)
        if setup.processes.is_main:
            with atomic_write(setup.run / "config.json") as temporary:
                temporary.write_text(json.dumps(setup.config.to_json(), indent=1) + "\n")
            self._rows = [row for row in read_rows(setup.run) if row["images"] <= progress.images]
            with atomic_write(self._metrics_file) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in self._rows))
            if setup.config.run.tensorboard:
                self._board = open_tensorboard(setup.run, progress.images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board:
            self._board.close()

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Adds the scalars of a step, without waiting for the device."""
        for name, value in metrics.items():
            total, steps = self._sums.get(name, (0, 0))
            self._sums[name] = (total + value, steps + 1)

    def write(self, due: set[Task], gan: GAN, progress: Progress) -> Progress:
        """Writes what is due; the only place where training waits for the device. Returns the updated progress.

        Raises:
            DivergedError: weights or metrics have NaN or infinite values. No checkpoint is written then.
            GankitError: the weights of the processes differ, or a file cannot be written.
        """
        row = self._summary(gan, progress.images)
        # A step with finite losses may still have broken the weights.
        finite = all(bool(p.isfinite().all()) for network in (gan.G, gan.D) for p in network.parameters())
        if not finite or not all(map(math.isfinite, row.values())):
            raise self._diverged(row, progress.images)
        self.setup.processes.check_weights((gan.G, gan.D))
        speed, loss_d, loss_g = row["images_per_s"], row["loss_d"], row.get("loss_g", math.nan)
        self.note = f"{speed:.0f} images/s  loss D {loss_d:.2f}  G {loss_g:.2f}"
        if self.setup.processes.is_main:
            progress = self._write_files(due, row, gan, progress)
        self._reset(progress.images)
        return progress

    def _write_files(self, due: set[Task], row: Row, gan: GAN, progress: Progress) -> Progress:
        setup, former_best = self.setup, progress.best_score
        if "evaluate" in due:
            row |= setup.evaluator.evaluate(gan)
            progress = replace(progress, best_score=min(former_best, setup.evaluator.score(row)))
        if "checkpoint" in due:
            save_checkpoint(setup.run, setup.checkpoint_info(progress), gan)
        if progress.best_score < former_best:
            save_checkpoint(setup.run, setup.checkpoint_info(progress), gan, "best")
        if "overfitting" in due:
            gap = held_out_score_gap(gan, setup.config, self.batches, setup.autocast)
            row |= {} if gap is None else {"held_out_score_gap": round(gap, 6)}
        self._append(self._with_findings(row))
        if self._board:
            for name, value in row.items():
                self._board.add_scalar(name, value, progress.images)
        if "sample" in due:
            pixels = sample_grid(gan.G_ema, setup.config, setup.labels)
            save_png(setup.sample_path(progress.images), pixels)
            if self._board:
                self._board.add_image("samples", pixels, progress.images, dataformats="HWC")
        return progress

    def _summary(self, gan: GAN, images: int) -> Row:
        """Averages metrics over steps and processes; gradient norms and learning rates are those of the last step."""
        means = torch.stack([torch.as_tensor(total / steps) for total, steps in self._sums.values()])
        self.setup.processes.average([means])
        row: Row = {"images": images}
        row |= {name: round(value, 6) for name, value in zip(self._sums, means.tolist(), strict=True)}
        for name, network in (("gradient_norm_g", gan.G), ("gradient_norm_d", gan.D)):
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            if gradients:  # G has none before its first step
                row[name] = round(float(nn.utils.get_total_norm(gradients)), 6)
        row |= {"lr_g": gan.optimizer_g.param_groups[0]["lr"], "lr_d": gan.optimizer_d.param_groups[0]["lr"]}
        row["images_per_s"] = round((images - self._since) / (time.perf_counter() - self._clock), 2)
        return row

    def _with_findings(self, row: Row) -> Row:
        """Returns the row with its symptoms of failure; those that the last row did not have are reported."""
        findings = diagnose([*self._rows, row], self.setup.config)
        known = {each["symptom"] for last in self._rows[-1:] for each in last.get("diagnosis", [])}
        for finding in findings:
            if finding.symptom not in known:
                self.setup.reporter.line(f"{'warning':10}{finding}")
        return row | ({"diagnosis": [finding.to_json() for finding in findings]} if findings else {})

    def _diverged(self, row: Row, images: int) -> DivergedError:
        """Records the divergence and returns the error to raise."""
        setup, kept = self.setup, list_checkpoints(self.setup.run)
        if setup.processes.is_main:
            settings = setup.config.optimisation
            lower = f"{format_flag('lr_g', settings.lr_g / 4)} {format_flag('lr_d', settings.lr_d / 4)}"
            finding = Finding("NaN or Inf", images, "the networks diverged (NaN or Inf)", (lower,))
            finite = {name: value for name, value in row.items() if math.isfinite(value)}
            self._append(finite | {"diagnosis": [finding.to_json()]})
        last = f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"
        message = f"the networks diverged (NaN or Inf) by image {images:,}; {last}; try lower learning rates"
        return DivergedError(message, setup.run)

    def _append(self, row: Row) -> None:
        self._rows.append(row)
        try:
            with self._metrics_file.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise GankitError(f"cannot write {self._metrics_file}: {error.strerror}") from error

    def _reset(self, images: int) -> None:
        self._sums: dict[str, tuple[Tensor | int, int]] = {}
        self._since, self._clock = images, time.perf_counter()
