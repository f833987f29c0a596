"""The device and the precision of a run."""

import torch

from gankit._errors import DeviceError


def pick_device(name: str) -> torch.device:
    """Returns the device `cpu`, `cuda` or `auto`, which prefers CUDA. Raises DeviceError if `cuda` is not available."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no NVIDIA driver or GPU was found"
        raise DeviceError(f"--device cuda is not available: {why}; use --device cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def pick_precision(name: str, device: torch.device) -> torch.autocast:
    """Returns the autocast context for forward passes in `float32`, `bfloat16` or `auto`.

    `auto` is bfloat16 where the device computes it natively. Raises DeviceError if `bfloat16` is not supported.
    """
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Not every torch has this function; without it, auto is float32.
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        supported = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    if name == "bfloat16" and not supported:
        raise DeviceError(f"--precision bfloat16 is not supported by this {device.type}; use float32 or auto")
    return torch.autocast(device.type, torch.bfloat16, enabled=supported and name != "float32", cache_enabled=False)


def device_name(device: torch.device) -> str:
    """Returns the GPU's product name, or the number of CPU threads that PyTorch uses."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
