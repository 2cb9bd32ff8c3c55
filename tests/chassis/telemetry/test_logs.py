"""Logs of a process as others read them: JSON lines on standard output, none lost at its end."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parent.parent.parent
SETUP = """
import logging, os, sys, time
from chassis.call import Call, serving
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.logs import CallLog, configure_logs
from chassis.settings import Settings
from chassis.telemetry.trace import Trace
configure_logs(Settings("orders", "orders/1", log_level="INFO"))
log = logging.getLogger("tests")
a_call = Call("/m", "gateway", None, Trace("a" * 32, "b" * 16, False))
"""


def run(script: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, "-c", SETUP + script],
        cwd=ROOT, env={"PYTHONPATH": ".:generated"}, stderr=subprocess.PIPE, timeout=30, check=False, **options,
    )  # fmt: skip


def lines(script: str) -> list[dict[str, Any]]:
    done = run(script)
    assert done.stderr == b""
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_a_record_is_a_line_with_all_it_says() -> None:
    [line] = lines('log.warning("%s sold", 3, extra={"product": "products/1", "odd": {1, 2} and object})')
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line.pop("odd") == "<class 'object'>"
    assert line == {
        "level": "WARNING", "message": "3 sold", "service": "orders", "instance": "orders/1", "version": "v1",
        "logger": "tests", "product": "products/1",
    }  # fmt: skip


def test_lines_of_a_call_bear_its_trace_and_its_caller() -> None:
    call, record, outside = lines("""
trace = Trace("a" * 32, "b" * 16, False)
with serving(Call("/m", 'a "gateway"', None, trace)) as call:
    CallLog("/mercato.m").write(call, "OK", 0.0012345)
    log.info("within")
log.info("outside")
""")
    assert datetime.fromisoformat(call.pop("time")).tzinfo is not None
    assert call == {
        "level": "INFO", "message": "call", "service": "orders", "instance": "orders/1", "version": "v1",
        "logger": "mercato.calls", "trace": "a" * 32, "span": "b" * 16, "caller": 'a "gateway"',
        "method": "/mercato.m", "code": "OK", "ms": 1.23,
    }  # fmt: skip
    assert (record["trace"], record["span"], record["caller"]) == ("a" * 32, "b" * 16, 'a "gateway"')
    assert "trace" not in outside


def test_lines_of_calls_stand_in_the_name_of_the_instance_that_serves_them() -> None:
    hosted, own = lines("""
import contextvars
def host():
    Telemetry(Settings("carts", "carts/2")).tell()
    return CallLog("/mercato.m")
own, hosted = CallLog("/mercato.m"), contextvars.copy_context().run(host)
hosted.write(a_call, "OK", 1)
own.write(a_call, "OK", 1)
""")
    assert (hosted["service"], hosted["instance"]) == ("carts", "carts/2")
    assert (own["service"], own["instance"]) == ("orders", "orders/1")


def test_lines_of_calls_and_records_come_in_order() -> None:
    found = lines("""
for number in range(300):
    CallLog(f"/mercato.{number}").write(a_call, "OK", 1)
    log.info("then", extra={"method": f"/mercato.{number}"})
""")
    assert [line["method"] for line in found] == [f"/mercato.{number}" for number in range(300) for _ in range(2)]


def test_what_is_sensitive_in_a_message_is_not_written() -> None:
    [line] = lines("""
from mercato.orders.v1.orders_pb2 import PlaceOrderRequest
log.info("asked", extra={"request": PlaceOrderRequest(customer="customers/1", card_token="tok_secret")})
""")
    assert line["request"] == {"customer": "customers/1", "cardToken": "[REDACTED]"}


def test_what_is_sensitive_is_written_nowhere_however_it_is_held() -> None:
    line, sent = lines("""
from dataclasses import dataclass
from types import SimpleNamespace
from mercato.orders.v1.orders_pb2 import Order, ListOrdersResponse
@dataclass
class Parcel:
    order: Order
order, sent = Order(name="orders/1", email="secret@example.com"), []
held = {
    "list": [order], "deep": {"orders": ({"order": order},)}, "repeated": ListOrdersResponse(orders=[order]).orders,
    "parcel": Parcel(order), "many": {b"bytes": 1}.keys(), "counts": [2**63],
}
Telemetry(Settings("orders", "orders/1"), [SimpleNamespace(logs=SimpleNamespace(put=sent.append))]).tell()
log.info("held", extra=held)
from chassis.telemetry.otlp import logs
log.info("sent", extra={"text": str(logs(sent))})
""")
    assert line["list"] == line["repeated"] == [{"name": "orders/1", "email": "[REDACTED]"}]
    assert line["deep"]["orders"][0]["order"] == line["parcel"]["order"] == line["list"][0]
    assert (line["many"], line["counts"]) == (["b'bytes'"], [2**63])
    assert "REDACTED" in sent["text"]
    assert "secret" not in str(line) + sent["text"]


def test_an_exception_comes_with_its_traceback() -> None:
    [line] = lines("""
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
""")
    assert "Traceback" in line["exception"]
    assert "ZeroDivisionError" in line["exception"]


def test_lines_come_in_order_and_none_is_lost_when_many_write_at_once() -> None:
    found = lines("""
import threading
threads = [threading.Thread(target=lambda n=n: [log.info("line", extra={"t": n, "i": i}) for i in range(2000)])
           for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""")
    for number in range(4):
        assert [line["i"] for line in found if line["t"] == number] == list(range(2000))


def test_an_error_is_out_before_anything_else_happens() -> None:
    done = run('log.info("before"); log.error("at once"); os._exit(3)')
    assert [orjson.loads(line)["message"] for line in done.stdout.splitlines()] == ["before", "at once"]


def test_lines_are_out_after_a_moment() -> None:
    done = run('log.info("soon"); time.sleep(0.5); os._exit(3)')
    assert len(done.stdout.splitlines()) == 1


def test_what_the_level_excludes_is_not_written() -> None:
    script = 'log.debug("no"); logging.getLogger().setLevel("ERROR"); CallLog("/mercato.m").write(a_call, "OK", 1)'
    assert lines(script) == []


def test_what_cannot_be_written_harms_nobody() -> None:
    done = run('log.info("bad", extra={"x": "\\udcff"}); log.info("good")')
    assert [orjson.loads(line)["message"] for line in done.stdout.splitlines()] == ["good"]
    assert b"UnicodeEncodeError" in done.stderr or b"TypeError" in done.stderr
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = run('log.error("no room"); log.info("at exit"); sys.stderr.write("went on")', stdout=full)
    assert done.stderr.startswith(b"went on")  # then the interpreter complains, too late for anybody


def test_what_is_logged_while_lines_are_written_as_finalizers_may_keeps_nobody_waiting() -> None:
    found = lines("""
import faulthandler
class Duration(float):
    def __mul__(self, other):
        log.error("while writing")
        return 1.0
faulthandler.dump_traceback_later(10, exit=True)
CallLog("/mercato.m").write(a_call, "OK", Duration())
log.error("meanwhile")
""")
    assert sorted(line["message"] for line in found) == ["call", "meanwhile", "while writing"]


def test_what_is_logged_while_lines_are_taken_to_be_written_is_not_lost() -> None:
    found = lines("""
def finalize(frame, event, called):
    if event == "c_call" and getattr(called, "__name__", "") == "popleft":
        sys.setprofile(None)
        log.error("while taking")
log.info("one")
log.info("two")
sys.setprofile(finalize)
log.error("three")
""")
    assert sorted(line["message"] for line in found) == ["one", "three", "two", "while taking"]


def test_a_large_line_is_whole_in_the_file_and_cut_where_it_is_sent() -> None:
    whole, sent = lines("""
from types import SimpleNamespace
sent = []
Telemetry(Settings("orders", "orders/1"), [SimpleNamespace(logs=SimpleNamespace(put=sent.append))]).tell()
log.info("large", extra={"text": "x" * 20_000, "number": 1})
log.info("sent", extra={"size": len(sent[0]["text"]), "number": sent[0]["number"]})
""")
    assert (len(whole["text"]), sent["size"], sent["number"]) == (20_000, 2_000, 1)
