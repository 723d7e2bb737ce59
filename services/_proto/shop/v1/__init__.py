"""Made stubs."""
