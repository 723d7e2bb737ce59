"""handfast: every service gets a short-lived X.509 identity, and every gRPC call proves both sides."""
