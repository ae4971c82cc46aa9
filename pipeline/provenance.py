"""Where an artifact comes from: the code's commit, the packages' versions, the machine.

Facts only: what cannot be found out is "unknown".
"""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = [
    "datatrove", "fasttext-numpy2-wheel", "gguf", "llama-cpp-python", "mlcroissant", "numba",
    "numpy", "onnxruntime", "openai", "prefect", "primer", "pyarrow", "pydantic", "rensa",
    "scikit-learn", "skl2onnx", "tokenizers", "torch", "transformers",
]  # fmt: skip


def _git(*arguments: str) -> str | None:
    here = Path(__file__).resolve().parent
    answer = subprocess.run(
        ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


@functools.cache
def code_version() -> dict[str, str | bool]:
    """The commit that Primer runs from, and whether its tree had changes; "unknown" without git."""
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no")
    except OSError:
        commit = changes = None
    dirty: str | bool = "unknown" if changes is None else bool(changes)
    return {"commit": commit or "unknown", "dirty": dirty}


@functools.cache
def package_versions() -> dict[str, str]:
    """The versions of the packages that shape the outputs."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def machine() -> dict[str, str | int]:
    """The interpreter, the system and the processor."""
    processor = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [ln for ln in cpuinfo.read_text().splitlines() if ln.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor,
        "cores": os.cpu_count() or 1,
    }
