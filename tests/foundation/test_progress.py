"""What one sees of what takes long: bars on a terminal of one's own, elsewhere lines that say whose they are."""

import sys
import time

import pytest

from foundation import progress
from foundation.progress import Job, progress_of, say, shows_bars, task, track


class Clock:
    """Time that passes where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)


def lines_of(capsys: pytest.CaptureFixture) -> list[str]:
    said = capsys.readouterr()
    assert not said.err
    return said.out.splitlines()


def shown(clock: Clock, count: int, seconds: float) -> None:
    for _ in track(range(count), count, "features", "batches"):
        clock.now += seconds


def test_a_log_has_a_line_for_each_tenth(clock: Clock, capsys: pytest.CaptureFixture):
    shown(clock, count=200, seconds=0.5)
    lines = lines_of(capsys)
    assert [line.split(",")[0] for line in lines] == [f"features {tenth}0%" for tenth in range(1, 11)]
    assert lines[1] == "features 20%, 40 of 200 batches, 01:20 left"
    assert lines[-1] == "features 100%, 200 of 200 batches"


def test_no_more_lines_than_one_in_five_seconds_and_none_of_what_is_short(clock: Clock, capsys: pytest.CaptureFixture):
    shown(clock, count=100, seconds=0.2)
    assert [line.split(",")[0] for line in lines_of(capsys)] == [f"features {part}%" for part in (30, 60, 90, 100)]
    shown(clock, count=100, seconds=0.04)
    assert lines_of(capsys) == []


def test_every_part_of_a_few_long_ones_has_its_line(clock: Clock, capsys: pytest.CaptureFixture):
    shown(clock, count=3, seconds=60)
    assert [line.split(",")[0] for line in lines_of(capsys)] == ["features 33%", "features 67%", "features 100%"]


def test_lines_have_the_name_of_the_job_and_it_ends_with_the_job(clock: Clock, capsys: pytest.CaptureFixture):
    with progress_of(Job("vae-conv-digits/seed0")):
        say("testing")
        shown(clock, count=1, seconds=60)
    say("report")
    begins = [line.partition(" ")[0] for line in lines_of(capsys)]
    assert begins == ["[vae-conv-digits/seed0]", "[vae-conv-digits/seed0]", "report"]


def test_only_the_first_of_several_processes_speaks(clock: Clock, capsys: pytest.CaptureFixture):
    with progress_of(Job(is_shown=False)):
        say("testing")
        shown(clock, count=10, seconds=60)
    assert lines_of(capsys) == []


def test_a_terminal_has_a_bar_that_goes_when_it_is_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    on_a_terminal(monkeypatch)
    assert shows_bars()
    with task("features", 3, "batches") as bar:
        bar.advance()
        time.sleep(1.1 * progress.BAR_AFTER)
        bar.advance()
        say("a word")
        bar.advance()
    said = capsys.readouterr()
    assert said.out == "a word\n"
    assert "features" in said.err and "2 of 3 batches" in said.err and said.err.endswith("\r")


@pytest.mark.parametrize("job", [Job("vae-conv-digits", has_terminal=False), Job(is_shown=False)])
def test_a_terminal_that_others_write_to_has_no_bars(monkeypatch: pytest.MonkeyPatch, job: Job):
    on_a_terminal(monkeypatch)
    assert shows_bars()
    with progress_of(job):
        assert not shows_bars()


def test_output_that_is_piped_on_has_lines_though_errors_go_to_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert not shows_bars()


def test_a_part_costs_next_to_nothing():
    with task("features", 10**6, "batches") as shown:
        start = time.perf_counter()
        for _ in range(10**4):
            shown.advance()
        seconds = (time.perf_counter() - start) / 10**4
    assert seconds < 2e-5  # 0.2 µs on an idle core; a batch takes milliseconds
