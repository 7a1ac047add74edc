"""Writes the vectors in events/vectors/: who is let in, and what messages say.

    make samples

They are plain JSON for any language; docs/vectors.md says how to read them. Signatures are computed
and judged by the providers' own packages where there is one.
"""

from __future__ import annotations

import json

import vectors_authentication
import vectors_payload
from http_file import EVENTS


def main() -> None:
    """The command."""
    folder = EVENTS / "vectors"
    count = 0
    for kind, module in [("authentication", vectors_authentication), ("payload", vectors_payload)]:
        for content in module.files():
            names = [case["name"] for case in content["cases"]]
            assert len(names) == len(set(names)), f"{content['provider']}: two cases of one name"
            count += len(names)
            path = folder / f"{content['provider']}-{kind}.json"
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"{count} vectors written")


if __name__ == "__main__":
    main()
