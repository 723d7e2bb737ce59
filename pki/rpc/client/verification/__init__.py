"""Whether the server at each address is who it must be, before and while calls use it."""
