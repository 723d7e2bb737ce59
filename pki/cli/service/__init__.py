"""The commands around the CA's service: serve it, enroll, register, keep fresh, probe."""
