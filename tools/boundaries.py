"""Check what ARCHITECTURE.md promises of the rooms: who names whom, and where `unsafe` is.

The rules for crates stand in deny.toml, once; this reads them, so that they hold without cargo-deny too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNSAFE_ADDRESSES = ("crates/engine/src/sys.rs", "crates/python/src/ffi/")
RULE = re.compile(r'\{ crate = "([^"]+)", wrappers = \[([^\]]*)\] \}')


def broken_dependencies() -> list[str]:
    """Return each dependency that deny.toml does not allow."""
    rules = {
        crate: set(re.findall(r'"([^"]+)"', wrappers))
        for crate, wrappers in RULE.findall((ROOT / "deny.toml").read_text())
    }
    if not rules:
        return ["deny.toml holds no rule that can be read"]
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return [
        f"{package['name']} names {dependency['name']}: deny.toml allows {sorted(rules[dependency['name']])}"
        for package in metadata["packages"]
        for dependency in package["dependencies"]
        if dependency["name"] in rules and package["name"] not in rules[dependency["name"]]
    ]


def stray_unsafe() -> list[str]:
    """Return each line with `unsafe` code outside of its addresses."""
    code = re.compile(r"\bunsafe\s*(\{|fn|impl|extern)")
    return [
        f"{path.relative_to(ROOT)}:{number}: unsafe outside of {', '.join(UNSAFE_ADDRESSES)}"
        for path in sorted(ROOT.glob("crates/*/src/**/*.rs"))
        if not str(path.relative_to(ROOT)).startswith(UNSAFE_ADDRESSES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if code.search(line)
    ]


def main() -> int:
    """Print what is wrong; the exit status says whether anything is."""
    findings = broken_dependencies() + stray_unsafe()
    print("\n".join(findings) or "the boundaries hold")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
