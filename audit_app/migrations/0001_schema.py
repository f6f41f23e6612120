"""Tables, constraints and indexes; functions, views and triggers are in audit_app/sql."""

import audit_app.models
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import django_fsm
import uuid
from pathlib import Path
from django.db import migrations, models

from audit_app.trail.indexing import vacuumed_soon

FUNCTIONS = Path(__file__).parents[1] / 'sql/functions'
TABLES = """
ALTER TABLE audit_events ALTER COLUMN position ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE audit_events ALTER COLUMN xid SET DEFAULT pg_current_xact_id();

-- Rebuilding the text from the columns leaves room for nothing else in it, in no other order.
ALTER TABLE audit_events ADD CONSTRAINT audit_events_entry_is_its_columns CHECK (
    entry = audit_entry(event_type, actor, actor_id, subject_type, subject_id, seq, from_state,
        to_state, role, trace_id, (entry::json -> 'metadata')::text, id, "timestamp")
);

-- What changes no row (an agent's note, a refusal) is nobody's state; everything else is a row's.
ALTER TABLE audit_events ADD CONSTRAINT audit_events_of_a_known_kind CHECK (
    CASE subject_type
        WHEN 'note' THEN event_type LIKE 'agent.%' AND seq = 1 AND to_state IS NULL
        WHEN 'refusal' THEN event_type = 'operation.refused' AND seq = 1 AND to_state IS NULL
        ELSE subject_type IN ('agent', 'session', 'task', 'approval', 'vote', 'delegation',
            'override', 'policy', 'webhook')
    END
);

-- Reading the trail in the order of its commits.
CREATE INDEX audit_events_tail ON audit_events (xid, position);
"""


class Migration(migrations.Migration):

    initial = True

    # An installation that has all of these has this one, too.
    replaces = [
        ('audit_app', '0001_initial'),
        ('audit_app', '0002_command_runs'),
        ('audit_app', '0003_judge'),
        ('audit_app', '0004_policies'),
        ('audit_app', '0005_tail'),
        ('audit_app', '0006_tail_index'),
        ('audit_app', '0007_webhooks'),
        ('audit_app', '0008_judge_by_subject'),
        ('audit_app', '0009_answered'),
        ('audit_app', '0010_planned_once'),
    ]

    dependencies = []

    operations = [
        *(migrations.RunSQL((FUNCTIONS / f'{name}.sql').read_text()) for name in ('audit_instant', 'audit_sha256', 'audit_entry')),
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
                ('xid', audit_app.models.TransactionNumber(db_comment='The transaction that wrote it: what the guard looks for.', editable=False)),
            ],
            options={
                'db_table': 'audit_events',
                'db_table_comment': 'Append-only: everything that happened, one row an event.',
                'ordering': ('position',),
                'permissions': (('read_everything', 'Can read every session, task, approval and event'),),
                'default_permissions': ('view',),
                'indexes': [
                    models.Index(fields=['trace_id', 'position'], name='audit_events_trace'),
                    models.Index(fields=['event_type', 'position'], name='audit_events_type'),
                    models.Index(models.OrderBy(models.F('timestamp'), descending=True), name='audit_events_timestamp'),
                    models.Index(fields=['actor', 'position'], name='audit_events_actor'),
                    models.Index(fields=['role', 'position'], name='audit_events_role'),
                    models.Index(fields=['subject_id', 'position'], name='audit_events_subject'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('subject_type', 'subject_id', 'seq'), name='audit_events_subject_seq'),
                    models.CheckConstraint(condition=models.Q(('event_type__in', ['session.opened', 'session.activated', 'session.updated', 'session.completed', 'session.failed', 'session.expired', 'session.purged', 'task.routed', 'task.revised', 'task.approved', 'task.rejected', 'task.expired', 'task.claimed', 'task.released', 'task.completed', 'task.failed', 'task.cancelled', 'task.purged', 'approval.requested', 'approval.approved', 'approval.approved_by_deadline', 'approval.rejected', 'approval.expired', 'approval.withdrawn', 'approval.reminded', 'approval.purged', 'vote.cast', 'vote.withdrawn', 'vote.purged', 'delegation.granted', 'delegation.ended', 'delegation.purged', 'override.opened', 'override.upheld', 'override.condemned', 'override.purged', 'policy.created', 'policy.changed', 'policy.retired', 'policy.restored', 'identity.created', 'identity.changed', 'identity.revoked', 'key.issued', 'key.revoked', 'webhook.created', 'webhook.changed', 'webhook.secret_rotated', 'webhook.paused', 'webhook.resumed', 'webhook.disabled', 'operation.refused']), ('event_type__regex', '^agent\\.[a-z0-9_]+(\\.[a-z0-9_]+)*$'), _connector='OR'), name='audit_events_known_event'),
                ],
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
                ('created_at', models.DateTimeField(db_comment='When the first of these requests was answered.', db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'request_receipts',
                'db_table_comment': 'Idempotency: one row per caller, endpoint and key.',
                'default_permissions': (),
                'indexes': [models.Index(fields=['created_at'], name='request_receipts_age')],
                'constraints': [models.UniqueConstraint(fields=('caller', 'endpoint', 'key'), name='request_receipts_once')],
            },
        ),
        migrations.CreateModel(
            name='CommandRun',
            fields=[
                ('command', models.TextField(db_comment='Its name.', primary_key=True, serialize=False)),
                ('finished_at', models.DateTimeField(db_comment='When it last ended, well or not.')),
                ('succeeded_at', models.DateTimeField(db_comment='When it last ended well.', null=True)),
                ('seconds', models.FloatField(db_comment='How long the last run took.')),
                ('runs', models.BigIntegerField(db_comment='How often it ran.')),
                ('failures', models.BigIntegerField(db_comment='How often it did not end well.')),
                ('done', models.JSONField(db_comment='How many of each it did, in all runs.', default=dict)),
            ],
            options={
                'db_table': 'command_runs',
                'db_table_comment': "The last run of each operators' command; read by /metrics.",
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Era',
            fields=[
                ('number', models.PositiveIntegerField(db_comment='1 for the second era.', primary_key=True, serialize=False)),
                ('after_position', models.BigIntegerField(db_comment='The last position of the era before: where the restored events end.')),
                ('began_at', models.DateTimeField(db_comment='When it was noticed.', db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'trail_eras',
                'db_table_comment': 'Where the trail was restored into a younger cluster.',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='TailReader',
            fields=[
                ('name', models.TextField(db_comment='The relay.', primary_key=True, serialize=False)),
                ('cursor', models.TextField(db_comment='Behind the last event that it told.')),
            ],
            options={
                'db_table': 'tail_readers',
                'db_table_comment': 'How far each relay has read the trail.',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Webhook',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('name', models.CharField(db_comment='What people call it.', max_length=150, unique=True)),
                ('url', models.CharField(db_comment='Where deliveries are sent.', max_length=2000)),
                ('event_types', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=150), blank=True, db_comment='Which events, as globs; empty for all.', default=list, size=None)),
                ('roles', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=150), blank=True, db_comment='Of which roles, as globs; empty for all.', default=list, size=None)),
                ('secret', models.TextField(db_comment='What deliveries are signed with, sealed.')),
                ('old_secret', models.TextField(blank=True, db_comment='The one before, sealed; it signs as well for a while.', default='')),
                ('old_secret_until', models.DateTimeField(db_comment='Until when the old secret signs as well.', null=True)),
                ('status', django_fsm.FSMField(choices=[('active', 'Active'), ('paused', 'Paused'), ('disabled', 'Disabled')], db_comment='active, paused or disabled.', default='active', max_length=50, protected=True)),
            ],
            options={
                'db_table': 'webhooks',
                'db_table_comment': 'Addresses that are told of events.',
                'ordering': ('name',),
            },
        ),
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', models.BigAutoField(db_comment='Identity.', primary_key=True, serialize=False)),
                ('event_id', models.UUIDField(db_comment='Of what; the webhook-id of every attempt.')),
                ('event_type', models.TextField(db_comment="The event's type.")),
                ('subject_id', models.UUIDField(db_comment="The event's subject, whose events go in order.")),
                ('cursor', models.TextField(db_comment='Where in the trail the event stands.')),
                ('status', models.CharField(choices=[('waiting', 'Waiting'), ('delivered', 'Delivered'), ('failed', 'Failed'), ('held', 'Held')], db_comment='waiting, delivered, failed (given up), or held while its webhook rests.', default='waiting', max_length=20)),
                ('attempts', models.PositiveSmallIntegerField(db_comment='How often it was tried.', default=0)),
                ('first_attempt_at', models.DateTimeField(db_comment='When it was first tried.', null=True)),
                ('attempted_at', models.DateTimeField(db_comment='When it was last tried.', null=True)),
                ('next_attempt_at', models.DateTimeField(db_comment='When it is tried again.', null=True)),
                ('delivered_at', models.DateTimeField(db_comment='When it arrived.', null=True)),
                ('response_status', models.PositiveSmallIntegerField(db_comment="The last answer's status.", null=True)),
                ('response', models.TextField(blank=True, db_comment='How the last answer began, or why there was none.', default='')),
                ('milliseconds', models.PositiveIntegerField(db_comment='How long it took.', null=True)),
                ('created_at', models.DateTimeField(db_comment='When it was read in the trail.', db_default=django.db.models.functions.datetime.Now())),
                ('webhook', models.ForeignKey(db_comment='For whom.', on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='audit_app.webhook')),
            ],
            options={
                'db_table': 'webhook_deliveries',
                'db_table_comment': 'What each webhook was told, and how it answered.',
                'ordering': ('-id',),
                'default_permissions': (),
                'indexes': [
                    models.Index(fields=['webhook', '-id'], name='webhook_deliveries_newest'),
                    models.Index(condition=models.Q(('status', 'delivered'), _negated=True), fields=['webhook', 'status'], name='webhook_deliveries_open'),
                    models.Index(fields=['webhook', '-delivered_at'], name='webhook_deliveries_last'),
                    models.Index(fields=['created_at'], name='webhook_deliveries_age'),
                ],
                'constraints': [models.UniqueConstraint(fields=('webhook', 'event_id'), name='webhook_deliveries_once')],
            },
        ),
        migrations.RunSQL(TABLES),
        *vacuumed_soon('audit_events', 'request_receipts'),
    ]
