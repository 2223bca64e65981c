"""The device that a word means: of this machine, or of the machines on which an executor runs its jobs."""

from __future__ import annotations

import torch

from bench.errors import UserError, told


def choose_device(text: str, elsewhere: bool = False) -> str:
    """`auto` is the GPU if there is one; a named device must exist.

    Args:
        text: `auto`, `cpu`, `cuda`, `cuda:1`.
        elsewhere: jobs run on other machines: they look for their GPU themselves (`Session.check_device`).

    Raises:
        UserError: for an unknown word, a device that this machine does not have, or, if jobs run elsewhere, `auto` on
            a machine without a GPU and a GPU by its number.
    """
    if text == "auto":
        found = torch.cuda.is_available()
        if elsewhere and not found:
            raise UserError(
                "device 'auto': the jobs run on other machines, and this one has no GPU to go by; give --device cuda "
                "if those have GPUs, or --device cpu"
            )
        return "cuda" if found else "cpu"
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise UserError(f"unknown device {text!r}; choices: auto, cpu, cuda, cuda:0, ...") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {text!r} is not supported; choices: auto, cpu, cuda, cuda:0, ...")
    if device.type == "cuda" and elsewhere and device.index:
        raise UserError(f"device {text!r}: each job on another machine has GPUs of its own; give --device cuda")
    if device.type == "cuda" and not elsewhere and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {text!r}: torch sees {torch.cuda.device_count()} CUDA devices; choose cpu or auto")
    return text


def fault(device: str) -> str:
    """Says why a GPU does no work for this process; "" if it works.

    After some errors (an index out of range in a kernel, an illegal address) every later CUDA call of a process fails.
    A GPU of which only the memory is full works.
    """
    try:
        torch.ones(1, device=device).add_(1)
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        return ""
    except Exception as error:
        return told(error).partition("\n")[0]
    return ""
