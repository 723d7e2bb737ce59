"""Replace issuing CAs and roots with overlap, while the roots' keys are elsewhere.

Whatever a root must sign goes one way: ``planning`` states it as a ``RootRequest``, ``root`` signs
it where the keys are, and ``recording`` checks the ``RootAnswer`` and records it. With the keys on
the CA's machine, all three are one transaction.
"""
