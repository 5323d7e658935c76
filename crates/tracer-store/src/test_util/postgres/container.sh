# Runs a PostgreSQL server in its image and ends it when nobody has been connected for about 20 s: whoever started
# this container holds a connection, and loses it in whatever way its process ends.
docker-entrypoint.sh postgres -c max_connections=200 &
server=$!
trap 'kill -QUIT "$server"' TERM INT
others="SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
idle=0
while kill -0 "$server" && [ "$idle" -lt 10 ]; do
  sleep 2
  case $(psql -U postgres -d postgres -Atqc "$others" 2>/dev/null) in
    0) idle=$((idle + 1)) ;;
    '') ;; # Not ready yet, or full: neither means that nobody is there.
    *) idle=0 ;;
  esac
done
kill -QUIT "$server"
wait "$server"
