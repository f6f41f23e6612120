"""The documents match the code and the database. `make docs` updates them."""

import os
import re
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection

from audit_app.models import Subject
from audit_app.trail import catalog
from audit_app.trail.guards import render_triggers
from tests.project import documents

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["states", "database", "errors"])
def test_a_generated_document_is_up_to_date(name):
    path = ROOT / "docs" / f"{name}.md"
    generated = getattr(documents, name)()
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(generated)
    assert path.read_text() == generated


@pytest.mark.parametrize("model", Subject.kinds().values())
def test_the_triggers_of_an_audited_table_are_those_of_its_model(model):
    app = Path(apps.get_app_config(model._meta.app_label).path)
    path = app / "sql" / "triggers" / f"{model._meta.db_table}_transitions.sql"
    rendered = render_triggers(model)
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(rendered)
    assert path.read_text() == rendered


def test_the_catalog_that_verify_audit_compares_with_is_the_databases():
    if os.environ.get("UPDATE_DOCS"):
        catalog.CATALOG.write_text(catalog.render_catalog())
    assert catalog.CATALOG.read_text() == catalog.render_catalog()
    assert list(catalog.find_differences()) == []


def test_every_table_and_column_of_ours_carries_a_comment():
    ours = [*documents.TABLES]
    with connection.cursor() as cursor:
        for table in ours:
            for name, _, _, comment in documents.rows(documents.COLUMNS, table):
                assert comment, f"{table}.{name}"
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND obj_description(oid) IS NULL",
            [[*ours, "active_sessions", "pending_approvals"]],
        )
        assert cursor.fetchall() == []


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
