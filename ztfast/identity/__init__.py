"""Identities that cryptography proves: who is at the other end, and who we are."""
