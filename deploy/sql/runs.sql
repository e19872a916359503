-- The role that runs syncs: reads the tables that audiences ask, writes in its own schema, nothing else.
-- Run once, as an administrator of the warehouse. Then give it a password: \password audience_syncs
CREATE ROLE audience_syncs LOGIN;
-- In this database: to connect, and to compare members in temporary tables.
DO $$ BEGIN EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO audience_syncs', current_database()); END $$;
CREATE SCHEMA audience_syncs AUTHORIZATION audience_syncs;
-- Your tables: once for each schema that audiences read.
GRANT USAGE ON SCHEMA shop TO audience_syncs;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO audience_syncs;
-- Tables that come later. It holds for those made by the role that runs this; say FOR ROLE where another one makes them.
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO audience_syncs;
