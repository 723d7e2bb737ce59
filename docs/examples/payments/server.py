import asyncio

import pki
from payments_pb2 import ChargeResponse
from payments_pb2_grpc import PaymentsServicer, add_PaymentsServicer_to_server


class Payments(PaymentsServicer):
    async def Charge(self, request, context):
        caller = pki.peer()  # spiffe_id, roles, scopes, ...; names are objects: compare str(...)
        return ChargeResponse(receipt=f"{request.cents} cents, charged by {caller.spiffe_id}")


async def main():
    async with pki.Workload.from_directory("certs/payments", policy="policy.toml") as me:
        server = me.server()  # a grpc.aio.Server
        add_PaymentsServicer_to_server(Payments(), server)
        server.add_secure_port("localhost:8443")
        await server.start()
        # Stay in the block: its end closes the workload, and then every call is refused.
        try:
            await server.wait_for_termination()
        finally:
            await server.stop(5)  # seconds for running calls


if __name__ == "__main__":
    asyncio.run(main())
