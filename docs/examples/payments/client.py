import asyncio

import pki
from payments_pb2 import ChargeRequest
from payments_pb2_grpc import PaymentsStub


async def main():
    async with pki.Workload.from_directory("certs/orders", policy="policy.toml") as me:
        channel = me.channel("localhost:8443", peer="payments")  # a grpc.aio.Channel
        response = await PaymentsStub(channel).Charge(ChargeRequest(cents=100))
        print(response.receipt)


asyncio.run(main())
