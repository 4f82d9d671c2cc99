"""Devices: which one a setting stands for, what runs on it, and the peak memory used there."""

import platform
import resource
import sys

import torch


def device_of(accelerator: str) -> torch.device:
    """The device that `runtime.accelerator` stands for; `auto` is the GPU where there is one."""
    if accelerator == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def processor(device: str) -> str:
    """What adds up floats, in words: another one, or other threads, ends in other weights."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, {torch.get_num_threads()} threads"


def reset_peak() -> None:
    """Starts counting a GPU's peak memory anew; the peak of a process cannot be reset."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: str) -> float:
    """Peak memory in GB: of the GPU since `reset_peak` for device type cuda, else of the process.

    The latter counts earlier stages too.
    """
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e9, 3)
