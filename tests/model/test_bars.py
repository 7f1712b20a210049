"""Progress of long work where nobody looks on: in a log a line now and then, and nothing of what is soon done."""

import io

import pytest
from rich.console import Console

from model import bars
from model.bars import Bars


def work(quiet: bool) -> None:
    with Bars(quiet=quiet) as progress:
        for done in range(3):
            progress("encode [clips]", done, 2)


def test_long_work_says_in_a_log_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars, "EVERY", 0.0)
    work(quiet=True)
    said = capsys.readouterr()
    assert said.err.splitlines() == ["encode [clips]: 0 of 2", "encode [clips]: 1 of 2", "encode [clips]: 2 of 2"]
    assert not said.out


def test_what_is_soon_done_says_nothing_where_a_script_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    work(quiet=True)
    assert capsys.readouterr().err == ""


def test_the_bar_that_moves_is_on_the_screen_however_many_are_full() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, height=12)
    with Bars(console=screen) as progress:
        for folder in range(20):
            progress(f"read {folder}", 5, 5)
        progress.below("another part")
        progress("train", 1, 9)
        shown = [task.description for task in progress.progress.tasks if task.visible]
        progress("read 3", 0, 5)  # a second folder with a stage of the same name
        again = [task.description for task in progress.progress.tasks if task.visible]
    assert shown == ["train"] and again == ["train", "read 3"]
