"""States of customers."""

from __future__ import annotations

from typing import Any

from google.type.postal_address_pb2 import PostalAddress
from mercato.customers.v1 import customers_pb2 as pb

from tests.shop import Shop, new_request_id


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""

    async def customer(name: str, email: str) -> None:
        made = pb.Customer(name=name, kind=pb.Customer.KIND_ACCOUNT, display_name="Ada", email=email)
        await shop.customers.CreateCustomer(pb.CreateCustomerRequest(request_id=new_request_id(), customer=made))

    async def address(name: str, label: str, region_code: str) -> None:
        put = PostalAddress(region_code=region_code, address_lines=["1 High Street"])
        request = pb.PutAddressRequest(request_id=new_request_id(), name=name, label=label, address=put)
        await shop.customers.PutAddress(request)

    return {"customer": customer, "address": address}
