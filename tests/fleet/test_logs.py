"""Logs of many processes, read as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet import logs, screen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orders-1.log").write_text(
        '{"time": "2026-11-23T10:00:00.1Z", "level": "INFO", "service": "orders", "message": "placed", "order": 7}\n'
        "Traceback (most recent call last):\n"
        '{"time": "2026-11-23T10:00:00.500Z", "level": "ERROR", "service": "orders", "message": "failed"}\n'
    )
    (tmp_path / "orders-2.log").write_text('{"time": "2026-11-23T11:00:00.300+01:00", "message": "other instance"}\n')
    (tmp_path / "postgres.log").write_text("2026-11-23 10:00:00.200 UTC [3822] LOG:  database system is ready\n")
    (tmp_path / "nats.log").write_text("[7] 2026/11/23 10:00:00.400000 [WRN] slow consumer\n")
    return tmp_path


def test_lines_of_all_processes_come_in_the_order_of_time(folder: Path) -> None:
    assert [(line.service, line.level, line.message) for line in logs.Reader(folder).read()] == [
        ("orders", "INFO", "placed"),
        ("orders", "", "Traceback (most recent call last):"),
        ("postgres", "INFO", "database system is ready"),
        ("orders", "", "other instance"),
        ("nats", "WARNING", "slow consumer"),
        ("orders", "ERROR", "failed"),
    ]


def test_one_service_and_the_newest_lines_can_be_chosen(folder: Path) -> None:
    assert [line.message for line in logs.Reader(folder, "orders").read(2)] == ["other instance", "failed"]
    assert [line.service for line in logs.Reader(folder, "postgres").read()] == ["postgres"]
    assert logs.Reader(folder).read(0) == []


def test_lines_of_some_traces_can_be_chosen_also_of_what_was_moved_aside(folder: Path) -> None:
    first, second = "a" * 32, "b" * 32
    written = [
        (folder / "orders-1.log.1", first, "moved aside", "09"),
        (folder / "orders-1.log", first, "placed", "11"),
        (folder / "payments-1.log", second, "authorized", "12"),
        (folder / "payments-1.log", "c" * 32, "another's", "13"),
    ]
    for file, trace, message, hour in written:
        with file.open("a") as stream:
            line = {"time": f"2026-11-23T{hour}:00:00Z", "message": message, "trace": trace}
            stream.write(json.dumps(line) + "\n")
    lines = logs.Reader(folder, traces=[first, second]).read()
    assert [(line.service, line.message) for line in lines] == [
        ("orders", "moved aside"), ("orders", "placed"), ("payments", "authorized"),
    ]  # fmt: skip
    assert [line.message for line in logs.Reader(folder, "orders", traces=[first]).read()] == ["moved aside", "placed"]


def test_a_line_that_only_tells_of_a_trace_is_not_written_in_it(folder: Path) -> None:
    looked, looker = "a" * 32, "b" * 32
    with (folder / "telemetry-1.log").open("a") as stream:
        for line in ({"message": "request", "trace": looker, "name": f"traces/{looked}"}, {"message": "no object"}):
            stream.write(json.dumps({"time": "2026-11-23T12:00:00Z"} | line) + "\n")
    assert logs.Reader(folder, traces=[looked]).read(5) == []
    assert [line.message for line in logs.Reader(folder, traces=[looker]).read(1)] == ["request"]


def test_every_line_can_be_had_as_json(folder: Path) -> None:
    lines = [json.loads(line.as_json()) for line in logs.Reader(folder).read()]
    assert lines[0]["order"] == 7
    assert all({"time", "level", "service", "message"} <= line.keys() for line in lines)


@pytest.mark.parametrize(
    "text", ['{"time": 7, "message": "x"}', '{"time": "soon"}', "[1]", "{", "null", "\ufffd\x00", ""]
)
def test_a_line_of_any_other_form_is_shown_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "orders-1.log").write_text(text + "\n")
    [line] = logs.Reader(tmp_path).read()
    assert line.message == text
    assert text in screen.log_line(line).plain


def test_a_reader_goes_on_with_whole_new_lines_also_of_new_files(folder: Path) -> None:
    reader = logs.Reader(folder, "orders")
    assert len(reader.read()) == 4
    with (folder / "orders-1.log").open("a") as stream:
        stream.write("first\nsecond, ")
        stream.flush()
        assert [line.message for line in reader.read()] == ["first"]
        stream.write("now whole\n")
    (folder / "orders-3.log").write_text("of another\n")
    assert {line.message for line in reader.read()} == {"second, now whole", "of another"}
    assert reader.read() == []


def test_a_reader_begins_again_with_a_file_that_was_moved_aside(folder: Path) -> None:
    reader = logs.Reader(folder, "postgres")
    reader.read()
    (folder / "postgres.log").write_text("short\n")
    assert [line.message for line in reader.read()] == ["short"]


def test_a_large_log_is_moved_aside_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LARGEST_BYTES", 10)
    file = tmp_path / "orders-1.log"
    with file.open("a") as stream:
        stream.write("longer than that\n")
        stream.flush()
        logs.keep_small(tmp_path)
        stream.write("after\n")
    assert file.read_text() == "after\n"
    assert (tmp_path / "orders-1.log.1").read_text() == "longer than that\n"
