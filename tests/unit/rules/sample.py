"""A detector file that the tests break, change and compare: it does not follow the one that ships."""

SAMPLE = """\
id: drain-fan-in
version: 1
status: live
title: Several accounts pay one new destination within an hour
severity: critical
decision: hold
kinds: ["withdrawal.*", "signing.requested"]
guard: {feature: fan_in_accounts, op: ">=", number: 2.0}
expr: >-
  fan_in_accounts >= 2.0 && destination_trusted == 0.0 && destination_age_s < 86400.0 && destination_value_1h >=
  100000.0 && (fan_in_accounts >= 3.0 || amount_usd_surprise >= 2.0 || share_of_balance_surprise >= 2.0)
playbook: drain
tags: [attack.t1657, incident.kucoin-2020, incident.atomic-2023]
runbook: docs/runbooks/detector/drain-fan-in.md
cases:
  - name: three hot wallets, a quarter million dollars in five minutes
    expect: fires
    kind: withdrawal.requested
    features:
      fan_in_accounts: 3.0
      destination_age_s: 300.0
      destination_value_1h: 250000.0
      destination_trusted: 0.0
      amount_usd_surprise: 3.0
      share_of_balance_surprise: 0.0
  - name: two hot wallets pay one customer ordinary sums
    expect: silent
    kind: withdrawal.requested
    features:
      fan_in_accounts: 2.0
      destination_age_s: 300.0
      destination_value_1h: 250000.0
      destination_trusted: 0.0
      amount_usd_surprise: 0.4
      share_of_balance_surprise: 0.0
  - name: an old destination that many accounts pay
    expect: silent
    kind: withdrawal.requested
    features:
      fan_in_accounts: 3.0
      destination_age_s: 9000000.0
      destination_value_1h: 250000.0
      destination_trusted: 0.0
      amount_usd_surprise: 3.0
      share_of_balance_surprise: 0.0
  - name: accounts never seen before
    expect: fires
    history: none
    kind: withdrawal.requested
    features:
      fan_in_accounts: 3.0
      destination_age_s: 300.0
      destination_value_1h: 250000.0
      destination_trusted: 0.0
      amount_usd_surprise: 0.5
      share_of_balance_surprise: 0.0
"""
