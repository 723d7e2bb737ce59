"""The calls that a channel returns: bound to a connection, or pending until there is one."""
