"""A job as people see it: start, refresh, another browser, a killed process, resume, cancel (UX.md, A11 to A16)."""

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from gencomp_core.records import Job
from gencomp_core.store import Jobs, Store
from tools.browser import settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def state(page: Page, name: str) -> None:
    expect(page.locator(".stMarkdownBadge:visible").filter(has_text=name)).to_have_count(1)


def the_job(home: Path) -> Job:
    (job,) = Jobs(Store(f"sqlite:///{home}/store.db")).all()
    return job


def test_a_job_is_followed_killed_resumed_and_cancelled(browser: Browser, page: Page, address: str, home: Path) -> None:
    page.goto(f"{address}/studies?workload=fashion-vae&studies.preset=standard")
    settled(page)
    page.get_by_role("button", name="Start on Fashion VAE").dblclick()
    state(page, "running")
    job = the_job(home)
    expect(page.locator("[data-testid=stProgress]:visible")).to_have_count(1)

    page.reload()
    state(page, "running")
    expect(page).to_have_url(re.compile(job.id))
    context = browser.new_context()
    other = context.new_page()
    other.goto(page.url)
    state(other, "running")
    expect(other.get_by_text(job.command).first).to_be_visible()
    context.close()
    assert the_job(home).id == job.id, "looking made no second job"

    worker = the_job(home).worker
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    state(page, "interrupted")
    expect(page.get_by_text("Its process ended without a word.")).to_be_visible()
    page.get_by_role("button", name="Resume", exact=True).click()
    state(page, "running")
    again = the_job(home)
    assert again.id == job.id
    assert again.worker is not None
    assert again.worker != worker

    process = psutil.Process(again.worker.pid)
    began = time.monotonic()
    page.get_by_role("button", name="Cancel", exact=True).click()
    state(page, "cancelled")
    assert process.wait(max(0.0, began + 10 - time.monotonic())) is None or not process.is_running()
    ended = the_job(home)
    assert ended.state == "cancelled"
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()
