"""What operators plug in, as the tests of it read it."""

from __future__ import annotations

import json
import re

from ruamel.yaml import YAML

from tests.engine.server_process import PROJECT

FILES = PROJECT / "deploy/observability"
PAGE = (PROJECT / "docs/monitoring.md").read_text()
DASHBOARD = json.loads((FILES / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
PAGE_QUERIES = re.findall("```promql\n(.*?)```", PAGE, re.DOTALL)
ALERTS = [rule for group in YAML(typ="safe").load(FILES / "alerts.yml")["groups"] for rule in group["rules"]]
