"""The machine that measures: processor, build of llama.cpp, memory bandwidth, and its neighbours.

A speed says nothing without them. Threads are pinned to the first processors that the process may
use; how much of the processors others took meanwhile is read from /proc/stat, so that a disturbed
measure can be told from a quiet one.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FLAGS = ("avx2", "fma", "f16c", "bmi2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni",
          "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve", "bf16")  # fmt: skip
_BANDWIDTH_BYTES = 192 * 2**20  # a thread's part is beyond its share of any cache


def pin_threads(threads: int) -> list[int]:
    """Keep this process on as many processors as it has threads; returns which."""
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[: max(1, threads)]
    os.sched_setaffinity(0, chosen)
    return chosen


def memory_mib(name: str) -> float:
    """A line of /proc/self/status: VmRSS is what is resident, VmHWM the most there ever was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def available_mib() -> float:
    """What the system could still give; infinite where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    told = dict(line.split(":", 1) for line in lines)
    return int(told["MemAvailable"].split()[0]) / 1024


@dataclass
class Load:
    """What else ran: shares of all processors' time, and the load average at the end."""

    others_cpu_share: float | None = None
    load_average: float | None = None

    def told(self) -> dict[str, float | None]:
        """Plain values."""
        return {"others_cpu_share": self.others_cpu_share, "load_average": self.load_average}


@contextmanager
def watched() -> Iterator[Load]:
    """The load of the machine while something is measured; null where /proc does not tell."""
    load, began = Load(), _spent()
    own = time.process_time()
    yield load
    ended = _spent()
    own = time.process_time() - own
    if began and ended and ended[1] > began[1]:
        busy = ended[0] - began[0] - own
        load.others_cpu_share = round(min(1.0, max(0.0, busy / (ended[1] - began[1]))), 3)
    load.load_average = round(os.getloadavg()[0], 2)


def _spent() -> tuple[float, float] | None:
    """Seconds of all processors since the start: busy, and in all."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[:8]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def measure_bandwidth(threads: int) -> float:
    """Bytes a second that this many threads read from memory, the best of five passes."""
    import numpy as np

    parts = [np.ones(_BANDWIDTH_BYTES // 8 // threads, np.int64) for _ in range(threads)]
    best_s = float("inf")
    for _ in range(5):
        readers = [threading.Thread(target=part.sum) for part in parts]
        began = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        best_s = min(best_s, time.perf_counter() - began)
    return sum(part.nbytes for part in parts) / best_s


def describe_machine(threads: int) -> dict[str, Any]:
    """Processor, flags, build and bandwidth, for the report."""
    import llama_cpp

    from downstream.device import system_info
    from downstream.energy import open_meter
    from downstream.llama_session import ggml_build

    processor, flags, clock_ghz = _processor()
    told = system_info()
    return {
        "processor": processor,
        "flags": flags,
        "clock_ghz": clock_ghz,
        "simd_bits": _simd_bits(told),
        "processors": os.cpu_count(),
        "threads": threads,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "bandwidth_gb_per_s": round(measure_bandwidth(threads) / 1e9, 2),
        "llama_cpp_python": llama_cpp.__version__,
        "build": f"{ggml_build()}; {told}",
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "no_energy_because": open_meter().why_not,
    }


def _processor() -> tuple[str, list[str], float | None]:
    """Name, those flags that matter here, and the clock in GHz, null where it is not told."""
    name, flags, clock_ghz = platform.machine(), set(), None
    try:
        told = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        told = []
    for line in told:
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            name = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = set(value.split())
        elif key.strip() == "cpu MHz":
            clock_ghz = round(float(value) / 1e3, 3)
    return name, [flag for flag in _FLAGS if flag in flags], clock_ghz


def _simd_bits(system_info: str) -> int:
    """Vector bits that this build of llama.cpp uses in a cycle: two units of its widest kind."""
    for name, bits in (("AVX512 = 1", 512), ("AVX2 = 1", 256)):
        if name in system_info:
            return 2 * bits
    return 2 * 128
