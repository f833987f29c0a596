"""Distances between images as a network sees them: the Fréchet and the kernel distance, and whose features they use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit._errors import ModelError, UsageError, missing_extra, one_line
from gankit_train.metrics.pca import Images, parts

_BATCH = 64


@dataclass(frozen=True)
class Features:
    """What a network makes of images."""

    name: str
    """What to call them beside a figure."""
    run: Callable[[Images], Tensor]
    """uint8 [n, h, w, c] → [n, anything]."""

    def __call__(self, images: Images) -> Tensor:
        """uint8 [n, h, w, c] → float64 [n, f].

        Raises:
            ModelError: they are not finite.
        """
        made = torch.cat([self.run(part).flatten(1).double().cpu() for part in parts(images, _BATCH)])
        if not bool(made.isfinite().all()):
            raise ModelError(f"the features of {self.name} are not finite numbers (NaN or Inf)")
        return made


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Between features float64 [n, f] and [m, f]: |μ - ν|² + tr(Σ + Τ - 2 (Σ Τ)^½).

    Dowson & Landau, "The Fréchet distance between multivariate normal distributions" (1982); Heusel et al. (2017) use
    it for FID, on the features of a certain network. Nothing else may be called so.
    """
    root, other = _covariance(real), _covariance(fake)
    values, vectors = torch.linalg.eigh(root)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # ΣΤ and Σ^½ Τ Σ^½ have the same eigenvalues, and the latter is symmetric.
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0).sqrt().sum()
    apart = (real.mean(0) - fake.mean(0)).square().sum()
    return max(0.0, float(apart + values.sum() + other.trace() - 2 * shared))


def _covariance(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    return x.T @ x / (len(x) - 1)


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """The squared maximum mean discrepancy of features [n, f] and [m, f], without bias, by the kernel (x·y/f + 1)³.

    Bińkowski et al., "Demystifying MMD GANs" (2018), section 3.1: the kernel inception distance. They average over
    subsets of 1,000; here all pairs are used, which has the same mean.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        pairs = kernel(x, x)
        return (pairs.sum() - pairs.trace()) / (len(x) * (len(x) - 1))

    return float(within(real) + within(fake) - 2 * kernel(real, fake).mean())


def open_features(path: Path, device: torch.device) -> Features:
    """The network in an ONNX or a TorchScript file that takes images float32 [n, c, h, w] in [-1, 1].

    Where an ONNX file says how large its images are and how many channels they have, ours are made so: scaled
    bilinearly, grey repeated.

    Raises:
        UsageError: no such file. ModelError: it cannot be opened, or fails on an image.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} for --features: give an ONNX or a TorchScript file")
    opened = _onnx(path) if path.suffix.lower() == ".onnx" else _torchscript(path, device)

    def run(images: Images) -> Tensor:
        x = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
        try:
            made = opened(x)
        except Exception as error:  # whatever a network of somebody's raises
            shape = "x".join(map(str, x.shape[1:]))
            raise ModelError(f"{path} cannot take images {shape} (--features): {one_line(error)}") from error
        if not isinstance(made, Tensor) or made.dim() < 2 or len(made) != len(x):
            raise ModelError(f"{path} does not make one row of features for each image (--features)")
        return made

    return Features(path.name, run)


def _onnx(path: Path) -> Callable[[Tensor], Any]:
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra(f"{path}, an ONNX file,", "cpu", "gpu") from None
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
    except Exception as error:
        raise ModelError(
            f"{path} cannot be opened as a network of one input (--features): {one_line(error)}"
        ) from error
    _, channels, *size = (*given.shape, None, None, None)[:4]

    def run(x: Tensor) -> Tensor:
        if channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        wanted = tuple(n if isinstance(n, int) else m for n, m in zip(size, x.shape[2:], strict=True))
        if wanted != tuple(x.shape[2:]):
            x = interpolate(x, wanted, mode="bilinear", antialias=True)
        return torch.from_numpy(session.run(None, {given.name: x.contiguous().numpy()})[0])

    return run


def _torchscript(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the deprecation of TorchScript
            network = torch.jit.load(path, device).eval()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelError(f"{path} cannot be opened as TorchScript (--features): {one_line(error)}") from error
    return torch.no_grad()(lambda x: network(x.to(device)))


def inception(device: torch.device) -> Features:
    """The features that FID is defined by, of torch-fidelity's network with the weights that it keeps.

    Raises:
        UsageError: the package or the weights are not there. Nothing is downloaded.
    """
    if why := no_inception():
        raise UsageError(why)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"], str(_inception_weights())).to(device)

    @torch.no_grad()
    def run(images: Images) -> Tensor:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        made: Tensor = network(x.to(device))[0]
        return made

    return Features("Inception v3 by torch-fidelity", run)


def no_inception() -> str:
    """Why FID and KID cannot be had; empty where they can."""
    from importlib.util import find_spec

    if find_spec("torch_fidelity") is None:
        return "FID and KID need torch-fidelity, which is not installed: pip install torch-fidelity"
    weights = _inception_weights()
    return "" if weights.is_file() else f"FID and KID need the Inception weights of torch-fidelity at {weights}"


def _inception_weights() -> Path:
    """Where torch-fidelity's own download puts them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
