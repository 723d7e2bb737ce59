"""Templates of systemd units that keep credentials and revocation lists fresh.

``python -m pki.cli.systemd`` prints the folder that holds them (docs/quickstart.md).
"""
