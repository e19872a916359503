"""Hightouch's Git Sync, read: its models become audiences, its syncs ours.

What Git Sync writes is documented by example only. The shapes read here come from these public files:

    github.com/jensvanbellen/dbt-claude-skills, skills/dbt-reverse-etl/references/hightouch-sync-yaml.md
        folders `models/` and `syncs/`; `manifest-*.yaml`, which lists sources and destinations; models of type `raw_sql` and
        `dbt_model`; syncs to HubSpot, Google Ads (`CustomerMatchUserList`) and Google Sheets; `mappings` of types `standard` and
        `template`, `externalIdMapping`, `associationMappings`; schedules `manual` and `interval`; `schedulePaused`
    github.com/hightouchio/add-mappings-to-syncs-programmatically, script.py
        `destination`, `config.object`, `config.mappings` of types `variable` and `template`
    github.com/speakeasy-sdks/hightouch-python-sdk, docs/models/shared/{interval,intervalunit,cronschedule,visualcronschedule,
    visualcronscheduleexpressions,dbtschedule,model,modelraw,modeltable,modeldbt,modelvisual,sync,destination}.md
        the same resources in the API: kinds of schedules and models, their keys
    github.com/datahub-project/datahub, metadata-ingestion/src/datahub/ingestion/source/hightouch/constants.py
        names of types of sources and destinations
    hightouch.com/docs/syncs/git-sync
        audiences of Customer Studio are not in it
    hightouch.com/docs/syncs/schedule-sync-ui
        cron expressions are in UTC

A sync's ``config`` differs by destination, and Hightouch promises nothing about it ("Consumers should NOT make assumptions on
the contents"). So every key that is not understood is told with its line, never passed over: ``export.Resource`` ticks off what
was used, and what is left over is listed.

    export      the files, with their positions
    platforms   their destinations, fields and settings -> ours
    mappings    `mappings` -> `mapping`
    schedules   `schedule` -> `schedule`
    audiences   models -> audiences
    syncs       syncs -> syncs
    imported    all of it: names, files, the summary
"""

from audience_syncs.imports.hightouch.imported import Imported, import_hightouch

__all__ = ["Imported", "import_hightouch"]
