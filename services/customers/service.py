"""CustomerService over gRPC."""

from __future__ import annotations

from typing import Any

from mercato.customers.v1.customers_pb2 import (
    CreateCustomerRequest,
    CreateCustomerResponse,
    Customer,
    GetCustomerRequest,
    GetCustomerResponse,
    ListCustomersRequest,
    ListCustomersResponse,
    PutAddressRequest,
    PutAddressResponse,
    RemoveAddressRequest,
    RemoveAddressResponse,
    UpdateCustomerRequest,
    UpdateCustomerResponse,
)
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceServicer

from chassis.clock import Clock
from chassis.masks import masked
from chassis.repository import Repository
from services.customers import domain


class CustomerService(CustomerServiceServicer):
    """Serves customers from their repository."""

    def __init__(self, customers: Repository[Customer], clock: Clock) -> None:
        self._customers = customers
        self._clock = clock

    async def GetCustomer(self, request: GetCustomerRequest, context: Any) -> GetCustomerResponse:
        return GetCustomerResponse(customer=await self._customers.get(request.name))

    async def ListCustomers(self, request: ListCustomersRequest, context: Any) -> ListCustomersResponse:
        page = await self._customers.page(request.page_size, request.page_token)
        return ListCustomersResponse(customers=page.items, next_page_token=page.next_page_token)

    async def CreateCustomer(self, request: CreateCustomerRequest, context: Any) -> CreateCustomerResponse:
        return await self._customers.create(
            request.customer.name,
            domain.create(request.customer, self._clock.now()),
            lambda customer: CreateCustomerResponse(customer=customer),
        )

    async def UpdateCustomer(self, request: UpdateCustomerRequest, context: Any) -> UpdateCustomerResponse:
        paths = masked(request.update_mask, domain.CHANGEABLE)
        return await self._customers.change(
            request.customer.name,
            lambda customer: domain.update(customer, request.customer, paths),
            lambda customer: UpdateCustomerResponse(customer=customer),
            etag=request.customer.etag,
        )

    async def PutAddress(self, request: PutAddressRequest, context: Any) -> PutAddressResponse:
        return await self._customers.change(
            request.name,
            lambda customer: domain.put_address(customer, request.label, request.address),
            lambda customer: PutAddressResponse(customer=customer),
        )

    async def RemoveAddress(self, request: RemoveAddressRequest, context: Any) -> RemoveAddressResponse:
        return await self._customers.change(
            request.name,
            lambda customer: domain.remove_address(customer, request.label),
            lambda customer: RemoveAddressResponse(customer=customer),
        )
