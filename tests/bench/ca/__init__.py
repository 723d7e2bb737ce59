"""The CA as a service beside OpenBao, and its parts beside the bare work of cryptography."""
