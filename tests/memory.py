"""How much memory this process takes (Linux)."""

import contextlib
from pathlib import Path


def reset_peak() -> None:
    """Let Linux count this process's peak of memory, ``VmHWM``, anew."""
    # Else the peak could be that of an import. Where a container forbids it, it is.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_mib(field: str) -> float:
    """Return ``VmRSS`` or ``VmHWM`` of this process in MiB."""
    # Not getrusage: its maximum is inherited from the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
