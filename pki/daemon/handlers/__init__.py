"""The handlers of the CA's services."""
