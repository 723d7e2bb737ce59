"""Calls as messages: what the service answers, and commands on the CA's folder do themselves."""
