"""Tables, constraints and indexes; functions, views and triggers are in sessions_app/sql."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django_fsm
import uuid
from django.conf import settings
from django.db import migrations, models

from audit_app.trail.indexing import vacuumed_soon

TABLES = """
ALTER TABLE tasks ADD CONSTRAINT tasks_payload_is_its_columns CHECK (
    payload::jsonb = jsonb_build_object('context', context, 'data', data,
        'description', description, 'from_role', from_role, 'task_type', task_type,
        'to_role', to_role)
);
"""


class Migration(migrations.Migration):

    initial = True

    # An installation that has all of these has this one, too.
    replaces = [
        ('sessions_app', '0001_initial'),
        ('sessions_app', '0002_guards'),
        ('sessions_app', '0003_judge'),
        ('sessions_app', '0004_revisions'),
        ('sessions_app', '0005_revised'),
        ('sessions_app', '0006_no_digest_key'),
        ('sessions_app', '0007_written'),
        ('sessions_app', '0008_lists'),
        ('sessions_app', '0009_identities'),
    ]

    dependencies = [
        ('audit_app', '0001_schema'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Agent',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('name', models.CharField(db_comment='What people call it.', max_length=150, unique=True)),
                ('roles', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=150), db_comment='The roles it works in; the first is the one it speaks as by default.', size=None)),
                ('subject', models.CharField(blank=True, db_comment='The sub claim of its OIDC tokens, where it uses them.', max_length=255, null=True, unique=True)),
                ('status', django_fsm.FSMField(choices=[('active', 'Active'), ('revoked', 'Revoked')], db_comment='active or revoked.', default='active', max_length=50, protected=True)),
                ('owner', models.ForeignKey(blank=True, db_comment="The person who answers for it, and so can't approve its tasks.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='agents', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'agents',
                'db_table_comment': 'Programs that act here.',
                'ordering': ('name',),
                'constraints': [models.CheckConstraint(condition=models.Q(('roles__len__gt', 0)), name='agents_have_a_role')],
            },
        ),
        migrations.CreateModel(
            name='AgentKey',
            fields=[
                ('id', models.UUIDField(db_comment='Identity.', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('prefix', models.CharField(db_comment='The first characters, to tell keys apart.', editable=False, max_length=16)),
                ('hash', models.CharField(db_comment='SHA-256 of the whole key.', editable=False, max_length=64, unique=True)),
                ('created_at', models.DateTimeField(auto_now_add=True, db_comment='When it was issued.')),
                ('last_used_at', models.DateTimeField(db_comment='When it was last accepted, to the minute.', editable=False, null=True)),
                ('revoked_at', models.DateTimeField(db_comment='From when it is refused; may lie ahead.', editable=False, null=True)),
                ('agent', models.ForeignKey(db_comment='Whose key it is.', on_delete=django.db.models.deletion.PROTECT, related_name='keys', to='sessions_app.agent')),
            ],
            options={
                'verbose_name': 'API key',
                'db_table': 'agent_keys',
                'db_table_comment': 'API keys of agents, hashed.',
                'ordering': ('-created_at',),
            },
        ),
        migrations.CreateModel(
            name='AgentSession',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('role', models.CharField(db_comment='The role the agent works in.', max_length=150)),
                ('task_id', models.CharField(blank=True, db_comment="What the session works on: a task of ours, or a reference of the agent's.", max_length=255, null=True)),
                ('status', django_fsm.FSMField(choices=[('pending', 'Pending'), ('active', 'Active'), ('completed', 'Completed'), ('failed', 'Failed'), ('expired', 'Expired')], db_comment='pending, active, completed, failed or expired.', default='pending', max_length=50, protected=True)),
                ('metadata', models.JSONField(blank=True, db_comment="The agent's own notes, merged as RFC 7396 says.", default=dict)),
                ('trace_id', models.UUIDField(db_comment='The trace it was opened in.', editable=False)),
                ('agent', models.ForeignKey(db_comment='Whose session it is.', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='sessions', to='sessions_app.agent')),
            ],
            options={
                'verbose_name': 'session',
                'db_table': 'sessions',
                'db_table_comment': "Runs of agents' work.",
                'ordering': ('-created_at', '-id'),
                'indexes': [
                    models.Index(fields=['task_id'], name='sessions_task_id'),
                    models.Index(fields=['status', '-created_at'], name='sessions_status'),
                    models.Index(fields=['-created_at', '-id'], name='sessions_created_at'),
                    models.Index(fields=['agent', '-created_at'], name='sessions_agent_newest'),
                    models.Index(condition=models.Q(('status__in', ['pending', 'active'])), fields=['updated_at'], name='sessions_open_by_age'),
                    models.Index(fields=['agent', 'status', '-created_at'], name='sessions_agent_status'),
                    models.Index(fields=['role', '-created_at'], name='sessions_role'),
                ],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'active', 'completed', 'failed', 'expired'])), name='sessions_known_status')],
            },
        ),
        migrations.CreateModel(
            name='Task',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('task_type', models.CharField(db_comment='What kind of task it is.', max_length=150)),
                ('description', models.TextField(blank=True, db_comment="The agent's own words.")),
                ('from_role', models.CharField(db_comment='The role that asks.', max_length=150)),
                ('to_role', models.CharField(db_comment='The role that is asked.', max_length=150)),
                ('data', models.JSONField(db_comment='What is to be done, as JSON.')),
                ('context', models.JSONField(db_comment='What surrounds it, as JSON.')),
                ('payload', models.TextField(db_comment='The RFC 8785 text of what was asked.')),
                ('payload_digest', models.GeneratedField(db_comment='SHA-256 of payload: what a human approves.', db_persist=True, expression=models.Func(models.F('payload'), function='audit_sha256'), output_field=models.CharField(max_length=64))),
                ('revision', models.PositiveIntegerField(db_comment='Counts changes of the payload.', default=1)),
                ('trace_id', models.UUIDField(db_comment='The work that it is part of.')),
                ('idempotency_key', models.CharField(db_comment="The caller's key: one task per key, however often it is sent.", max_length=255)),
                ('status', django_fsm.FSMField(choices=[('awaiting_approval', 'Awaiting Approval'), ('approved', 'Approved'), ('rejected', 'Rejected'), ('expired', 'Expired'), ('cancelled', 'Cancelled'), ('claimed', 'Claimed'), ('completed', 'Completed'), ('failed', 'Failed')], db_comment='awaiting_approval, approved, rejected, expired, cancelled, claimed, completed or failed.', max_length=50, protected=True)),
                ('lease_expires_at', models.DateTimeField(db_comment='Until when the claim holds; after that it can be claimed again.', null=True)),
                ('result', models.JSONField(db_comment='What the executing agent reported.', null=True)),
                ('error', models.JSONField(db_comment="Why it failed, in the executing agent's words.", null=True)),
                ('agent', models.ForeignKey(db_comment='Who routed it.', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='sessions_app.agent')),
                ('claimed_by', models.ForeignKey(db_comment='The agent that executes it.', db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='claims', to='sessions_app.agent')),
                ('claimed_session', models.ForeignKey(db_comment='The session that executes it.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='claims', to='sessions_app.agentsession')),
                ('session', models.ForeignKey(db_comment='The session that it was routed from.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='sessions_app.agentsession')),
                ('approved_until', models.DateTimeField(db_comment="After this the humans' approval can't be used any more.", null=True)),
                ('consumed_by', models.ForeignKey(db_comment="The agent whose claim used up the humans' approval; nobody else can claim.", db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='consumed', to='sessions_app.agent')),
                ('edited_by', models.ForeignKey(db_comment="Who wrote the present revision, where a human did; they can't approve it.", db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='edits', to=settings.AUTH_USER_MODEL)),
                ('on_behalf_of', models.CharField(blank=True, db_comment="The person whom the agent asks for, by username or e-mail; can't approve it.", max_length=254)),
                ('policy', models.CharField(blank=True, db_comment='The policy that said so; empty where none matched.', max_length=150)),
                ('policy_version', models.PositiveIntegerField(db_comment='Which version of it: the seq of its audit event.', null=True)),
                ('verdict', models.CharField(blank=True, choices=[('approve', 'approve'), ('require', 'require'), ('refuse', 'refuse')], db_comment='What was said of the present revision: approve, require or refuse.', max_length=7)),
                ('why', models.TextField(blank=True, db_comment='Why the policy said so, in words.')),
            ],
            options={
                'db_table': 'tasks',
                'db_table_comment': 'What agents ask of roles.',
                'ordering': ('-created_at', '-id'),
                'indexes': [
                    models.Index(fields=['trace_id'], name='tasks_trace_id'),
                    models.Index(fields=['-created_at', '-id'], name='tasks_created_at'),
                    models.Index(fields=['to_role', 'status', '-created_at'], name='tasks_inbox'),
                    models.Index(fields=['agent', '-created_at'], name='tasks_routed_by'),
                    models.Index(condition=models.Q(('status', 'claimed')), fields=['lease_expires_at'], name='tasks_leases'),
                    models.Index(condition=models.Q(('approved_until__isnull', False), ('status', 'approved')), fields=['approved_until'], name='tasks_approved_until'),
                    models.Index(fields=['to_role', '-created_at'], name='tasks_to_role'),
                    models.Index(fields=['from_role', '-created_at'], name='tasks_from_role'),
                    models.Index(fields=['status', '-created_at'], name='tasks_status'),
                    models.Index(fields=['task_type', '-created_at'], name='tasks_type'),
                ],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('status__in', ['awaiting_approval', 'approved', 'rejected', 'expired', 'cancelled', 'claimed', 'completed', 'failed'])), name='tasks_known_status'),
                    models.CheckConstraint(condition=models.Q(models.Q(('status', 'claimed'), _negated=True), models.Q(('claimed_by__isnull', False), ('lease_expires_at__isnull', False)), _connector='OR'), name='tasks_claimed_with_a_lease'),
                    models.CheckConstraint(condition=models.Q(('verdict__in', ['approve', 'require', 'refuse', ''])), name='tasks_known_verdict'),
                    models.UniqueConstraint(fields=('idempotency_key', 'agent'), name='tasks_once_per_key'),
                ],
            },
        ),
        migrations.CreateModel(
            name='TaskRevision',
            fields=[
                ('id', models.UUIDField(db_comment='Identity.', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField(db_comment='Which revision of the task.')),
                ('payload', models.TextField(db_comment='The RFC 8785 text of what was asked.')),
                ('payload_digest', models.GeneratedField(db_comment='SHA-256 of payload.', db_persist=True, expression=models.Func(models.F('payload'), function='audit_sha256'), output_field=models.CharField(max_length=64))),
                ('replaced_at', models.DateTimeField(auto_now_add=True, db_comment='When the next one came.')),
                ('edited_by', models.ForeignKey(db_comment='Who wrote it, where a human did.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('task', models.ForeignKey(db_comment='Whose payload it was.', on_delete=django.db.models.deletion.PROTECT, related_name='revisions', to='sessions_app.task')),
            ],
            options={
                'db_table': 'task_revisions',
                'db_table_comment': 'Payloads that tasks had before they were revised.',
                'ordering': ('number',),
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('task', 'number'), name='task_revisions_once')],
            },
        ),
        migrations.RunSQL(TABLES),
        *vacuumed_soon('sessions', 'tasks'),
    ]
