"""Who of an audience is not sent to a destination: exclusions, priority lists, groups of a split."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, model_validator

from audience_syncs.model.comparisons import Scalar
from audience_syncs.model.names import Name
from audience_syncs.model.strict import Config


class Exclusion(Config):
    """People who are sent to no list of a destination, and taken out of those they are in, whatever the sync's mode.

    Either by a column of the audience (a consent, a country) or by a list in the warehouse (a suppression list)."""

    name: Name = Field(description="Shown in the counts: `no_consent`.")
    column: str | None = Field(
        default=None,
        min_length=1,
        description="Column of the audience. An audience without it is not sent at all: nobody is known to be allowed.",
    )
    unless: list[Scalar] | None = Field(
        default=None,
        min_length=1,
        description="Everybody is excluded whose column has another value, or none: `[true]`.",
    )
    when: list[Scalar] | None = Field(
        default=None, min_length=1, description="Excluded is whose column has one of these values: `[RU, BY]`."
    )
    sql: str | None = Field(
        default=None, min_length=1, description="One SELECT of one column: the values of those who are excluded."
    )
    match: str | None = Field(
        default=None,
        min_length=1,
        description="Column of the audience that is compared with what `sql` returns. Default: the primary key.",
    )
    ignore_case: bool = Field(
        default=False,
        description="Of `sql`: compare without regard to capital letters and blanks around, as for emails.",
    )

    def in_words(self) -> str:
        """Whom it excludes: ``country is one of RU, BY``."""
        if self.column is None:
            return f"whose {f'`{self.match}`' if self.match else 'key'} is in a list of the warehouse"
        values = ", ".join(
            str(value).lower() if isinstance(value, bool) else str(value) for value in self.unless or self.when or ()
        )
        return f"`{self.column}` is {'not ' if self.unless is not None else ''}{values}"

    @model_validator(mode="after")
    def _complete(self) -> Exclusion:
        if (self.column is None) == (self.sql is None):
            raise ValueError("give exactly one of `column` and `sql`")
        if self.column is not None and (self.unless is None) == (self.when is None):
            raise ValueError("`column` needs exactly one of `unless` and `when`; e.g. `unless: [true]` for a consent")
        if self.column is None and (self.unless is not None or self.when is not None):
            raise ValueError(
                "`unless` and `when` are about a `column`; remove them, or write `column` instead of `sql`"
            )
        if self.sql is None and (self.match is not None or self.ignore_case):
            raise ValueError("`match` and `ignore_case` are about `sql`; remove them")
        return self


class PriorityConfig(Config):
    """Audiences in the order of their importance: who is in several of them is sent only for the first."""

    name: Name
    audiences: list[Name] = Field(
        min_length=2, description="The most important first. Each is in one such list at most."
    )
    description: str = ""

    @model_validator(mode="after")
    def _distinct(self) -> PriorityConfig:
        twice = sorted({name for name in self.audiences if self.audiences.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice; remove one of them")
        return self


@dataclass(frozen=True, slots=True)
class Admission:
    """What holds for one sync, resolved when definitions load: it is sent the members of its audience whom nothing of this
    keeps out."""

    exclusions: tuple[Exclusion, ...] = ()
    before: tuple[str, ...] = ()
    """Audiences that go first: who is in the latest snapshot of one of them is not sent."""
    groups: tuple[str, ...] | None = None
    """Groups of the audience's split that are sent; None: everybody."""

    def __bool__(self) -> bool:
        return bool(self.exclusions or self.before or self.groups is not None)
