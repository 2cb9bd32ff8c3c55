"""What each line of the trade becomes, without any service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

from loadtest.lines import TradeFile, read
from loadtest.origins import Sale, Takeback, settle
from loadtest.plan import Identity, Options, Plan, plan
from loadtest.trade import Role

Write = Callable[..., Path]


def line(invoice: str, code: str, quantity: int, price: str, customer: str = "17850", at: str = "08:00") -> str:
    return f"{invoice},{code},THING {code},{quantity},01/12/2010 {at},{price},{customer},France"


def planned(write: Write, *lines: str, short: float = 0, decline: float = 0) -> Plan:
    return plan(read(write(*lines)), Options(None, short, decline))


def test_every_line_of_the_real_trade_becomes_something(real: TradeFile) -> None:
    made = plan(real, Options())
    roles: Counter[str] = Counter()
    numbers: list[int] = []
    for step in made.steps:
        roles.update(item.role for item in step.items)
        numbers += [item.line.number for item in step.items]
    assert sorted(numbers) == sorted(line.number for line in real.lines)
    assert made.rejected == ()
    assert roles == {
        Role.GOODS: 24_669,
        Role.CHARGE: 87,
        Role.GOODS_BACK: 381,
        Role.CHARGE_BACK: 11,
        Role.FEE: 8,
        Role.ADJUSTMENT: 125,
    }
    assert [s.cancels.invoice.number for s in made.steps if isinstance(s, Takeback) and s.cancels] == [
        "537410",
        "538313",
    ]
    linked = Counter(origin is not None for s in made.steps if isinstance(s, Takeback) for _, origin in s.origins)
    assert linked == {True: 100, False: 292}


def test_real_products_have_real_titles(real: TradeFile) -> None:
    made = plan(real, Options())
    assert made.products["85123A"].title == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert made.products["22353"].title == "LUNCH BOX WITH CUTLERY FAIRY CAKES"
    assert made.products["35951"].title == "Product 35951"
    assert not {"amazon", "check", "damages", "?"} & {product.title for product in made.products.values()}


def test_codes_that_are_no_goods(write: Write) -> None:
    made = planned(
        write,
        line("1", "POST", 1, "18"),
        line("2", "m", 1, "1.25"),
        line("3", "gift_0001_20", 1, "20"),
        line("4", "BANK CHARGES", 1, "15"),
        line("C5", "D", -1, "27.50"),
        line("6", "D", 1, "27.50"),
        line("7", "AMAZONFEE", 1, "9.99", customer=""),
        line("C8", "BANK CHARGES", -1, "95.38", customer=""),
        line("A9", "B", 1, "-11062.06", customer=""),
        line("10", "C2", 1, "50"),
        line("10", "D", -1, "20"),
        line("11", "WHAT", 1, "5"),
        line("12", "85123A", 1, "-5"),
        line("C13", "S", -1, "0"),
    )
    what: dict[str, list[tuple[str, str]]] = {}
    for step in made.steps:
        for item in step.items:
            what.setdefault(step.invoice.number, []).append((item.role, item.article))
    assert what == {
        "1": [(Role.CHARGE, "KIND_CARRIAGE")],
        "2": [(Role.CHARGE, "KIND_MANUAL")],
        "3": [(Role.CHARGE, "KIND_VOUCHER")],
        "4": [(Role.CHARGE, "KIND_FEE")],
        "C5": [(Role.CHARGE_BACK, "KIND_DISCOUNT")],
        "6": [(Role.CHARGE, "KIND_MANUAL")],
        "7": [(Role.FEE, "KIND_MARKETPLACE")],
        "C8": [(Role.FEE, "KIND_BANK")],
        "A9": [(Role.FEE, "KIND_BAD_DEBT")],
        "10": [(Role.CHARGE, "KIND_CARRIAGE"), (Role.CHARGE, "KIND_DISCOUNT")],
    }
    assert {line.number: line.reason for line in made.rejected} == {
        13: "StockCode 'WHAT' is no goods and no charge that is known",
        14: "a negative price",
        15: "a charge of nothing to nobody",
    }


def test_price_zero_is_a_gift_in_an_order_and_a_correction_by_itself(write: Write) -> None:
    made = planned(
        write,
        line("1", "22139", 56, "0", customer=""),
        line("2", "22139", -10, "0", customer=""),
        line("3", "22139", 1, "0"),
        line("4", "22139", 2, "0", customer=""),
        line("4", "22140", 2, "1.00", customer=""),
        line("C5", "22139", -1, "0"),
    )
    roles = {(step.invoice.number, item.role) for step in made.steps for item in step.items}
    assert roles == {
        ("1", Role.ADJUSTMENT),
        ("2", Role.ADJUSTMENT),
        ("3", Role.GOODS),
        ("4", Role.GOODS),
        ("C5", Role.GOODS_BACK),
    }
    assert made.opening == {"22139": 10 + 1 + 2, "22140": 2}


def takebacks(made: Plan) -> list[tuple[str | None, list[str | None]]]:
    return [
        (
            step.cancels.invoice.number if step.cancels else None,
            [sale.invoice.number if sale else None for _, sale in step.origins],
        )
        for step in made.steps
        if isinstance(step, Takeback)
    ]


def test_goods_come_back_from_the_latest_purchase_that_holds_enough(write: Write) -> None:
    made = planned(
        write,
        line("1", "85123A", 6, "2.55", at="08:00"),
        line("2", "85123a", 3, "2.55", at="09:00"),
        line("2", "POST", 1, "18.00", at="09:00"),
        line("3", "85123A", 9, "2.55", customer="99", at="09:30"),
        line("C4", "85123A", -2, "2.55", at="10:00"),
        line("C5", "85123A", -2, "2.55", at="11:00"),
        line("C6", "85123A", -5, "2.55", at="12:00"),
        line("C7", "85123A", -1, "2.10", at="13:00"),
        line("C8", "POST", -1, "18.00", at="14:00"),
        line("C9", "85123A", -9, "2.55", customer="", at="15:00"),
    )
    assert takebacks(made) == [(None, [origin]) for origin in ("2", "1", None, None, "2", None)]


def test_taking_back_everything_cancels_once(write: Write) -> None:
    bought = [line("1", "85123A", 6, "2.55"), line("1", "85123A", 4, "2.55"), line("1", "POST", 1, "18.00")]
    back = [
        line("C2", "POST", -1, "18.00", at="10:00"),
        line("C2", "85123A", -6, "2.55", at="10:00"),
        line("C2", "85123A", -4, "2.55", at="10:00"),
    ]
    again = [text.replace("C2", "C3") for text in back]
    assert takebacks(planned(write, *bought, *back, *again)) == [("1", ["1", "1", "1"]), (None, [None, None, None])]


def test_nothing_comes_back_from_a_refused_order(write: Write) -> None:
    made = planned(
        write,
        line("1", "85123A", 6, "2.55"),
        line("1", "POST", 1, "18.00"),
        line("2", "22139", 2, "1.00"),
        line("C3", "85123A", -1, "2.55", at="10:00"),
        line("C3", "POST", -1, "18.00", at="10:00"),
        line("C3", "22139", -1, "1.00", at="10:00"),
        line("C4", "M", -1, "5.00", at="11:00"),
    )
    first, second, back, credit = made.steps
    assert isinstance(first, Sale)
    assert isinstance(second, Sale)
    assert isinstance(back, Takeback)
    assert isinstance(credit, Takeback)
    goods, postage, other = (item for item, _ in back.origins)
    settled = settle(back, {"1": True, "2": True})
    assert (settled.returns, settled.credited) == ({first: [goods, postage], second: [other]}, [])
    settled = settle(back, {"1": False, "2": True})
    assert (settled.returns, settled.credited) == ({None: [goods], second: [other]}, [postage])
    assert [item.article for item in settle(credit, {}).credited] == ["KIND_MANUAL"]


def test_refunds_never_exceed_what_was_paid(write: Write) -> None:
    made = planned(
        write,
        line("1", "85123A", 10, "2.00"),
        line("1", "D", -1, "15.00"),
        line("C2", "85123A", -2, "2.00", at="10:00"),
        line("C3", "85123A", -2, "2.00", at="11:00"),
    )
    assert takebacks(made) == [(None, ["1"]), (None, [None])]


def test_short_and_declined_are_the_same_ones_each_time(real: TradeFile) -> None:
    made = plan(real, Options(None, 10, 5))
    full = plan(real, Options())
    sales = [step for step in made.steps if isinstance(step, Sale)]
    assert 0.03 < sum(sale.is_declined for sale in sales) / len(sales) < 0.07
    lacking = {product for product in full.opening if made.opening[product] < full.opening[product]}
    assert 0.08 < len(lacking) / len(full.opening) < 0.12
    assert {booking.item.article for booking in made.early} <= lacking
    assert len(made.early) + len(made.steps) == len(full.steps)
    assert [s.is_short for s in sales] == [any(i.article in lacking for i in s.items) for s in sales]


def test_identity_is_the_data_and_what_is_made_of_it() -> None:
    same = Identity.of("digest", Options())
    others = [
        Identity.of("digest2", Options()),
        Identity.of("digest", Options(date(2010, 12, 1))),
        Identity.of("digest", Options(None, 5)),
        Identity.of("digest", Options(None, 0, 5)),
    ]
    assert len({same, *others}) == 5
    assert same.request_id("536365", "order") == Identity.of("digest", Options()).request_id("536365", "order")
    assert len({same.request_id("536365", "order"), same.request_id("536365", "return")}) == 2
    assert same.label(same.reference("536365")) == "536365"
    assert others[0].label(same.reference("536365")) is None
