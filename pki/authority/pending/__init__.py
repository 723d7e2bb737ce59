"""Revocations that the ledger can't record now: announced and listed first, recorded later.

Whoever can stop the ledger (a full disk, a writer that is stuck, a file system that went read-only)
must not stop a revocation by it. The rules:

1. What can be recorded is recorded, as ever. Only if the ledger fails, or is locked for longer than
   a moment, is a revocation *pending*.
2. It is decided from the ledger as it was committed last: the same certificates, with their
   renewals. An older copy of the ledger decides nothing.
3. It is written to ``revocations.pending`` in the CA's folder, where there is space for it in
   advance. If even that fails, it is kept in memory, and on every list that it could be brought to.
   What can't be read of the file hides nothing else, and nothing is signed until it can be read.
4. It is announced to followers, and put on a new list of its issuing CA with all that was on the
   lists before. The number of that list is higher than any that a writer may use who is stuck with
   the ledger: a list never has the number of another one, and never goes back.
5. While a revocation is pending, nothing is signed: whether it may be depends on what is not
   recorded yet. What was issued before, and is pending, is not handed out or renewed again.
6. The next process that opens the CA to change it, and the service all the time, record what is
   pending, with its audit entries, and sign lists above all others. To do so twice changes nothing,
   so a crash at any point loses nothing.
"""
