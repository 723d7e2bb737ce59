"""A served CA that is killed under load: what clients hold, the ledger knows.

Each round begins where the one before was killed. ``KILLED_ROUNDS=50`` runs as many rounds.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.bench.ca.signing_requests import make_ders
from tests.fault.loaded_ca import Held, check_held, load, make_ca, served

ROUNDS = int(os.environ.get("KILLED_ROUNDS", "6"))
ISSUANCES = 1000
CLIENTS = 8
ROUNDS_OF_ONE_CA = 10  # to verify a log takes longer the longer it is


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_what_clients_hold_is_in_the_ledger_of_a_service_that_was_killed_under_load(
    tmp_path: Path,
) -> None:
    chance = random.Random(ROUNDS)
    for number in range(ROUNDS):
        home = tmp_path / f"of-{number // ROUNDS_OF_ONE_CA}"
        if number % ROUNDS_OF_ONE_CA == 0:
            home.mkdir()
            make_ca(home, CLIENTS)
            held = Held()
        before = len(held.leaves)
        # A little later than an answer: at any point of those that follow it.
        point, pause = chance.randrange(1, ISSUANCES - 2 * CLIENTS), chance.uniform(0, 0.02)
        with (
            served(home) as (process, address),
            load(home, address, CLIENTS, held, make_ders(ISSUANCES)),
        ):
            held.wait_for(before + point)
            time.sleep(pause)
            process.process.kill()
        held.failed.clear()
        check_held(home, held)
        print(f"round {number}: killed after {len(held.leaves) - before} certificates")
