#!/usr/bin/env bash
# Checks the configuration of Alertmanager: who hears of what, and what keeps quiet beside what. Needs amtool and, for
# what keeps quiet, Alertmanager itself (Debian: prometheus-alertmanager), which runs here for some seconds.
set -euo pipefail
cd "$(dirname "$0")"

amtool check-config alertmanager.yml

scratch=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$scratch"' EXIT

# A configuration, and lines of receivers and the labels of an alert that they are to hear of.
routed() {
    while read -r receivers labels; do
        [ -n "$receivers" ] || continue
        # shellcheck disable=SC2086 # each label is a word of its own
        amtool config routes test --config.file="$1" --verify.receivers="$receivers" $labels >/dev/null 2>&1 \
            || { echo "not $receivers: $labels" >&2; exit 1; }
        echo "$receivers: $labels"
    done <<<"$2"
}

routed alertmanager.yml '
tracer         alertname=WorkflowLatencyOverTarget severity=warning service=tracer slo=etl sli=latency
tracer         alertname=TracerTooManyActiveExecutions severity=warning service=tracer workflow_name=etl
tracer         alertname=SomebodyElses severity=critical
people         alertname=TracerDown severity=critical service=tracer job=tracer
people         alertname=TracerRestarts severity=critical service=tracer job=tracer
people         alertname=TracerStoreAway severity=critical service=tracer job=tracer
people,tracer  alertname=TracerOutboxStuck severity=warning service=tracer channel=slack
people         alertname=AlertmanagerNotificationsFailed severity=warning service=tracer integration=webhook
tracer         alertname=AlertmanagerNotificationsFailed severity=warning service=tracer integration=slack
people         alertname=TracerSlowStep severity=critical kind=slow_step fingerprint=0123 workflow=etl step=load
people         alertname=TracerSloBurn severity=critical kind=slo_burn fingerprint=0123 workflow=etl
seen-here      alertname=TracerAlert severity=critical kind=alert fingerprint=0123 workflow=etl
seen-here      alertname=WorkflowHighFailureRatio severity=warning service=tracer told_by=tracer workflow_name=etl
seen-here      alertname=SloBurnFast severity=critical service=tracer told_by=tracer slo=etl sli=availability
seen-here      alertname=SloBurn severity=critical service=tracer told_by=tracer slo=etl sli=availability
seen-here      alertname=SloBudgetExhausted severity=warning service=tracer told_by=tracer slo=etl sli=availability
seen-here      alertname=SloBurnSlow severity=warning service=tracer told_by=tracer slo=etl sli=availability
'

# The change by which people hear of burn rates from here, as docs/deploy.md has it.
sed '/told_by="tracer"/{n;s/seen-here/people/}' alertmanager.yml >"$scratch/burn-rates.yml"
routed "$scratch/burn-rates.yml" '
people         alertname=SloBurnFast severity=critical service=tracer told_by=tracer slo=etl sli=availability
people         alertname=WorkflowHighFailureRatio severity=warning service=tracer told_by=tracer workflow_name=etl
seen-here      alertname=TracerAlert severity=critical kind=alert fingerprint=0123 workflow=etl
tracer         alertname=WorkflowLatencyOverTarget severity=warning service=tracer slo=etl sli=latency
'

program=$(command -v prometheus-alertmanager || command -v alertmanager) \
    || { echo "what keeps quiet beside what was not tried: there is no Alertmanager" >&2; exit 0; }

# A port that the system has to give; that somebody else takes it in between is seen below.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 19093)
here=http://127.0.0.1:$port
# The groups wait longer than this takes: nobody is told.
sed 's/group_wait: .*/group_wait: 1h/' alertmanager.yml >"$scratch/alertmanager.yml"
cp -r credentials "$scratch"
"$program" --config.file="$scratch/alertmanager.yml" --storage.path="$scratch/data" --cluster.listen-address= \
    --web.listen-address="127.0.0.1:$port" 2>"$scratch/log" &
server=$!
for _ in $(seq 50); do
    amtool --alertmanager.url="$here" alert query >/dev/null 2>&1 && break
    sleep 0.1
done

# Whether an alert is `quiet` or `heard` while another one fires.
beside() {
    local expected=$1 source=$2 target=$3 found=heard
    # shellcheck disable=SC2086 # each label is a word of its own
    amtool --alertmanager.url="$here" alert add $source try="$tries"
    # shellcheck disable=SC2086
    amtool --alertmanager.url="$here" alert add $target try="$tries"
    # Alertmanager takes a moment to learn what fires.
    for _ in $(seq 5); do
        [ -z "$(amtool --alertmanager.url="$here" alert query --inhibited -o extended \
            "alertname=${target%% *}" "try=$tries" | grep "${target%% *}")" ] || { found=quiet; break; }
        sleep 0.1
    done
    [ "$found" = "$expected" ] || { echo "$found beside $source: $target" >&2; cat "$scratch/log" >&2; exit 1; }
    echo "$found beside $source: $target"
    # It has ended, so that the next two are alone.
    # shellcheck disable=SC2086
    amtool --alertmanager.url="$here" alert add --end="$(date -u +%FT%TZ)" $source try="$tries"
    tries=$((tries + 1))
}
tries=1
while IFS='|' read -r quiet source target; do
    [ -n "$quiet" ] || continue
    beside "$quiet" "$source" "$target"
done <<'ALERTS'
quiet|TracerDown severity=critical service=tracer job=tracer|TracerOutboxStuck severity=warning service=tracer channel=slack
heard|TracerDown severity=critical service=tracer job=tracer|TracerSlowStep severity=critical kind=slow_step fingerprint=0123 workflow=etl
heard|TracerDown severity=warning service=tracer job=tracer instance=a|TracerOutboxStuck severity=warning service=tracer channel=slack
quiet|TracerStoreAway severity=critical service=tracer job=tracer|SloBudgetExhausted severity=warning service=tracer slo=etl sli=latency
quiet|TracerRestarts severity=critical service=tracer job=tracer|TracerRestarts severity=warning service=tracer job=tracer instance=a
quiet|SloBurn severity=critical service=tracer told_by=tracer slo=etl sli=latency|WorkflowLatencyOverTarget severity=warning service=tracer slo=etl sli=latency
quiet|SloBurnSlow severity=warning service=tracer told_by=tracer slo=etl sli=latency|WorkflowLatencyOverTarget severity=warning service=tracer slo=etl sli=latency
heard|SloBurn severity=critical service=tracer told_by=tracer slo=etl sli=availability|WorkflowLatencyOverTarget severity=warning service=tracer slo=etl sli=latency
heard|SloBurn severity=critical service=tracer told_by=tracer slo=etl sli=latency|SloBudgetExhausted severity=warning service=tracer slo=orders sli=latency
ALERTS
