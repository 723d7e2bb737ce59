"""Why mutual TLS fails: handshakes that look, and questions that are answered from what they saw.

The rules:

1. Looking and judging are apart: ``handshake``, ``grpc_call`` and ``told_time`` see, all else takes
   what was seen and a time, and gives findings.
2. A cause is called sure only if it was seen. What is concluded says how likely it is.
3. What the other side says is untrusted: bounded in time and size, escaped, and never believed
   beyond what a handshake proves.
"""
