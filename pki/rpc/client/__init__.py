"""The gRPC client side: channels that are pinned to one server and follow their credential."""
