"""Git as the broker of contracts: what was verified with what, what runs where, and whether something may go there.

A pact is known by the hash of its interactions and descriptors; a provider by that of its code, the chassis and the
protos as git has them. `contracts/released/verified.json` says which pacts each provider was verified with; only a
green run of the whole gate on a clean tree writes it. `contracts/deployed/<environment>.json` names for each service
the commit that runs there. What is deployed is read from that commit, never from the files at hand.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from chassis.testing.pacts import SUFFIX, NotAPact, Pact, parse
from chassis.testing.verdict import Verdict
from fleet.errors import FleetError

CONTRACTS = "contracts"
VERIFIED = f"{CONTRACTS}/released/verified.json"
HEAD = "HEAD"
JUDGED = ("services", "chassis", "protos", "generated", CONTRACTS)
"""What a verification is about."""


@dataclass(frozen=True)
class Committed:
    """A pact as a commit has it."""

    path: str
    data: bytes
    pact: Pact


class Broker:
    """Answers from the git repository at `root`; FleetError where there is none."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._pacts: dict[str, list[Committed]] = {}

    def require_clean(self) -> None:
        """FleetError when files differ from HEAD: what would be recorded were not what was verified."""
        changed = self._git("status", "--porcelain", "--", *JUDGED).splitlines()
        if changed:
            raise FleetError(f"commit first: {changed[0][3:]} differs from what git has")

    def commit(self, revision: str = HEAD) -> str:
        """Return the full id of a commit."""
        return self._git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()

    def provider(self, service: str, commit: str) -> str:
        """Return the identity of a service as a provider: the hash of its code, the chassis and the protos."""
        parts = [f"{commit}:{part}" for part in (f"services/{service}", "chassis", "protos")]
        return sha256(self._git("rev-parse", *parts).encode()).hexdigest()

    def pacts(self, commit: str) -> list[Committed]:
        """Return the pacts that a commit, told by its full id, has."""
        if commit not in self._pacts:
            self._pacts[commit] = list(self._read_pacts(commit))
        return self._pacts[commit]

    def deployed(self, environment: str) -> dict[str, str]:
        """Return the commit of each service that runs in an environment."""
        file = self._file(environment)
        if not file.exists():
            raise FleetError(
                f"nothing is known of {environment}: `mercato contracts deployed` writes {file.relative_to(self._root)}"
            )
        try:
            deployed = json.loads(file.read_text())
        except ValueError as error:
            raise FleetError(f"{file.relative_to(self._root)} is not JSON: {error}") from error
        return {service: self.commit(commit) for service, commit in deployed.items()}

    def deploy(self, environment: str, revisions: Mapping[str, str]) -> list[str]:
        """Record that services run in an environment as of these commits; return why not, and then record nothing."""
        file, commits = self._file(environment), {service: self.commit(it) for service, it in revisions.items()}
        runs = {**(self.deployed(environment) if file.exists() else {}), **commits}
        objections = [
            line for service, commit in commits.items() for line in self._objections(service, commit, environment, runs)
        ]
        if not objections:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(runs, indent=2, sort_keys=True) + "\n")
        return objections

    def deployed_pacts(self) -> Iterator[Committed]:
        """Return the pacts of all consumers deployed anywhere that differ from those at HEAD."""
        files = sorted((self._root / CONTRACTS / "deployed").glob("*.json"))
        known = {each.pact.identity for each in self.pacts(self.commit())} if files else set()
        for file in files:
            for service, commit in self.deployed(file.stem).items():
                for each in self.pacts(commit):
                    if each.pact.consumer == service and each.pact.identity not in known:
                        known.add(each.pact.identity)
                        yield each

    def record(self, verdicts: Iterable[Verdict]) -> None:
        """Write which pacts the providers at HEAD were verified with."""
        verified: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for verdict in verdicts:
            assert verdict.green, "only a green gate is recorded"
            assert verdict.identity, "only whole pacts are recorded"
            verified[verdict.provider][verdict.identity] = verdict.consumer
        content = {
            service: {"provider": self.provider(service, HEAD), "pacts": pacts} for service, pacts in verified.items()
        }
        file = self._root / VERIFIED
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")

    def objections(self, service: str, environment: str, revision: str = HEAD) -> Iterator[str]:
        """Return why a service as of a commit may not go to an environment, one line each; none: it may."""
        yield from self._objections(service, self.commit(revision), environment, self.deployed(environment))

    def _objections(self, service: str, commit: str, environment: str, deployed: Mapping[str, str]) -> Iterator[str]:
        if not self._git("ls-tree", commit, f"services/{service}").strip():
            raise FleetError(f"there is no services/{service} at {commit[:12]}")
        verified = self._verified({commit, self.commit(), *deployed.values()})
        yield from self._unmet(service, commit, environment, deployed, verified)
        yield from self._broken(service, commit, deployed, verified)

    def _unmet(
        self, service: str, commit: str, environment: str, deployed: Mapping[str, str], verified: set[tuple[str, str]]
    ) -> Iterator[str]:
        """Tell of the providers there that may not give it what it needs."""
        for each in self.pacts(commit):
            provider = each.pact.provider
            if each.pact.consumer != service or provider == service:
                continue
            if provider not in deployed:
                yield f"{service} needs {provider}, which does not run in {environment}"
            elif (self.provider(provider, deployed[provider]), each.pact.identity) not in verified:
                at = deployed[provider][:12]
                yield f"{provider} at {at}, which runs there, was never verified with what {service} now needs of it"

    def _broken(
        self, service: str, commit: str, deployed: Mapping[str, str], verified: set[tuple[str, str]]
    ) -> Iterator[str]:
        """Tell of the consumers there that it may break, and of itself."""
        identity = self.provider(service, commit)
        for consumer, at in {**deployed, service: commit}.items():
            for each in self.pacts(at):
                if (each.pact.consumer, each.pact.provider) != (consumer, service):
                    continue
                if (identity, each.pact.identity) not in verified:
                    yield (
                        f"{service} at {commit[:12]} was never verified with what {consumer} at {at[:12]} needs of it;"
                        " commit and run `make release`"
                    )

    def _read_pacts(self, commit: str) -> Iterator[Committed]:
        for path in self._git("ls-tree", "-r", "--name-only", commit, f"{CONTRACTS}/").splitlines():
            folder, name = Path(path).parent.name, Path(path).name
            if path.count("/") == 2 and name.endswith(SUFFIX) and folder not in ("released", "deployed"):
                data = self._git("show", f"{commit}:{path}").encode()
                try:
                    yield Committed(path, data, parse(data, folder, name))
                except NotAPact as problem:
                    raise FleetError(f"{path} at {commit[:12]} {problem}") from problem

    def _verified(self, commits: Iterable[str]) -> set[tuple[str, str]]:
        """Return the pairs of provider and pact that are known to fit, by what these commits recorded."""
        pairs = set()
        for commit in commits:
            if self._git("ls-tree", commit, VERIFIED).strip():
                for each in json.loads(self._git("show", f"{commit}:{VERIFIED}")).values():
                    pairs |= {(each["provider"], identity) for identity in each["pacts"]}
        return pairs

    def _file(self, environment: str) -> Path:
        if not re.fullmatch(r"[\w-]+", environment):
            raise FleetError(f"{environment!r} does not name an environment; expected letters, digits, - and _")
        return self._root / CONTRACTS / "deployed" / f"{environment}.json"

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self._root), *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise FleetError(f"git {arguments[0]} {arguments[-1]}: {done.stderr.decode().strip() or 'failed'}")
        return done.stdout.decode()
