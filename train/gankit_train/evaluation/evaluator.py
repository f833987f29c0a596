"""Evaluates the generator of a run in training by the metrics of `--metrics`."""

import numpy as np
import torch

from gankit._latents import latents
from gankit_train.config.config import Config
from gankit_train.data import Dataset
from gankit_train.metrics.classifier import Progress
from gankit_train.metrics.comparison import Comparison, Reference
from gankit_train.metrics.compute import check_available, compute_metrics
from gankit_train.metrics.table import METRICS
from gankit_train.models.gan import GAN
from gankit_train.models.generate import EVALUATION_START, generate_images


class Evaluator:
    """Compares samples with a fixed part of the data and with its labels. Touches no random state of the run."""

    def __init__(self, config: Config, data: Dataset, device: torch.device, progress: Progress) -> None:
        """Chooses the real images. Raises UsageError if a metric is not available for this data."""
        self.config, self.names = config, config.run.metrics
        shuffled = np.random.Generator(np.random.Philox(config.run.seed)).permutation(len(data.images))
        rows = np.sort(shuffled[: config.run.evaluate_samples])
        self.labels = data.vectors[rows] if config.conditional else None
        self.reference = Reference(data, data.images[rows], None, device, progress)
        check_available(self.names, Comparison(self.reference, self.reference.real, self.labels))

    def evaluate(self, gan: GAN) -> dict[str, float]:
        """Computes the metrics of as many samples as there are real images."""
        z = latents(self.config.run.seed, EVALUATION_START, len(self.reference.real), self.config.networks.z_dim)
        label = None if self.labels is None else self.labels.astype(np.float32)
        fake = generate_images(gan.G_ema, z, label, self.config.networks.value_range)
        values = compute_metrics(self.names, Comparison(self.reference, fake, self.labels))
        return {name: round(value, 6) for name, value in values.items()}

    def score(self, values: dict[str, float]) -> float:
        """Returns the score of the first metric, by which checkpoints are ranked: lower is better."""
        return METRICS[self.names[0]].score(values[self.names[0]])
