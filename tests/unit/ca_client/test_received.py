"""What the CA sends is checked before it is used."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pki.ca_client.received import read_moment
from pki.errors import CertificateError


def test_a_time_is_read_in_utc() -> None:
    assert read_moment(Timestamp(seconds=1_800_000_000)) == datetime.fromtimestamp(
        1_800_000_000, tz=UTC
    )


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62), 253_402_300_800])
def test_a_time_that_is_none_is_refused(seconds: int) -> None:
    with pytest.raises(CertificateError, match="time that can't be read"):
        read_moment(Timestamp(seconds=seconds))
