"""The alert rules name metrics that exist, and fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline import metrics

RULES = Path(__file__).resolve().parents[1] / "docs" / "alerts.yaml"
CASES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'primer_errors_total{{stage="clean",kind="StageError"}}', values: '_x10 1x200'}}
      - {{series: 'primer_errors_total{{stage="label",kind="StoppedError"}}', values: '0x10 1x200'}}
      - {{series: 'primer_stages_running{{stage="ingest"}}', values: '1x200'}}
      - {{series: 'primer_stages_running{{stage="tokenize"}}', values: '1x200'}}
      - {{series: 'primer_progress_total{{stage="tokenize"}}', values: '0+5x200'}}
      - {{series: 'primer_cost_total{{currency="USD"}}', values: '0+1x200'}}
      - {{series: 'primer_llm_queue_length', values: '4x200'}}
      - {{series: 'primer_tokens_total{{kind="completion"}}', values: '0+9x20 180x180'}}
      - {{series: 'primer_documents_total{{stage="clean",outcome="dropped"}}', values: _x30 9x200}}
      - {{series: 'primer_documents_total{{stage="clean",outcome="kept"}}', values: '_x30 0x200'}}
      - {{series: 'primer_documents_total{{stage="ingest",outcome="kept"}}', values: '0+90x200'}}
      - {{series: 'primer_documents_total{{stage="ingest",outcome="failed"}}', values: '0+10x200'}}
      - {{series: 'primer_last_success_timestamp_seconds{{stage="card"}}', values: '0x2000'}}
    alert_rule_test:
      - {{eval_time: 15m, alertname: PrimerStageFailed, exp_alerts: [
          {{exp_labels: {{severity: page, stage: clean, kind: StageError}}}}]}}
      - {{eval_time: 90m, alertname: PrimerStageFailed, exp_alerts: []}}
      - {{eval_time: 15m, alertname: PrimerStopped, exp_alerts: [
          {{exp_labels: {{severity: ticket, stage: label}}}}]}}
      - {{eval_time: 65m, alertname: PrimerStalled, exp_alerts: [
          {{exp_labels: {{severity: page, stage: ingest}}}}]}}
      - {{eval_time: 10m, alertname: PrimerTeacherSilent, exp_alerts: []}}
      - {{eval_time: 45m, alertname: PrimerTeacherSilent, exp_alerts: [
          {{exp_labels: {{severity: page}}}}]}}
      - {{eval_time: 60m, alertname: PrimerMoney, exp_alerts: [
          {{exp_labels: {{severity: page, currency: USD}}}}]}}
      - {{eval_time: 60m, alertname: PrimerKeepsNothing, exp_alerts: [
          {{exp_labels: {{severity: ticket, stage: clean}}}}]}}
      - {{eval_time: 60m, alertname: PrimerManyFail, exp_alerts: [
          {{exp_labels: {{severity: ticket, stage: ingest}}}}]}}
      - {{eval_time: 2h, alertname: PrimerKeepsNothing, exp_alerts: []}}
      - {{eval_time: 25h, alertname: PrimerNoNewDataset, exp_alerts: []}}
      - {{eval_time: 27h, alertname: PrimerNoNewDataset, exp_alerts: [
          {{exp_labels: {{severity: ticket}}}}]}}
"""


def test_every_metric_of_a_rule_is_one_that_is_shown():
    metrics.count_progress("clean", 1)
    known = set(re.findall(r"^# HELP (\w+) ", metrics.metrics_page()[0].decode(), re.M))
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"\bprimer_\w+", rule["expr"])}
    assert len(named) > 5
    assert named <= known
    said = (RULES.parent / "watching.md").read_text()
    assert not [r["alert"] for r in rules if "alert" in r and r["alert"] not in said]


@pytest.mark.long
def test_they_fire_and_stay_silent_as_they_should(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", RULES], check=True, capture_output=True
    )
    silent = re.sub(r"annotations: *\n +summary: .*", "annotations: {}", RULES.read_text())
    (tmp_path / "rules.yaml").write_text(silent)  # a case would have to repeat every sentence
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASES.format(rules=tmp_path / "rules.yaml"))
    done = subprocess.run(
        [promtool, "test", "rules", cases], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
