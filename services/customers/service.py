"""The gRPC face of customers."""

from __future__ import annotations

from typing import Any

from mercato.customers.v1 import customers_pb2 as pb
from mercato.customers.v1 import customers_pb2_grpc

from chassis.clock import Clock
from chassis.masks import masked
from chassis.repository import Repository
from services.customers import domain


class CustomerService(customers_pb2_grpc.CustomerServiceServicer):
    """Serves mercato.customers.v1.CustomerService."""

    def __init__(self, customers: Repository[pb.Customer], clock: Clock) -> None:
        self._customers = customers
        self._clock = clock

    async def GetCustomer(self, request: pb.GetCustomerRequest, context: Any) -> pb.GetCustomerResponse:
        return pb.GetCustomerResponse(customer=await self._customers.get(request.name))

    async def ListCustomers(self, request: pb.ListCustomersRequest, context: Any) -> pb.ListCustomersResponse:
        page = await self._customers.page(request.page_size, request.page_token)
        return pb.ListCustomersResponse(customers=page.items, next_page_token=page.next_page_token)

    async def CreateCustomer(self, request: pb.CreateCustomerRequest, context: Any) -> pb.CreateCustomerResponse:
        return await self._customers.create(
            request.customer.name,
            domain.create(request.customer, self._clock.now()),
            lambda customer: pb.CreateCustomerResponse(customer=customer),
        )

    async def UpdateCustomer(self, request: pb.UpdateCustomerRequest, context: Any) -> pb.UpdateCustomerResponse:
        paths = masked(request.update_mask, domain.CHANGEABLE)
        return await self._customers.change(
            request.customer.name,
            lambda customer: domain.update(customer, request.customer, paths),
            lambda customer: pb.UpdateCustomerResponse(customer=customer),
            etag=request.customer.etag,
        )

    async def PutAddress(self, request: pb.PutAddressRequest, context: Any) -> pb.PutAddressResponse:
        return await self._customers.change(
            request.name,
            lambda customer: domain.put_address(customer, request.label, request.address),
            lambda customer: pb.PutAddressResponse(customer=customer),
        )

    async def RemoveAddress(self, request: pb.RemoveAddressRequest, context: Any) -> pb.RemoveAddressResponse:
        return await self._customers.change(
            request.name,
            lambda customer: domain.remove_address(customer, request.label),
            lambda customer: pb.RemoveAddressResponse(customer=customer),
        )
