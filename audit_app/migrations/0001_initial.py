from pathlib import Path

import audit_app.models
import django.db.models.functions.datetime
from django.db import migrations, models


APPEND_ONLY = """
ALTER TABLE audit_events ALTER COLUMN position ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE audit_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
COMMENT ON COLUMN audit_events.xid IS 'The transaction that wrote it: what the guard looks for.';

-- Rebuilding the text from the columns leaves room for nothing else in it, in no other order.
ALTER TABLE audit_events ADD CONSTRAINT audit_events_entry_is_canonical CHECK (
    entry = audit_entry(event_type, actor, actor_id, subject_type, subject_id, seq, from_state,
        to_state, role, trace_id, audit_canonical(metadata), id, "timestamp")
);

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_events_refuse_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_events_written AFTER INSERT ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_event_written();
"""
FUNCTIONS = (Path(__file__).parent / "0001_functions.sql").read_text()


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.RunSQL(
            FUNCTIONS,
            """
            DROP FUNCTION audit_guard, audit_event_written, audit_refuse, audit_entry,
                audit_canonical, audit_utf16, audit_number, audit_sha256, audit_instant
            """,
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.GeneratedField(db_comment="Identity: the entry's event_id.", db_persist=True, expression=audit_app.models._FromEntry('event_id', '({}::uuid)'), output_field=models.UUIDField(), primary_key=True, serialize=False)),
                ('position', models.BigIntegerField(db_comment='Order of insertion across all subjects.', editable=False, unique=True)),
                ('entry', models.TextField(db_comment='The event as RFC 8785 text: what is hashed is what was written.')),
                ('event_type', models.GeneratedField(db_comment='What happened.', db_persist=True, expression=audit_app.models._FromEntry('event_type', '({})'), output_field=models.TextField())),
                ('actor', models.GeneratedField(db_comment='Who did it, as kind:name.', db_persist=True, expression=audit_app.models._FromEntry('actor', '({})'), output_field=models.TextField())),
                ('actor_id', models.GeneratedField(db_comment='The primary key of who did it.', db_persist=True, expression=audit_app.models._FromEntry('actor_id', '({})'), output_field=models.TextField())),
                ('role', models.GeneratedField(db_comment='The role the subject belongs to.', db_persist=True, expression=audit_app.models._FromEntry('role', '({})'), output_field=models.TextField(null=True))),
                ('subject_type', models.GeneratedField(db_comment='session, task, approval, …', db_persist=True, expression=audit_app.models._FromEntry('subject_type', '({})'), output_field=models.TextField())),
                ('subject_id', models.GeneratedField(db_comment='The row it happened to.', db_persist=True, expression=audit_app.models._FromEntry('subject_id', '({}::uuid)'), output_field=models.UUIDField())),
                ('seq', models.GeneratedField(db_comment="Gapless count of the subject's events.", db_persist=True, expression=audit_app.models._FromEntry('seq', '({}::bigint)'), output_field=models.BigIntegerField())),
                ('from_state', models.GeneratedField(db_comment='The state before, where the state changed.', db_persist=True, expression=audit_app.models._FromEntry('from_state', '({})'), output_field=models.TextField(null=True))),
                ('to_state', models.GeneratedField(db_comment='The state after, where the state changed.', db_persist=True, expression=audit_app.models._FromEntry('to_state', '({})'), output_field=models.TextField(null=True))),
                ('timestamp', models.GeneratedField(db_comment='When it was recorded.', db_persist=True, expression=audit_app.models._FromEntry('timestamp', 'audit_instant({})'), output_field=models.DateTimeField())),
                ('trace_id', models.GeneratedField(db_comment='The work that it was part of.', db_persist=True, expression=audit_app.models._FromEntry('trace_id', '({}::uuid)'), output_field=models.UUIDField(null=True))),
                ('metadata', models.GeneratedField(db_comment='Details of this kind of event.', db_persist=True, expression=models.Func(models.F('entry'), template="((%(expressions)s)::jsonb -> 'metadata')"), output_field=models.JSONField())),
            ],
            options={
                'db_table': 'audit_events',
                'db_table_comment': 'Append-only: everything that happened, one row an event.',
                'ordering': ('position',),
                'permissions': (('read_everything', 'Can read every session, task, approval and event'),),
                'default_permissions': ('view',),
                'indexes': [models.Index(fields=['trace_id', 'position'], name='audit_events_trace'), models.Index(fields=['event_type', 'position'], name='audit_events_type'), models.Index(models.OrderBy(models.F('timestamp'), descending=True), name='audit_events_timestamp'), models.Index(fields=['actor', 'position'], name='audit_events_actor'), models.Index(fields=['role', 'position'], name='audit_events_role'), models.Index(fields=['subject_id', 'position'], name='audit_events_subject')],
                'constraints': [models.UniqueConstraint(fields=('subject_type', 'subject_id', 'seq'), name='audit_events_subject_seq'), models.CheckConstraint(condition=models.Q(('event_type__in', ['session.opened', 'session.activated', 'session.updated', 'session.completed', 'session.failed', 'session.expired', 'session.purged', 'task.routed', 'task.approved', 'task.rejected', 'task.expired', 'task.claimed', 'task.released', 'task.completed', 'task.failed', 'task.cancelled', 'task.purged', 'approval.requested', 'approval.approved', 'approval.rejected', 'approval.expired', 'approval.withdrawn', 'approval.purged', 'identity.created', 'identity.changed', 'identity.revoked', 'key.issued', 'key.revoked', 'operation.refused']), ('event_type__regex', '^agent\\.[a-z0-9_]+(\\.[a-z0-9_]+)*$'), _connector='OR'), name='audit_events_known_event')],
            },
        ),
        migrations.CreateModel(
            name='RequestReceipt',
            fields=[
                ('id', models.BigAutoField(db_comment='Identity.', primary_key=True, serialize=False)),
                ('caller', models.TextField(db_comment='Who asked, as kind:id; nobody else gets the answer.')),
                ('endpoint', models.TextField(db_comment='Method and path.')),
                ('key', models.TextField(db_comment='The Idempotency-Key.')),
                ('fingerprint', models.CharField(db_comment='SHA-256 of the request; another request is refused.', max_length=64)),
                ('status', models.PositiveSmallIntegerField(db_comment="The answer's HTTP status.", null=True)),
                ('headers', models.JSONField(db_comment="The answer's headers worth keeping.", default=dict)),
                ('body', models.TextField(db_comment="The answer's body, byte for byte.", default='')),
                ('subject_type', models.TextField(db_comment='What the answer tells of, if anything.', default='')),
                ('subject_id', models.UUIDField(db_comment='The row the answer tells of.', null=True)),
                ('created_at', models.DateTimeField(db_comment='When the first of these requests was begun.', db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'request_receipts',
                'db_table_comment': 'Idempotency: one row per caller, endpoint and key.',
                'default_permissions': (),
                'indexes': [models.Index(fields=['created_at'], name='request_receipts_age')],
                'constraints': [models.UniqueConstraint(fields=('caller', 'endpoint', 'key'), name='request_receipts_once')],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
    ]
