"""A class of twenty on one laptop: everybody moves sliders for two minutes while one job is under way.

Run as `python -m benchmarks.load`; prints one Markdown table. Each visitor speaks Streamlit's own protocol over a
WebSocket, as a browser does: open Explore, move a slider, wait until the page has been computed, fetch its pictures,
think for some seconds. Twenty real browsers would measure the browsers.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Slider_pb2 import Slider
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

from tools.browser import Dashboard, dashboard

WORKLOADS = ("fashion-vae", "fashion-gan", "fashion-diffusion", "verses-transformer")
STORED, COMPUTED = "Bits per weight", "Sparsity (weights set to zero)"
ENDED_WELL = (
    ForwardMsg.FINISHED_SUCCESSFULLY,
    ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
    ForwardMsg.FINISHED_EARLY_FOR_RERUN,
)


@dataclass
class Findings:
    """What visitors met.

    Attributes:
        stored: seconds from a move to the whole page, for those who move the bits; these are on record.
        computed: the same for those who move the sparsity; most of these are sampled anew.
        errors: tracebacks and runs that ended badly, as text.
        pictures: bytes of each fetched picture.
    """

    stored: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)


class Visitor:
    """One session on the Explore page."""

    def __init__(self, socket: ClientConnection, address: str, query: str) -> None:
        self.socket, self.address, self.query = socket, address, query
        self.sliders: dict[str, Slider] = {}
        self.fragments: dict[str, str] = {}
        self.states: dict[str, WidgetState] = {}
        self.images: list[str] = []

    async def run(self, *, fragment: str = "") -> list[str]:
        """Ask for a run of the page or of one fragment and wait for its end; the errors of it."""
        message = BackMsg()
        client = message.rerun_script
        client.query_string, client.page_name, client.fragment_id = self.query, "explore", fragment
        client.widget_states.widgets.extend(self.states.values())
        await self.socket.send(message.SerializeToString())
        self.images = []
        errors: list[str] = []
        while True:
            told = ForwardMsg()
            told.ParseFromString(bytes(await self.socket.recv()))  # type: ignore[arg-type]
            kind = told.WhichOneof("type")
            if kind == "delta":
                errors += self._read(told)
            elif kind == "script_finished":
                if told.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    continue  # the run that follows is the answer
                if told.script_finished not in ENDED_WELL:
                    errors.append(ForwardMsg.ScriptFinishedStatus.Name(told.script_finished))
                return errors

    def _read(self, told: ForwardMsg) -> list[str]:
        element = told.delta.new_element
        kind = element.WhichOneof("type")
        if kind == "slider":
            self.sliders[element.slider.label] = element.slider
            self.fragments[element.slider.label] = told.delta.fragment_id
        elif kind == "imgs":
            self.images += [image.url for image in element.imgs.imgs]
        elif kind == "exception":
            return [f"{element.exception.type}: {element.exception.message}"]
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            return [element.alert.body]
        return []

    async def move(self, label: str, choose: random.Random) -> list[str]:
        """Move one slider somewhere else, and rerun what hangs on it."""
        slider = self.sliders[label]
        state = WidgetState(id=slider.id)
        if slider.options:
            state.string_array_value.data[:] = [choose.choice(list(slider.options))]
        else:
            n_steps = round((slider.max - slider.min) / slider.step)
            state.double_array_value.data[:] = [slider.min + slider.step * choose.randint(0, n_steps)]
        self.states[slider.id] = state
        return await self.run(fragment=self.fragments[label])

    async def look(self) -> list[int]:
        """Fetch the pictures of the last run: their bytes."""
        return [len(await asyncio.to_thread(self._fetch, url)) for url in self.images]

    def _fetch(self, url: str) -> bytes:
        with urllib.request.urlopen(self.address + url, timeout=60) as answer:
            return bytes(answer.read())


async def visit(address: str, number: int, *, seconds: float, think: float, found: Findings) -> None:
    """One visitor. Widths alone are on record for every workload; of sparsities only some are."""
    choose = random.Random(number)
    query = urllib.parse.urlencode({"workload": WORKLOADS[number % len(WORKLOADS)]})
    socket_address = address.replace("http", "ws", 1) + "/_stcore/stream"
    async with connect(socket_address, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        visitor = Visitor(socket, address, query)
        await asyncio.sleep(think * choose.random())
        found.errors += await visitor.run()
        ends = time.monotonic() + seconds
        label, taken = (COMPUTED, found.computed) if number // len(WORKLOADS) % 2 else (STORED, found.stored)
        while time.monotonic() < ends:
            await asyncio.sleep(think * (0.5 + choose.random()))
            started = time.perf_counter()
            found.errors += await visitor.move(label, choose)
            taken.append(time.perf_counter() - started)
            found.pictures += await visitor.look()


async def crowd(address: str, n: int, *, seconds: float, think: float) -> Findings:
    """Everybody at once."""
    found = Findings()
    visits = (visit(address, number, seconds=seconds, think=think, found=found) for number in range(n))
    for ended in await asyncio.gather(*visits, return_exceptions=True):
        if isinstance(ended, BaseException):
            found.errors.append(f"{type(ended).__name__}: {ended}")
    return found


def start_job(home: Path) -> None:
    """A long sweep of the diffusion model in a process of its own."""
    environment = {**os.environ, "GENCOMP_HOME": str(home), "GENCOMP_STORE": f"sqlite:///{home}/store.db"}
    command = [sys.executable, "-m", "gencomp_core", "sweep", "fashion-diffusion", "--grid", "thorough", "--background"]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def megabytes(running: Dashboard) -> float:
    """Resident memory of the server."""
    return float(psutil.Process(running.process.pid).memory_info().rss / 1e6)


def stop_jobs(home: Path) -> None:
    """Cancel what was started: a job outlives its server."""
    from gencomp_core.services import jobs
    from gencomp_core.store import Store

    store = Store(f"sqlite:///{home}/store.db")
    for job in jobs.everyone(store):
        if job.is_active:
            jobs.cancel(store, job.id)


def p95(values: Sequence[float]) -> float:
    """The value that 95 % stay below."""
    return sorted(values)[int(0.95 * (len(values) - 1))]


def row(what: str, values: Sequence[float]) -> None:
    """One row of times, in milliseconds."""
    if not values:
        return
    median, high = 1000 * statistics.median(values), 1000 * p95(values)
    print(f"| {what} | {median:,.0f} | {high:,.0f} | {1000 * max(values):,.0f} | {len(values)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--think", type=float, default=4, help="mean seconds between two moves of one visitor")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, dashboard(Path(folder)) as running:
        home = Path(folder)
        asyncio.run(crowd(running.address, len(WORKLOADS), seconds=8, think=1))  # each workload once
        start_job(home)
        before = megabytes(running)
        started = time.monotonic()
        found = asyncio.run(crowd(running.address, chosen.visitors, seconds=chosen.seconds, think=chosen.think))
        minutes = (time.monotonic() - started) / 60
        after = megabytes(running)
        stop_jobs(home)
    print(f"{chosen.visitors} visitors, {minutes:.1f} minutes, one sweep under way.\n")
    print("| what | median ms | p95 ms | longest ms | n |\n|---|---|---|---|---|")
    row("slider moved, on record", found.stored)
    row("slider moved, mostly computed anew", found.computed)
    print(f"\nErrors: {len(found.errors)}. Pictures fetched: {len(found.pictures)}.")
    print(f"Memory of the server: {before:,.0f} MB before, {after:,.0f} MB after ({after - before:+,.0f} MB).")
    for error in sorted(set(found.errors))[:10]:
        print(f"- {error[:300]}")


if __name__ == "__main__":
    main()
