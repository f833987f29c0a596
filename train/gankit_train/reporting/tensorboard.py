"""TensorBoard logging."""

from pathlib import Path
from typing import Any

from gankit._errors import MissingExtraError


def open_tensorboard(run: Path, images: int) -> Any:
    """Opens TensorBoard's SummaryWriter for a run folder and drops what was logged after so many images.

    Raises MissingExtraError if tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--tensorboard needs a missing package: pip install {error.name}") from None
    return SummaryWriter(run / "tensorboard", purge_step=images + 1)
