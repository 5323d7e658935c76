#!/usr/bin/env bash
# Checks the configuration of Alertmanager, and who hears of what. Needs amtool (Debian: prometheus-alertmanager).
set -euo pipefail
cd "$(dirname "$0")"

amtool check-config alertmanager.yml

# Receivers, and the labels of an alert that they are to hear of.
routes='
tracer         alertname=WorkflowHighFailureRatio severity=warning service=tracer workflow_name=etl
tracer         alertname=WorkflowLatencyOverTarget severity=warning service=tracer slo=etl sli=latency
tracer         alertname=TracerTooManyActiveExecutions severity=warning service=tracer workflow_name=etl
tracer         alertname=SloBudgetExhausted severity=warning service=tracer slo=etl sli=availability
tracer         alertname=SomebodyElses severity=critical
people         alertname=TracerDown severity=critical service=tracer job=tracer
people         alertname=TracerStoreAway severity=critical service=tracer job=tracer
people,tracer  alertname=TracerOutboxStuck severity=warning service=tracer channel=slack
people         alertname=TracerSlowStep severity=critical kind=slow_step fingerprint=0123 workflow=etl step=load
people         alertname=TracerSloBurn severity=critical kind=slo_burn fingerprint=0123 workflow=etl
seen-here      alertname=TracerAlert severity=critical kind=alert fingerprint=0123 workflow=etl
seen-here      alertname=SloBurnFast severity=critical service=tracer told_by=tracer slo=etl sli=availability
seen-here      alertname=SloBurn severity=critical service=tracer told_by=tracer slo=etl sli=availability
seen-here      alertname=SloBurnSlow severity=warning service=tracer told_by=tracer slo=etl sli=availability
'
while read -r receivers labels; do
    [ -n "$receivers" ] || continue
    # shellcheck disable=SC2086 # each label is a word of its own
    amtool config routes test --config.file=alertmanager.yml --verify.receivers="$receivers" $labels >/dev/null 2>&1 \
        || { echo "not $receivers: $labels" >&2; exit 1; }
    echo "$receivers: $labels"
done <<<"$routes"
