"""Energy of a measure, where the processor counts it: RAPL, read from /sys/class/powercap.

The counters are of whole packages, neighbours included, and wrap around; virtual machines seldom
show them, and since 2020 only root may read them (CVE-2020-8694). Where they are not readable the
figure is null, and the reason stands beside it.
Source: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """The packages' counters, or why there are none."""

    packages: tuple[Path, ...]
    why_not: str | None

    def read(self) -> list[int] | None:
        """Microjoules of every package since some start; null without counters."""
        if self.why_not is not None:
            return None
        return [int((package / "energy_uj").read_text()) for package in self.packages]

    def joules_since(self, before: list[int] | None) -> float | None:
        """Joules between two readings; a counter that wrapped is unrolled once."""
        after = self.read()
        if before is None or after is None:
            return None
        total = 0
        for package, first, last in zip(self.packages, before, after, strict=True):
            wrapped = int((package / "max_energy_range_uj").read_text()) if last < first else 0
            total += last - first + wrapped
        return total / 1e6


def open_meter(folder: Path = POWERCAP) -> Meter:
    """The meter of this machine."""
    if not folder.is_dir():
        return Meter((), f"{folder} does not exist: this machine shows no energy counters")
    packages = tuple(
        path
        for path in sorted(folder.glob("*rapl:*"))
        if path.name.count(":") == 1 and (path / "energy_uj").exists()
    )
    if not packages:
        return Meter((), f"{folder} has no package with energy_uj")
    try:
        for package in packages:
            (package / "energy_uj").read_text()
    except OSError as error:
        return Meter((), f"{packages[0]}/energy_uj cannot be read ({error.strerror})")
    return Meter(packages, None)
