"""How long and how much memory compressing takes, against the aims.

Run as `python -m benchmarks.compression_speed`; prints one Markdown table, kept in docs/benchmarks.md. One thread; the
largest bundled model is the one with most parameters. Seconds are processor time, medians of `ROUNDS`; forward passes
are interleaved in every order (`evaluate/latency.py`); memory is the peak of a process of its own above its start.
"""

import ctypes
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gencomp_core.analysis.measurement import dense_size
from gencomp_core.evaluate.cost import count_params
from gencomp_core.evaluate.latency import interleave
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtime_env import machine, set_threads
from gencomp_core.variant import compress
from gencomp_core.workloads import CATALOG, load_workload
from gencomp_core.workloads.base import Workload, complete_settings, work

ROUNDS = 7
FORWARD_ROUNDS = 30
NEAREST = "stages: [{kind: weight-quantization, bits: 4}]"
GROUPS = "stages: [{kind: weight-quantization, bits: 4, group_size: 64}]"
MAGNITUDE = "stages: [{kind: magnitude-pruning, sparsity: 0.5}]"
GLOBAL = "stages: [{kind: magnitude-pruning, sparsity: 0.5, scope: global}]"
GPTQ = "stages: [{kind: weight-quantization, bits: 4, rounding: gptq}]"
ACTIVATIONS = "stages: [{kind: weight-quantization, bits: 8}, {kind: activation-quantization, mode: MODE}]"
DATA_FREE = [NEAREST, GROUPS, MAGNITUDE, GLOBAL, "stages: [{kind: float-format, format: nf4}]"]
FORWARDS = [("fashion-diffusion", 1), ("fashion-vae", 1), ("verses-transformer", 1), ("verses-transformer", 16)]
AIMS = {"apply": 0.3, "gptq": 60.0, "forward": 1.5, "memory": 3.0}


def main() -> None:
    """Print the table, or, as a child, the bytes that one recipe took."""
    set_threads(1)
    if len(sys.argv) == 3:
        print(peak_bytes(load_workload(sys.argv[1]), Recipe.from_text(sys.argv[2])))
        return
    largest = max((load_workload(name) for name in CATALOG), key=lambda own: count_params(own.model)[0])
    heading = ("what", "model", "measured", "aim", "met")
    print(f"{machine()['processor']}, one thread\n\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
    for text in (NEAREST, GROUPS, MAGNITUDE, GLOBAL):
        seconds = seconds_to_apply(largest, text, rounds=ROUNDS)
        row(f"apply {title(text)}", largest, seconds, AIMS["apply"], "{:.3f} s")
    verses = load_workload("verses-transformer")
    row(f"apply {title(GPTQ)}", verses, seconds_to_apply(verses, GPTQ, rounds=3), AIMS["gptq"], "{:.1f} s")
    for name, batch in FORWARDS:
        for mode in ("static", "dynamic"):
            text = ACTIVATIONS.replace("MODE", mode)
            workload = load_workload(name)
            low, ratio, high = forward_ratio(workload, text, batch=batch)
            form = f"{{:.2f}} × [{low:.2f}, {high:.2f}]"
            row(f"generate {batch} with {title(text)}, of float", workload, ratio, AIMS["forward"], form)
    for text in DATA_FREE:
        times = child_bytes(largest, text) / dense_size(largest)
        row(f"peak memory, {title(text)}", largest, times, AIMS["memory"], "{:.2f} × the weights file")


def row(what: str, workload: Workload, value: float, aim: float, form: str) -> None:
    """One line: measured against the aim."""
    unit = form.format(0).split(" ")[1]
    met = "yes" if value <= aim else "**no**"
    print(f"| {what} | {workload.name} | {form.format(value)} | ≤ {aim:g} {unit} | {met} |", flush=True)


def title(text: str) -> str:
    """What a recipe does, in words."""
    return Recipe.from_text(text).title()


def seconds_to_apply(workload: Workload, text: str, *, rounds: int) -> float:
    """Median processor seconds of `compress`, the copy of the dense model included."""
    recipe = Recipe.from_text(text)
    return statistics.median(seconds(lambda: compress(workload, recipe)) for _ in range(rounds))


def seconds(action: Callable[[], object]) -> float:
    """Processor seconds of one action."""
    started = time.process_time()
    action()
    return time.process_time() - started


def forward_ratio(workload: Workload, text: str, *, batch: int) -> tuple[float, float, float]:
    """Quartiles of the time to generate a batch with fake quantization, as a multiple of float's."""
    settings = complete_settings(workload)
    models = {"fake": compress(workload, Recipe.from_text(text)).model, "float": workload.model}
    runs = {name: partial(work, workload, own, 0, batch, settings=settings) for name, own in models.items()}
    low, middle, high = interleave(runs, threads=1, rounds=FORWARD_ROUNDS).ratio("fake", "float")
    return float(low), float(middle), float(high)


def child_bytes(workload: Workload, text: str) -> int:
    """Peak bytes of a recipe in a process of its own, which nothing else has filled."""
    command = [sys.executable, "-m", "benchmarks.compression_speed", workload.name, text]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def peak_bytes(workload: Workload, recipe: Recipe) -> int:
    """Resident memory at its peak above that with the dense model loaded: the copy that is compressed counts."""
    count_params(workload.model)
    compress(workload, recipe)  # what torch and NumPy set up once is no part of it
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # pages that the allocator keeps would hide what is taken next
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts anew
    before = status_bytes("VmRSS")
    variant = compress(workload, recipe)
    assert variant.model is not workload.model
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A memory figure of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
