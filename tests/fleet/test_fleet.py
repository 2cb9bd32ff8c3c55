"""A whole fleet through the `mercato` command: it comes up, it comes back, it goes away."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from fleet import embedded

from .conftest import Suite


async def starts_of(suite: Suite, instance: str) -> int:
    connection = await asyncpg.connect(suite.plan.database_url("echo"))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM starts WHERE instance = $1", instance))
    finally:
        await connection.close()


def assert_ended(processes: list[psutil.Process]) -> None:
    """Also ended is what whoever adopted it has yet to take note of."""
    wait_until(lambda: not any(process.is_running() and process.status() != "zombie" for process in processes), 5)


def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_up_returns_when_every_instance_serves_and_says_where(running: Suite) -> None:
    members = running.ps()
    assert {name: member["health"] for name, member in members.items()} == {
        "supervisor": "", "postgres": "", "nats": "", "echo/1": "SERVING", "gateway/1": "SERVING",
    }  # fmt: skip
    assert all(member["pss_bytes"] > 1_000_000 for member in members.values())
    again = running.mercato("up")
    gateway = running.plan.slots["gateway"][0]
    assert "Already up: 5 processes" in again
    assert f"grpcurl -plaintext localhost:{gateway.port} list" in again
    assert f"http://localhost:{gateway.http_port}/" in again


async def test_down_leaves_no_process_and_a_next_up_finds_the_data(suite: Suite) -> None:
    suite.mercato("up")
    starts = await starts_of(suite, "echo/1")
    processes = suite.processes()
    assert len(processes) > 8  # PostgreSQL has children of its own
    steps = suite.mercato("down").split("\n")
    assert [step.split()[-1] for step in steps if step] == ["gateway/1", "echo/1", "postgres", "nats"]
    assert_ended(processes)
    assert "Nothing was running" in suite.mercato("down")
    suite.mercato("up")
    assert await starts_of(suite, "echo/1") == starts + 1


async def test_nothing_outlives_a_killed_supervisor_and_up_starts_cleanly(suite: Suite) -> None:
    suite.mercato("up")
    starts = await starts_of(suite, "echo/1")
    processes = suite.processes()
    processes[0].kill()
    assert_ended(processes)
    assert "not running" in suite.mercato("ps", expect=1)
    suite.mercato("up")
    assert await starts_of(suite, "echo/1") == starts + 1


def test_down_ends_leftovers_of_a_supervisor_that_does_not_answer(suite: Suite) -> None:
    suite.mercato("up")
    processes = suite.processes()
    processes[0].suspend()
    try:
        assert "leftover" in suite.mercato("down", "--timeout", "1")
    finally:
        assert_ended(processes)


def test_an_instance_that_crashes_comes_back_at_its_address(running: Suite) -> None:
    before = running.ps()["echo/1"]
    assert "Killed echo/1; back after" in running.mercato("kill", "echo")
    after = running.ps()["echo/1"]
    assert (after["address"], after["health"]) == (before["address"], "SERVING")
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1


async def test_postgres_comes_back_with_its_data(running: Suite) -> None:
    starts = await starts_of(running, "echo/1")
    before = running.ps()["postgres"]
    assert "back after" in running.mercato("kill", "postgres")
    after = running.ps()["postgres"]
    assert after["address"] == before["address"]
    assert after["pid"] != before["pid"]
    assert await starts_of(running, "echo/1") == starts


async def test_nats_comes_back_with_its_streams(running: Suite) -> None:
    client = await nats.connect(running.plan.nats_url)
    await client.jetstream().add_stream(name="trade", subjects=["trade.>"])
    await client.jetstream().publish("trade.sold", b"teapot")
    await client.close()
    assert "back after" in running.mercato("kill", "nats")
    client = await nats.connect(running.plan.nats_url)
    assert (await client.jetstream().get_msg("trade", seq=1)).data == b"teapot"
    await client.jetstream().delete_stream("trade")
    await client.close()


def test_an_instance_does_not_hold_the_control_socket(running: Suite) -> None:
    for name in ("echo/1", "postgres", "nats"):
        sockets = psutil.Process(running.ps()[name]["pid"]).net_connections("unix")
        assert not [socket for socket in sockets if "control.sock" in str(socket.laddr)]


def test_scale_and_restart(running: Suite) -> None:
    assert "echo/1, echo/2, echo/3" in running.mercato("scale", "echo=3")
    scaled = running.ps()
    assert [scaled[f"echo/{number}"]["health"] for number in (1, 2, 3)] == ["SERVING"] * 3
    assert len({scaled[f"echo/{number}"]["address"] for number in (1, 2, 3)}) == 3
    running.mercato("restart", "echo")
    restarted = running.ps()
    assert all(restarted[f"echo/{number}"]["pid"] != scaled[f"echo/{number}"]["pid"] for number in (1, 2, 3))
    assert restarted["gateway/1"]["pid"] == scaled["gateway/1"]["pid"]
    running.mercato("scale", "echo=1")
    wait_until(lambda: "echo/2" not in running.ps())
    assert running.mercato("logs", "echo").count("gone") >= 2


def test_versions_share_the_places_of_a_service_and_are_scaled_each(running: Suite) -> None:
    assert "Serving: echo/2\n" in running.mercato("scale", "echo/v2=1")
    assert {name: member["version"] for name, member in running.ps().items() if name.startswith("echo")} == {
        "echo/1": "v1", "echo/2": "v2",
    }  # fmt: skip
    assert "echo runs v1 and v2; say of which: echo/v1=3 or echo/v2=3" in running.mercato("scale", "echo=3", expect=1)
    assert "echo has 4 places, and 2 of them are free" in running.mercato("scale", "echo/v2=4", expect=1)
    assert "Serving: echo/1, echo/3, echo/2, echo/4\n" in running.mercato("scale", "echo/v1=2", "echo/v2=2")
    assert "Serving: echo/1\n" in running.mercato("scale", "echo/v1=1", "echo/v2=0")
    wait_until(lambda: "echo/2" not in running.ps())
    assert '"MERCATO_VERSION": "v2"' in running.mercato("logs", "--json", "echo")


def test_a_rolling_restart_has_another_beside_the_only_one(running: Suite) -> None:
    before = running.ps()["echo/1"]["pid"]
    steps = running.mercato("restart", "echo", "--rolling").splitlines()
    assert steps == [
        "echo/2: starts beside echo/1, which is alone",
        "echo/1: drains, ends and starts again",
        "echo/2: drains and ends",
        "Started again: echo/1",
    ]
    after = running.ps()
    assert after["echo/1"]["pid"] != before
    assert "echo/2" not in after


def test_a_rolling_restart_to_code_that_does_not_start_touches_nothing_that_runs(suite: Suite) -> None:
    suite.mercato("up")
    before = suite.ps()["echo/1"]["pid"]
    main = suite.root / "services" / "echo" / "__main__.py"
    main.write_text("import nothing_of_that_name\n" + main.read_text())
    assert "echo/2" in suite.mercato("restart", "echo", "--rolling", expect=1)
    wait_until(lambda: "echo/2" not in suite.ps())
    assert suite.ps()["echo/1"]["pid"] == before


def test_after_a_crash_comes_the_code_from_before_and_only_a_restart_brings_the_changed(suite: Suite) -> None:
    suite.mercato("up")
    main = suite.root / "services" / "echo" / "__main__.py"
    main.write_text(main.read_text().replace('"serving"', '"serving anew"'))
    suite.mercato("kill", "echo")
    assert "serving anew" not in suite.mercato("logs", "echo")
    suite.mercato("restart", "echo")
    suite.mercato("kill", "echo")
    assert suite.mercato("logs", "echo").count("serving anew") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["scale", "echo"], 2, "SERVICE=N"),
        (["scale", "echo=many"], 2, "SERVICE=N"),
        (["scale", "echo=5"], 1, "echo=5: expected 0 to 4"),
        (["scale", "echo/v2=5"], 1, "echo/v2=5: expected 0 to 4"),
        (["restart", "gateway", "--rolling"], 1, "clients know one address of it"),
        (["restart", "echo/3", "--rolling"], 1, "echo/3 is not running"),
        (["up", "--version", "echo"], 2, "SERVICE=VERSION"),
        (["up", "--version", "echo=2"], 2, "expected a version"),
        (["up", "--version", "echo=v2"], 1, "runs without the mesh"),
        (["up", "--discovery", "mesh"], 1, "another way of discovery"),
        (["mesh"], 1, "runs without the mesh"),
        (["mesh", "fault", "echo"], 2, "expected --delay, --abort"),
        (["mesh", "limit", "echo", "many"], 2, "N"),
        (["canary", "echo", "v2"], 1, "runs without the mesh"),
        (["scale", "nothing=1"], 1, "expected one of echo, gateway"),
        (["restart", "nothing"], 1, "'nothing'; expected one of postgres, nats, echo, gateway"),
        (["kill", "echo/3"], 1, "echo/3 is not running"),
        (["kill", "echo/9"], 1, "unknown name 'echo/9'"),
        (["trace", "orders/1"], 1, "nobody answers (orders, "),
        (["logs", "--trace", "orders/1"], 1, "no trace is known of orders/1: not everybody answers (orders, "),
        (["logs", "--trace", "0" * 31 + "1"], 1, f"no line was written in {'0' * 31}1"),
        (["logs", "nothing"], 1, "expected one of echo, gateway, postgres, nats, supervisor"),
        (["up", "--http-port", "many"], 2, "--http-port"),
        (["fly"], 2, "No such command"),
    ],
)
def test_bad_arguments_are_named(running: Suite, arguments: list[str], code: int, says: str) -> None:
    printed = " ".join(running.mercato(*arguments, expect=code).replace("│", " ").split())
    assert says in printed
    assert "Traceback" not in printed


def test_an_instance_is_told_what_the_user_set(suite: Suite) -> None:
    suite.mercato("up", MERCATO_ECHO_TONE="loud", OTEL_SERVICE_NAME="shop")
    *_, line = [line for line in suite.mercato("logs", "--json", "echo").split("\n") if "serving" in line]
    assert '"MERCATO_ECHO_TONE": "loud"' in line
    assert '"OTEL_SERVICE_NAME": "shop"' in line


def test_a_service_that_cannot_be_imported_is_named_and_stops_no_other(suite: Suite) -> None:
    suite.add_service("broken").write_text("import nothing_of_that_name\n")
    printed = suite.mercato("up", expect=1)
    assert re.search(r"broken/1 at \S+ ended 3 times", printed)
    assert "No module named 'nothing_of_that_name'" in printed
    members = suite.ps()
    assert members["echo/1"]["health"] == members["gateway/1"]["health"] == "SERVING"


def test_a_service_that_does_not_serve_in_time_is_named(suite: Suite) -> None:
    suite.add_service("slow").write_text("import time\ndef main():\n    time.sleep(60)\n")
    assert "did not answer in time" in suite.mercato("up", "--timeout", "3", expect=1)
    suite.mercato("kill", "slow", "--timeout", "1", expect=1)


def test_a_service_that_ends_with_a_message_is_quoted(suite: Suite) -> None:
    suite.add_service("picky").write_text("def main():\n    raise SystemExit('expected tea')\n")
    assert "expected tea" in suite.mercato("up", expect=1)
    assert "picky/1 (pid" in suite.mercato("logs", "supervisor")


def test_down_uses_force_where_asking_does_not_help(suite: Suite) -> None:
    suite.add_service("deaf").write_text(
        "import signal\ndef main():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    signal.pause()\n"
    )
    suite.mercato("up", "--timeout", "2", expect=1, MERCATO_GRACE_S="0.1")
    processes = suite.processes()
    assert "killed deaf/1" in suite.mercato("down")
    assert_ended(processes)


def test_a_restart_runs_the_code_as_it_is_now(suite: Suite) -> None:
    suite.mercato("up")
    main = suite.root / "services" / "echo" / "__main__.py"
    main.write_text(main.read_text().replace('"serving"', '"serving anew"'))
    suite.mercato("restart", "echo")
    assert "serving anew" in suite.mercato("logs", "echo")


async def test_no_service_reads_anothers_data(running: Suite) -> None:
    foreign = running.plan.database_url("echo").rpartition("/")[0] + "/mercato_gateway"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)


async def test_postgres_of_another_is_used_when_named(suite: Suite, tmp_path: Path) -> None:
    async with embedded.postgres(tmp_path / "other") as admin_url:
        connection = await asyncpg.connect(admin_url)
        await connection.execute("CREATE ROLE landlord LOGIN CREATEDB CREATEROLE PASSWORD 'pw'")
        landlord = "postgresql://landlord:pw@" + admin_url.rpartition("@")[2]
        await asyncio.to_thread(suite.mercato, "up", MERCATO_POSTGRES_URL=landlord)
        names = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
        await connection.close()
        assert {"mercato_echo", "mercato_gateway"} < names
        assert "postgres" not in suite.ps()
        assert await starts_of(suite, "echo/1") == 1
        assert landlord not in suite.mercato("logs", "--json")
        await asyncio.to_thread(suite.mercato, "down")


def test_a_postgres_that_refuses_is_reported(suite: Suite) -> None:
    assert "postgres at 127.0.0.1:1 did not answer in time" in suite.mercato(
        "up", "--timeout", "0.5", expect=1, MERCATO_POSTGRES_URL="postgresql://a:b@127.0.0.1:1/postgres"
    )


def test_logs_follow_what_is_written(running: Suite) -> None:
    with subprocess.Popen(
        running.command("logs", "-f", "-n", "1", "echo"),
        cwd=running.root, env=running.environment, stdout=subprocess.PIPE, text=True,
    ) as following:  # fmt: skip
        assert following.stdout is not None
        try:
            following.stdout.readline()  # so it is there
            running.mercato("kill", "echo")
            assert "serving" in following.stdout.readline()
        finally:
            following.send_signal(signal.SIGINT)


def test_a_state_folder_may_lie_deep(suite: Suite) -> None:
    deep = suite.root / ("d" * 100) / ("e" * 100)
    suite.mercato("up", MERCATO_HOME=str(deep))
    suite.mercato("down", MERCATO_HOME=str(deep))


def test_help_teaches(running: Suite) -> None:
    assert "mercato scale orders=3 catalog=2" in running.mercato("scale", "--help")
    overview = running.mercato("--help")
    assert all(f" {command} " in overview for command in ("up", "down", "ps", "logs", "scale", "restart", "kill"))
