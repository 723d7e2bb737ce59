"""What followers hear of revocations: announced at once, and on lists, when due and in pages."""
