"""Which witnesses count, as c2sp.org/tlog-policy says it.

    witness w1 witness.example+1a2b3c4d+BBBB… https://witness.example
    witness w2 other.example+5e6f7a8b+BBBB…
    group both 2 w1 w2
    quorum both

A witness without a URL is not asked, but its cosignatures count. ``quorum none`` asks for none.
"""

import re
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Self

from audit_app.proof.notes import COSIGNATURE_V1, Note, NoteError, VerifierKey, verify_cosignature

NONE = "none"
SPACE = re.compile(r"[ \t\r]+")
WORDS = {"any": 1, "all": -1}


class PolicyError(ValueError):
    """The text is no policy; the message says what is wrong in which line."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One witness: the policy's name for it, its key, and where it is asked, if anywhere."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """``needed`` of ``members``, each the name of a witness or of another group."""

    needed: int
    members: tuple[str, ...]


@dataclass(slots=True)
class TrustPolicy:
    """The logs, the witnesses and groups by their names, and the quorum."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str = NONE

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises PolicyError."""
        policy, has_quorum = cls(), False
        for number, line in enumerate(text.split("\n"), 1):
            keyword, *words = [word for word in SPACE.split(line) if word] or [""]
            try:
                match keyword:
                    case "":
                        continue
                    case _ if keyword.startswith("#"):
                        continue
                    case "log" if len(words) in (1, 2):
                        policy.logs.append(VerifierKey.parse(words[0]))
                    case "witness" if len(words) in (2, 3):
                        policy._add_witness(*words)
                    case "group" if len(words) >= 3:
                        policy._add_group(*words)
                    case "quorum" if len(words) == 1 and not has_quorum:
                        policy._set_quorum(words[0])
                        has_quorum = True
                    case _:
                        raise PolicyError("It is no line of a policy.")
            except (PolicyError, NoteError) as error:
                raise PolicyError(f"Line {number}: {error}") from None
        if policy.witnesses and not has_quorum:
            # Left out by mistake, it would let everything pass.
            raise PolicyError("It has no quorum line; `quorum none` asks for no witness.")
        return policy

    def is_satisfied(self, note: Note) -> bool:
        """Whether enough witnesses cosigned ``note``."""
        cosigned = {
            name
            for name, witness in self.witnesses.items()
            if verify_cosignature(note, witness.key) is not None
        }
        return self._holds(self.quorum, cosigned)

    def _holds(self, name: str, cosigned: Set[str]) -> bool:
        if name == NONE:
            return True
        if name in self.witnesses:
            return name in cosigned
        group = self.groups[name]
        return sum(self._holds(member, cosigned) for member in group.members) >= group.needed

    def _add_witness(self, name: str, key: str, url: str = "") -> None:
        self._require_new(name)
        verifier = VerifierKey.parse(key)
        if verifier.kind != COSIGNATURE_V1:
            raise PolicyError("A witness's key is one for cosignatures, which begins with B.")
        if any(verifier.public_bytes == each.key.public_bytes for each in self.witnesses.values()):
            raise PolicyError("Two witnesses can't have one key: one of them would count twice.")
        self.witnesses[name] = Witness(name, verifier, url.rstrip("/"))

    def _add_group(self, name: str, needed: str, *members: str) -> None:
        self._require_new(name)
        for member in members:
            # Only what stands before it: so no group contains itself.
            self._require_known(member)
            if any(member in group.members for group in self.groups.values()):
                raise PolicyError(f"{member} is in a group above already.")
        count = WORDS.get(needed) or (int(needed) if needed.isascii() and needed.isdigit() else 0)
        count = len(members) if count < 0 else count
        if not 1 <= count <= len(members) or len(set(members)) < len(members):
            raise PolicyError("A group needs any, all, or a number of its different members.")
        self.groups[name] = Group(count, members)

    def _set_quorum(self, name: str) -> None:
        if name != NONE:
            self._require_known(name)
        self.quorum = name

    def _require_new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise PolicyError(f"The name {name} is taken.")

    def _require_known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise PolicyError(f"There is no witness or group {name} above.")
