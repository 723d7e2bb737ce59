from pathlib import Path

import grpc
import pytest
from payments_pb2 import ChargeRequest, ChargeResponse
from payments_pb2_grpc import PaymentsServicer, PaymentsStub, add_PaymentsServicer_to_server


class Payments(PaymentsServicer):  # your service
    def Charge(self, request, context):
        return ChargeResponse(receipt=f"{request.cents} cents")


@pytest.fixture
def handfast_policy():
    return Path("policy.toml")  # the policy that you deploy


@pytest.fixture
def address(handfast_server):
    return handfast_server(
        "payments", lambda server: add_PaymentsServicer_to_server(Payments(), server)
    )


def test_orders_may_charge(address, handfast_channel):
    channel = handfast_channel("orders", address, peer="payments")
    assert PaymentsStub(channel).Charge(ChargeRequest(cents=100)).receipt == "100 cents"


def test_others_may_not(address, handfast_channel):
    channel = handfast_channel("catalog", address, peer="payments")
    with pytest.raises(grpc.RpcError) as refused:
        PaymentsStub(channel).Charge(ChargeRequest(cents=100))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
