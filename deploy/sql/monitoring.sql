-- The role of `audience-syncs metrics`: runs, sizes and alerts; no table that holds people.
-- Run after the first run of a sync has made the tables. Then: \password audience_syncs_monitoring
CREATE ROLE audience_syncs_monitoring LOGIN;
DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO audience_syncs_monitoring', current_database()); END $$;
GRANT USAGE ON SCHEMA audience_syncs TO audience_syncs_monitoring;
GRANT SELECT ON audience_syncs.state_version, audience_syncs.sync_runs, audience_syncs.matched_users,
    audience_syncs.alerts, audience_syncs.alert_messages TO audience_syncs_monitoring;
