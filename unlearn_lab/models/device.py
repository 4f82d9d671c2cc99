"""Resolves the device of a setting, and reports its hardware and peak memory."""

import platform
import resource
import sys
from pathlib import Path

import torch


def device_of(accelerator: str) -> torch.device:
    """Returns the device of `runtime.accelerator`; `auto` is the GPU if there is one."""
    if accelerator == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 products; others emulate them.

    A CPU counts as without where torch is too old to say.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return device.type == "xpu"
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def require_bfloat16(arithmetic: str, device: torch.device) -> None:
    """Raises `ValueError` for bf16 arithmetic on a device that only emulates it."""
    if arithmetic == "bf16" and not computes_in_bfloat16(device):
        raise ValueError(f"arithmetic=bf16: {device} here only emulates bfloat16; use fp32")


def processor(device: str) -> str:
    """Names the hardware and CPU threads: others sum floats differently and yield other weights."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, {torch.get_num_threads()} threads"


def reset_peak() -> None:
    """Resets the peak memory of the GPU; that of a process cannot be reset."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: str) -> float:
    """Returns the peak memory in GB: of the GPU since `reset_peak` for cuda, else of the process.

    The latter includes earlier stages.
    """
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return round(_peak_of_process() / 1e9, 3)


def _peak_of_process() -> int:
    """Returns bytes; on Linux not from `getrusage`, which also counts what started the process."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte
