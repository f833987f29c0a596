"""Where a run computes, and in which precision."""

from __future__ import annotations

import torch

from gankit._errors import DeviceError


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises DeviceError where CUDA was demanded and is not there."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no NVIDIA driver or GPU was found"
        raise DeviceError(f"--device cuda cannot be had: {why}")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def pick_precision(name: str, device: torch.device) -> torch.autocast:
    """The context for forward passes: bfloat16 where the hardware has arithmetic for it, or where it was demanded."""
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Not every torch has this function; one without computes in float32.
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        supported = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    if name == "bf16" and not supported:
        raise DeviceError(f"--precision bf16 is not supported by this {device.type}; use float32 or auto")
    return torch.autocast(device.type, torch.bfloat16, enabled=supported and name != "float32", cache_enabled=False)


def device_name(device: torch.device) -> str:
    """What to call it in a line for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
