"""What the CA has issued, as people and reports ask for it. Nothing here changes the CA."""

from pki.authority.inventory.forecast import Forecast, ForecastStep, forecast
from pki.authority.inventory.selection import (
    ALL,
    CertificateState,
    InventoryRow,
    Selection,
    select_certificates,
)

__all__ = [
    "ALL",
    "CertificateState",
    "Forecast",
    "ForecastStep",
    "InventoryRow",
    "Selection",
    "forecast",
    "select_certificates",
]
