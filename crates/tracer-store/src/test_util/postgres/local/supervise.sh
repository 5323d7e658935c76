# Runs a PostgreSQL server for as long as its owner lives.
#
#   supervise.sh HOME OWNER PROGRAM ARGUMENT...
#
# OWNER is a process to outlive by a second, or empty: then it is whoever holds the other end of standard input.
# The line `stop` there ends the server and keeps its files; the end of it, however it comes about, removes them too.
home=$1 owner=$2
shift 2
echo $$ >"$home/supervisor.pid"
"$@" 2>>"$home/log" &
server=$!
# From here on only the server holds standard output: its end is the server's.
exec >/dev/null
order=
if [ -n "$owner" ]; then
  while [ -d "/proc/$owner" ] || kill -0 "$owner" 2>/dev/null; do sleep 1; done
else
  read -r order
fi
# QUIT ends a server at once and without a checkpoint, yet lets it give its shared memory back, as KILL would not.
kill -QUIT "$server" 2>/dev/null
wait "$server"
if [ "$order" = stop ]; then rm -f "$home/supervisor.pid"; else rm -rf "$home"; fi
