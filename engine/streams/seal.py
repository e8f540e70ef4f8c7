"""Bytes that show when they have been changed: a SHA-256 in front of them. For caches, which are thrown away then."""

from hashlib import sha256


def sealed(body: bytes) -> bytes:
    return sha256(body).digest() + body


def unsealed(bytes_: bytes) -> bytes:
    """ValueError: a byte has changed."""
    body = bytes_[32:]
    if sha256(body).digest() != bytes_[:32]:
        raise ValueError("has been changed")
    return body
