"""Who is told when a sync is in trouble, and how often."""

from __future__ import annotations

from pydantic import Field, field_validator

from audience_syncs.model.limits import LimitsConfig, Severity
from audience_syncs.model.names import Name, Secret
from audience_syncs.model.schedules import DURATION
from audience_syncs.model.strict import Config


class ChannelConfig(Config):
    """Somewhere a message can be sent to: Slack, Teams, email, PagerDuty, a webhook, ..."""

    url: Secret = Field(
        description="Apprise URL, from the environment: `{env: CRM_SLACK_URL}`; e.g. slack://..., mailto://..., jsons://...",
    )
    minimum: Severity = Field(
        default=Severity.WARNING, description="`warning`: everything; `critical`: only what is critical."
    )
    description: str = ""

    @field_validator("minimum")
    @classmethod
    def _says_something(cls, value: Severity) -> Severity:
        if value is Severity.OK:
            raise ValueError("write `warning` or `critical`")
        return value


class NotifyConfig(Config):
    """Who is told about a sync. What is not written is inherited: sync, audience, destination, project."""

    channels: list[Name] | None = Field(
        default=None, description="Names of channels; `[]`: nobody. Default: all channels of the project."
    )
    remind_every: str | None = Field(
        default=None,
        pattern=DURATION.pattern,
        description="Say it again while it lasts: `1 day`. Default: said once, and once more when it is over.",
    )

    def inheriting(self, *others: NotifyConfig) -> NotifyConfig:
        """These settings, with those that are not written taken from the others, the nearest first."""
        written: dict[str, object] = {}
        for settings in (*reversed(others), self):
            written |= {name: getattr(settings, name) for name in settings.model_fields_set}
        return self.model_copy(update=written)


class AlertsConfig(Config):
    """What holds for all syncs of the project: the channels, who is told by default, and the limits."""

    channels: dict[Name, ChannelConfig] = Field(default_factory=dict, description="Channels by name.")
    notify: NotifyConfig = Field(default_factory=NotifyConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    description: str = ""
