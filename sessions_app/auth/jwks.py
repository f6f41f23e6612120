"""The signing keys that an issuer publishes (RFC 7517), and the algorithms that each allows."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.algorithms import OKPAlgorithm, get_default_algorithms

# RFC 9864 names the algorithm of an Ed25519 key by its curve; PyJWT only knows the older name.
if "Ed25519" not in get_default_algorithms():
    jwt.register_algorithm("Ed25519", OKPAlgorithm())

ALGORITHMS_OF = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}
"""The algorithms that fit each kind of key: its ``crv``, or else its ``kty``."""

ALGORITHMS = tuple(name for names in ALGORITHMS_OF.values() for name in names)
ACCEPTED_UNNAMED = frozenset({"RS256", "ES256", "EdDSA", "Ed25519"})
"""What is accepted with a key that names no algorithm, whatever the issuer's metadata names."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A public key of an issuer, and the algorithms that tokens signed with it may use."""

    kid: str | None
    key: Any
    algorithms: frozenset[str]


def parse_keys(jwks: Any, named: Collection[str]) -> list[PublishedKey]:
    """The signing keys of a JWK set; ``named`` are the algorithms in the issuer's metadata.

    Raises ValueError if it is no JWK set.
    """
    if not isinstance(jwks, list):
        raise ValueError("The issuer's keys are no JWK set.")
    keys = []
    for each in jwks:
        # A key that can't be parsed is skipped, so that a new kind of key does not stop the others.
        try:
            keys.append(parse_key(each, named))
        except ValueError:
            continue
    return keys


def parse_key(jwk: Any, named: Collection[str]) -> PublishedKey:
    """One key of a JWK set. Raises ValueError, which says why it verifies no token."""
    if not isinstance(jwk, dict):
        raise ValueError("is no JSON object")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
        raise ValueError("is not for signatures")
    kind = jwk.get("crv") or jwk.get("kty")
    fitting = ALGORITHMS_OF.get(kind, ()) if isinstance(kind, str) else ()
    if not fitting:
        raise ValueError("is of a kind that is not supported")
    try:
        key = jwt.get_algorithm_by_name(fitting[0]).from_jwk(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError("can't be read") from error
    kid = jwk.get("kid")
    algorithms = _choose_algorithms(fitting, jwk.get("alg"), named)
    return PublishedKey(kid if isinstance(kid, str) else None, key, algorithms)


def _choose_algorithms(
    fitting: tuple[str, ...], alg: Any, named: Collection[str]
) -> frozenset[str]:
    """Those of ``fitting`` that the key's own ``alg`` or else the issuer's metadata allows."""
    if alg is None:
        return frozenset(fitting) & (ACCEPTED_UNNAMED | frozenset(named))
    if alg not in fitting:
        return frozenset()
    # Both names of Ed25519 mean the same signature.
    return frozenset(fitting) if "Ed25519" in fitting else frozenset({alg})
