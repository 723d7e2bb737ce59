"""Help for the tests of services that use handfast: fixtures for pytest, in :mod:`.plugin`."""
