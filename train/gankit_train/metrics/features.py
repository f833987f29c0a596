"""Distances between features of images (Fréchet and kernel distance), and the networks that compute features."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit._errors import GankitError, ModelError, UsageError, missing_extra, one_line
from gankit_train.metrics.pca import Images, chunks, to_tensor


@dataclass(frozen=True)
class Features:
    """A network that computes features of images."""

    name: str  # for reports
    run: Callable[[Images], Tensor]  # uint8 [n, h, w, c] → [n, anything]

    def __call__(self, images: Images) -> Tensor:
        """Computes features float64 [n, f] of uint8 [n, h, w, c]. Raises ModelError if some are not finite."""
        features = torch.cat([self.run(part).flatten(1).double().cpu() for part in chunks(images, 64)])
        if not bool(features.isfinite().all()):
            raise ModelError(f"the features of {self.name} are not finite (NaN or Inf)")
        return features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Computes |μ - ν|² + tr(Σ + Τ - 2 (Σ Τ)^½) for features float64 [n, f] and [m, f].

    The distance of normal distributions with these means and covariances (Dowson & Landau 1982). It is FID only on
    the Inception features that Heusel et al. (2017) define.
    """
    covariance_real, covariance_fake = (torch.cov(x.T).view(x.shape[1], -1) for x in (real, fake))
    values, vectors = torch.linalg.eigh(covariance_real)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # ΣΤ and Σ^½ Τ Σ^½ have the same eigenvalues, and the latter is symmetric.
    shared = torch.linalg.eigvalsh(root @ covariance_fake @ root).clamp_min(0).sqrt().sum()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    return max(0.0, float(means + values.sum() + covariance_fake.trace() - 2 * shared))


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Computes the unbiased squared MMD of features [n, f] and [m, f] with the kernel (x·y/f + 1)³.

    The kernel inception distance of Bińkowski et al., "Demystifying MMD GANs" (2018), section 3.1. They average over
    subsets of 1,000; all pairs, as here, have the same expectation.
    """
    pairs = ((real, real), (fake, fake), (real, fake))
    within_real, within_fake, between = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in pairs)
    within = sum((k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (within_real, within_fake))
    return float(within - 2 * between.mean())


def open_features(path: Path, device: torch.device) -> Features:
    """Opens the network in an ONNX or a TorchScript file that takes images float32 [n, c, h, w] in [-1, 1].

    If an ONNX file fixes the size and the channels of its images, images are resized bilinearly and grey is repeated.
    Raises UsageError if there is no such file, and ModelError if it cannot be opened or fails on an image.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} for --features: give an ONNX or a TorchScript file")
    onnx = path.suffix.lower() == ".onnx"
    try:
        network = _open_onnx(path) if onnx else _open_torchscript(path, device)
    except GankitError:
        raise
    except Exception as error:
        kind = "a network with one input" if onnx else "TorchScript"
        raise ModelError(f"{path} cannot be opened as {kind} (--features): {one_line(error)}") from error

    def run(images: Images) -> Tensor:
        x = to_tensor(images) / 127.5 - 1
        try:
            features = network(x)
        except Exception as error:  # a network of a user may raise anything
            shape = "x".join(map(str, x.shape[1:]))
            raise ModelError(f"{path} cannot take images {shape} (--features): {one_line(error)}") from error
        if not isinstance(features, Tensor) or features.dim() < 2 or len(features) != len(x):
            raise ModelError(f"{path} does not return one row of features for each image (--features)")
        return features

    return Features(path.name, run)


def _open_onnx(path: Path) -> Callable[[Tensor], Any]:
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra(f"{path}, an ONNX file,", "cpu", "gpu") from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (network_input,) = session.get_inputs()
    _, channels, *size = (*network_input.shape, None, None, None)[:4]

    def run(x: Tensor) -> Tensor:
        if channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        target = tuple(n if isinstance(n, int) else m for n, m in zip(size, x.shape[2:], strict=True))
        if target != tuple(x.shape[2:]):
            x = interpolate(x, target, mode="bilinear", antialias=True)
        return torch.from_numpy(session.run(None, {network_input.name: x.contiguous().numpy()})[0])

    return run


def _open_torchscript(path: Path, device: torch.device) -> Callable[[Tensor], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        network = torch.jit.load(path, device).eval()  # type: ignore[no-untyped-call]
    return torch.no_grad()(lambda x: network(x.to(device)))


def inception_features(device: torch.device) -> Features:
    """Opens torch-fidelity's version of the Inception network that defines FID. Raises UsageError if not installed."""
    if why := why_no_inception():
        raise UsageError(why)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"], str(_inception_weights())).to(device)

    @torch.no_grad()
    def run(images: Images) -> Tensor:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        features: Tensor = network(x.to(device))[0]
        return features

    return Features("Inception v3 by torch-fidelity", run)


def why_no_inception() -> str:
    """Explains why FID and KID are not available; empty if they are."""
    if importlib.util.find_spec("torch_fidelity") is None:
        return "FID and KID need torch-fidelity, which is not installed: pip install torch-fidelity"
    weights = _inception_weights()
    return "" if weights.is_file() else f"FID and KID need the Inception weights of torch-fidelity at {weights}"


def _inception_weights() -> Path:
    """Returns the path to which torch-fidelity downloads them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
