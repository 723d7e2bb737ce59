"""May this peer call this method: decides, and tells of each decision. No gRPC in here."""
