"""How many identifiers a second, on one core: one by one, and many at once.

    python benchmarks/identifiers.py [--values N] [--repeat N]

For each kind of value the two forms take turns N times on the same values; printed are the best of each, and their
ratio. ``emails, clean`` are lower case; of ``emails, mixed`` one in four has capitals or spaces around it, and some are
no address. The promise is 300,000 clean emails a second in a batch.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from audience_syncs.identifiers import UnusableIdentifier, hash_identifier, hash_identifiers

PROMISED = 300_000
_DOMAINS = ("gmail.com", "gmail.com", "example.com", "web.de", "outlook.com", "mail.example.co.uk")
_NAMES = ("anna", "bert", "chloe", "dmitri", "eda", "farid", "grace", "hiro", "ines", "jean-pierre")


@dataclass(frozen=True, slots=True)
class Speed:
    """Values a second."""

    name: str
    single: float
    batch: float

    @property
    def ratio(self) -> float:
        return self.batch / self.single


def clean_emails(count: int) -> list[object]:
    chance = random.Random(7)
    return [f"{chance.choice(_NAMES)}.{i}@{chance.choice(_DOMAINS)}" for i in range(count)]


def mixed_emails(count: int) -> list[object]:
    odd: tuple[Callable[[str], str], ...] = (str.upper, lambda text: f" {text}\n", lambda text: text.replace("@", ""))
    return [odd[i // 4 % 3](str(text)) if i % 4 == 0 else text for i, text in enumerate(clean_emails(count))]


def phones(count: int) -> list[object]:
    return [f"+49151{i:08d}" for i in range(count)]


def first_names(count: int) -> list[object]:
    return [_NAMES[i % len(_NAMES)].title() for i in range(count)]


CASES: dict[str, tuple[str, str, Callable[[int], list[object]]]] = {
    "emails, clean": ("meta", "email", clean_emails),
    "emails, mixed": ("meta", "email", mixed_emails),
    "emails, Google": ("google", "email", clean_emails),
    "phones": ("meta", "phone", phones),
    "first names": ("meta", "first_name", first_names),
}


def one_by_one(platform: str, field: str, values: list[object]) -> None:
    for value in values:
        try:
            hash_identifier(platform, field, value)
        except UnusableIdentifier:
            continue


def measure(name: str, values: int, repeat: int) -> Speed:
    """The best of ``repeat`` turns of each form."""
    platform, field, made = CASES[name]
    given = made(values)
    forms: dict[str, Callable[[str, str, list[object]], object]] = {"single": one_by_one, "batch": hash_identifiers}
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(repeat):
        for form, function in forms.items():
            started = time.perf_counter()
            function(platform, field, given)
            best[form] = min(best[form], time.perf_counter() - started)
    return Speed(name, values / best["single"], values / best["batch"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--values", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    print(f"{'':16}{'one by one/s':>14}{'batch/s':>14}{'ratio':>8}")
    for name in CASES:
        speed = measure(name, given.values, given.repeat)
        print(f"{name:16}{speed.single:>14,.0f}{speed.batch:>14,.0f}{speed.ratio:>8.2f}")


if __name__ == "__main__":
    main()
