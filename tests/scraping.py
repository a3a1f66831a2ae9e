"""What does a page of metrics tell, and would whoever lints such pages find anything in it?"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

# Words that say the type, and units that are no base units (Prometheus's naming rules).
_WORDS_REFUSED: Final = frozenset(
    "counter gauge histogram summary metric ms milliseconds minutes hours percent kb".split()
)
_NAME: Final = re.compile(r"muniment(_[a-z]+)+\Z")
_LABEL: Final = re.compile(r"[a-z][a-z_]*\Z")

Labels = tuple[tuple[str, str], ...]


class Page:
    """One page; each number by the name of its series and its labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {one.name: one for one in text_string_to_metric_families(text)}
        self.series = [
            (sample.name, tuple(sorted(sample.labels.items())), sample.value)
            for family in self.families.values()
            for sample in family.samples
        ]
        self._values = {(name, labels): value for name, labels, value in self.series}

    def value(self, name: str, **labels: str) -> float:
        """Answer the number of a series; KeyError where there is none."""
        return self._values[f"muniment_{name}", tuple(sorted(labels.items()))]

    def labels(self, label: str) -> set[str]:
        """Answer every value of a label."""
        return {dict(labels)[label] for _, labels, _ in self.series if label in dict(labels)}

    @property
    def label_names(self) -> set[str]:
        """Every name of a label."""
        return {name for _, labels, _ in self.series for name, _ in labels}


def faults(text: str) -> list[str]:
    """Answer what is wrong with a page, by Prometheus's rules for names and for the format."""
    told = Counter(tuple(line.split(" ")[1:3]) for line in text.splitlines() if line[:1] == "#")
    found = [
        f"{name}: {kind} {number} times" for (kind, name), number in told.items() if number > 1
    ]
    page = Page(text)
    series = Counter((name, labels) for name, labels, _ in page.series)
    found += [f"{name}{labels} twice" for (name, labels), number in series.items() if number > 1]
    for name, family in page.families.items():
        full = f"{name}_total" if family.type == "counter" else name
        found += [f"{full}: no {kind}" for kind in ("HELP", "TYPE") if not told[kind, full]]
        found += _faults_of_name(name, family.type, family.documentation)
        found += [
            f"{name}: label {label}"
            for sample in family.samples
            for label in sample.labels
            if not _LABEL.match(label) or (label == "le" and not sample.name.endswith("_bucket"))
        ]
        if family.type == "histogram":
            found += _faults_of_buckets(page, name)
    return found


def _faults_of_name(name: str, type_: str, documentation: str) -> list[str]:
    found = []
    if not _NAME.match(name) or _WORDS_REFUSED & set(name.split("_")):
        found.append(f"{name}: the name")
    if type_ not in {"counter", "gauge", "histogram"} or not documentation:
        found.append(f"{name}: {type_}, {documentation}")
    # A counter's own ending has been taken off by the parser.
    if name.endswith(("_total", "_count", "_sum", "_bucket", "_info")) and name[-5:] != "_info":
        found.append(f"{name}: the ending")
    if "seconds" in name and not name.endswith("_seconds"):
        found.append(f"{name}: the unit stands last")
    return found


def _faults_of_buckets(page: Page, name: str) -> list[str]:
    rows: dict[Labels, list[tuple[float, float]]] = {}
    for series, labels, value in page.series:
        if series == f"{name}_bucket":
            others = tuple(label for label in labels if label[0] != "le")
            rows.setdefault(others, []).append((float(dict(labels)["le"]), value))
    found = []
    for others, buckets in rows.items():
        counts = [count for _, count in buckets]
        total = page.value(f"{name.removeprefix('muniment_')}_count", **dict(others))
        if buckets != sorted(buckets) or counts != sorted(counts):
            found.append(f"{name}{others}: not cumulative")
        if buckets[-1] != (float("inf"), total):
            found.append(f"{name}{others}: the last bucket is not the count")
    return found
