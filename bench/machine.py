"""What the machine is, which core a process runs on, and what it has used: all read from /proc."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
_AFTER_NAME = 2  # /proc/<pid>/stat: what follows the name begins with its third field
_UTIME, _STIME = 13 - _AFTER_NAME, 14 - _AFTER_NAME


def cores() -> tuple[set[int], set[int]]:
    """The core for what is measured, and the core for all else. Without a second one, both are the same."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, {usable[1] if len(usable) > 1 else usable[0]}


def on_core(core: set[int]) -> list[str]:
    """What goes before a command so that it and its children stay on the core."""
    return ["taskset", "--cpu-list", ",".join(map(str, core))]


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in tree(int(child)))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes until now."""
    return sum(_cpu_ticks(pid) for pid in pids) / TICKS


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[_UTIME - 1]) + int(fields[_STIME - 1])


def memory_mb(pids: Sequence[int]) -> float:
    """Proportional set size: shared pages count in part, so that the sum is what they take."""
    return sum(_pss_kb(pid) for pid in pids) / 1024


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def shape() -> str:
    """The machine in a line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:"))
    return f"{os.cpu_count()} cores ({model}), {memory / 1024**2:.0f} GB, Linux {platform.release()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def commit() -> str:
    """The checkout's commit, marked where it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
