"""Payments: settles payments for Orders only. The shop's synchronous service."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

from grpc_health.v1 import health, health_pb2_grpc

import pki
from services._proto.shop.v1 import payments_pb2, payments_pb2_grpc
from services.serving import (
    DRAIN_SECONDS,
    announce,
    exit_now,
    open_workload,
    read_settings,
    serve_metrics,
)


class Payments(payments_pb2_grpc.PaymentsServicer):
    """Settles payments."""

    def Settle(
        self, request_iterator: Iterator[payments_pb2.SettleRequest], context: object
    ) -> Iterator[payments_pb2.SettleResponse]:
        """Return a receipt for each payment."""
        for payment in request_iterator:
            receipt = (
                f"{payment.amount_minor / 100:.2f} {payment.currency_code} "
                f"from {pki.peer().spiffe_id.path}"
            )
            yield payments_pb2.SettleResponse(order_id=payment.order_id, receipt=receipt)


def main() -> None:
    """Run the service."""
    settings = read_settings(__doc__)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if stopping.is_set():
            exit_now()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with open_workload(settings) as me:
        serve_metrics(me, settings)
        server = me.sync_server(decision_log="both")
        payments_pb2_grpc.add_PaymentsServicer_to_server(Payments(), server)
        state = health.HealthServicer()
        me.report_health(state)
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        port = server.add_secure_port(settings.listen)
        server.start()
        announce(port)
        stopping.wait()
        server.stop(DRAIN_SECONDS).wait()


if __name__ == "__main__":
    main()
