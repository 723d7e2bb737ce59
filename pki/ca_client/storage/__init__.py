"""What an identity keeps in its directory."""
