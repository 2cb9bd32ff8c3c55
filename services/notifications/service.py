"""The gRPC face of notifications."""

from __future__ import annotations

from typing import Any

from mercato.notifications.v1 import notifications_pb2 as pb
from mercato.notifications.v1 import notifications_pb2_grpc

from services.notifications.mailbox import Mailbox


class NotificationService(notifications_pb2_grpc.NotificationServiceServicer):
    """Serves mercato.notifications.v1.NotificationService."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def GetMail(self, request: pb.GetMailRequest, context: Any) -> pb.GetMailResponse:
        return pb.GetMailResponse(mail=await self._mailbox.get(request.name))

    async def ListMails(self, request: pb.ListMailsRequest, context: Any) -> pb.ListMailsResponse:
        page = await self._mailbox.page(request.page_size, request.page_token, request.regarding)
        return pb.ListMailsResponse(mails=page.items, next_page_token=page.next_page_token)
