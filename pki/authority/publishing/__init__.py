"""What makes revocations known: lists signed anew, and a way that publishes before it records."""
