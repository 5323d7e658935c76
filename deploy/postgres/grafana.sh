#!/bin/sh
# Makes the role by which Grafana asks PostgreSQL: it reads, and does nothing else.
#
# Whoever may look at a dashboard may send any SQL through its data source, so that the role of the service itself, which
# owns the tables, is not for Grafana. PostgreSQL's image runs this when it makes a new database; in one that is there
# already, run it once by hand. The tables need not be there yet.
set -eu

# As the image's own scripts are run: POSTGRES_USER owns what the service will make.
#
# The password comes by the environment: anybody may read what stands on a command line.
GRAFANA_DB_PASSWORD="${GRAFANA_DB_PASSWORD:-grafana}"
export GRAFANA_DB_PASSWORD
psql -v ON_ERROR_STOP=1 -v database="$POSTGRES_DB" \
    -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
\getenv password GRAFANA_DB_PASSWORD
CREATE ROLE grafana LOGIN CONNECTION LIMIT 10 PASSWORD :'password';
ALTER ROLE grafana SET default_transaction_read_only = on;
-- A query that somebody typed does not keep a processor busy for ever.
ALTER ROLE grafana SET statement_timeout = '15s';
GRANT CONNECT ON DATABASE :"database" TO grafana;
GRANT USAGE ON SCHEMA public TO grafana;
-- What is there, and what migrations will make.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
SQL
