"""How does a broken build start: the real command line, with one part replaced?"""

from __future__ import annotations

from ops.cli.main import main


def broken(place: object, name: str, part: object) -> None:
    """Run the command line with `part` in the place of one of the product's own."""
    if not hasattr(place, name):
        raise AttributeError(f"{place} has no {name} that could be broken")
    setattr(place, name, part)
    main()
