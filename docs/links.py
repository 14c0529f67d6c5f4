"""Asks for every address that README.md and the pages link to: python -m docs.links.

It prints those that do not answer, and exits with status 1 if one is gone (404 or 410) or cannot be
reached. Relative links are checked by tests/test_docs.py, without a network.
"""

import concurrent.futures
import pathlib
import re
import sys
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
_ADDRESS = re.compile(r"\]\((https?://[^)\s]+)\)")
_AGENT = {"User-Agent": "Mozilla/5.0 (link check)"}  # some servers refuse Python's own
_GONE = (404, 410)  # others, such as 403, are of servers that want a browser
_SECONDS = 20


def addresses() -> dict[str, str]:
    """Every address that is linked to, with a page that does."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return {
        address.partition("#")[0]: page.name
        for page in sorted(pages)
        for address in _ADDRESS.findall(page.read_text(encoding="utf-8"))
    }


def fault(address: str) -> str:
    """Why an address is dead; '' if it is not."""
    try:
        request = urllib.request.Request(address, headers=_AGENT)
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"status {error.code}" if error.code in _GONE else ""
    except OSError as error:
        return str(error)


def main() -> int:
    """The status to exit with."""
    found = addresses()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        faults = dict(zip(found, pool.map(fault, found), strict=True))
    dead = {address: why for address, why in faults.items() if why}
    for address, why in dead.items():
        print(f"{found[address]}: {address}: {why}")
    print(f"{len(found) - len(dead)} of {len(found)} addresses answer")
    return int(bool(dead))


if __name__ == "__main__":
    sys.exit(main())
