"""Tables, constraints and indexes; functions, views and triggers are in approvals_app/sql."""

import datetime
import django.db.models.deletion
import django.db.models.expressions
import django_fsm
import uuid
from pathlib import Path
from django.conf import settings
from django.db import migrations, models

from audit_app.trail.indexing import vacuumed_soon

FUNCTIONS = Path(__file__).parents[1] / 'sql/functions'
TABLES = """
-- A crash may empty it: then whoever has a page open says so again.
ALTER TABLE viewers SET UNLOGGED;

CREATE INDEX tasks_waiting_words ON tasks USING gin (tasks_words(description || ' ' || payload))
    WHERE status = 'awaiting_approval';
CREATE INDEX tasks_on_behalf_of ON tasks (upper(on_behalf_of), created_at DESC)
    WHERE on_behalf_of <> '';
"""


class Migration(migrations.Migration):

    initial = True

    # An installation that has all of these has this one, too.
    replaces = [
        ('approvals_app', '0001_initial'),
        ('approvals_app', '0002_guards'),
        ('approvals_app', '0003_judge'),
        ('approvals_app', '0004_votes'),
        ('approvals_app', '0005_quorum'),
        ('approvals_app', '0006_kept'),
        ('approvals_app', '0007_views'),
        ('approvals_app', '0008_care'),
        ('approvals_app', '0009_notices'),
        ('approvals_app', '0010_lists'),
        ('approvals_app', '0011_planned_once'),
    ]

    dependencies = [
        ('sessions_app', '0001_schema'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL((FUNCTIONS / 'tasks_words.sql').read_text()),
        migrations.CreateModel(
            name='ApprovalPolicy',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('name', models.CharField(db_comment='What people call it.', max_length=150, unique=True)),
                ('priority', models.IntegerField(db_comment='The smallest is asked first; ties by name.')),
                ('description', models.TextField(blank=True, db_comment='What it is for.')),
                ('rule', models.JSONField(db_comment='When it matches and what it says then, as in the file.')),
                ('status', django_fsm.FSMField(choices=[('active', 'Active'), ('retired', 'Retired')], db_comment='active or retired.', default='active', max_length=50, protected=True)),
            ],
            options={
                'verbose_name': 'policy',
                'verbose_name_plural': 'policies',
                'db_table': 'approval_policies',
                'db_table_comment': 'Who must approve which tasks.',
                'ordering': ('priority', 'name'),
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['active', 'retired'])), name='approval_policies_known_status')],
            },
        ),
        migrations.CreateModel(
            name='Override',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('revision', models.PositiveIntegerField(db_comment='Which revision of the task.')),
                ('payload_digest', models.CharField(db_comment='SHA-256 of its payload.', max_length=64)),
                ('reason', models.TextField(db_comment='Why, in their words.')),
                ('review_due_at', models.DateTimeField(db_comment='Until when the others are to have reviewed it; after that, no other override.')),
                ('status', django_fsm.FSMField(choices=[('open', 'Open'), ('upheld', 'Upheld'), ('condemned', 'Condemned')], db_comment='open (to be reviewed), upheld or condemned.', default='open', max_length=50, protected=True)),
                ('role', models.CharField(db_comment='The role that the task is for.', max_length=150)),
                ('trace_id', models.UUIDField(db_comment="The task's trace.", editable=False)),
                ('opened_by', models.ForeignKey(db_comment='Who broke the glass.', on_delete=django.db.models.deletion.PROTECT, related_name='overrides', to=settings.AUTH_USER_MODEL)),
                ('task', models.ForeignKey(db_comment='What was approved.', on_delete=django.db.models.deletion.PROTECT, related_name='overrides', to='sessions_app.task')),
            ],
            options={
                'db_table': 'overrides',
                'db_table_comment': 'Break glass: tasks approved by one person alone, reviewed afterwards.',
                'ordering': ('-created_at', '-id'),
                'permissions': (('break_glass', 'Can approve a task alone, in an emergency'),),
                'default_permissions': ('view',),
                'indexes': [models.Index(condition=models.Q(('status', 'open')), fields=['review_due_at'], name='overrides_open')],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('status__in', ['open', 'upheld', 'condemned'])), name='overrides_known_status'),
                    models.UniqueConstraint(fields=('task', 'revision'), name='overrides_once'),
                    models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='overrides_have_a_reason'),
                    models.CheckConstraint(condition=models.Q(('review_due_at__lte', django.db.models.expressions.CombinedExpression(models.F('created_at'), '+', models.Value(datetime.timedelta(days=90))))), name='overrides_are_reviewed_soon'),
                ],
            },
        ),
        migrations.CreateModel(
            name='SavedView',
            fields=[
                ('id', models.UUIDField(db_comment='Identity.', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(db_comment='What they call it.', max_length=60)),
                ('query', models.CharField(blank=True, db_comment="The filters, as in the page's address.", max_length=2000)),
                ('user', models.ForeignKey(db_comment='Whose it is; nobody else sees it.', db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='saved_views', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'saved_views',
                'db_table_comment': 'Names that people gave to filters of their inbox.',
                'ordering': ('name',),
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('user', 'name'), name='saved_views_once')],
            },
        ),
        migrations.CreateModel(
            name='NoticeChannel',
            fields=[
                ('id', models.UUIDField(db_comment='Identity.', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('sealed', models.TextField(db_comment='Its apprise URL, encrypted with a key made of SECRET_KEY.')),
                ('masked', models.CharField(db_comment='What is shown of it.', max_length=300)),
                ('service', models.CharField(db_comment='What it leads to, as apprise says.', max_length=100)),
                ('created_at', models.DateTimeField(auto_now_add=True, db_comment='When it was added.')),
                ('person', models.ForeignKey(db_comment='Whose it is; nobody else sees it.', on_delete=django.db.models.deletion.CASCADE, related_name='notice_channels', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'notice_channels',
                'db_table_comment': 'Where people are told, beside their e-mail.',
                'ordering': ('created_at', 'id'),
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='NoticeSettings',
            fields=[
                ('person', models.OneToOneField(db_comment='Whose they are.', on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='notice_settings', serialize=False, to=settings.AUTH_USER_MODEL)),
                ('by_email', models.BooleanField(db_comment='Whether they are told by e-mail.', default=True)),
                ('without', models.JSONField(db_comment='Of which kinds they are not told.', default=list)),
                ('time_zone', models.CharField(db_comment='In which their hours are meant.', default='UTC', max_length=64)),
                ('quiet_from', models.TimeField(db_comment='From when they are left alone.', null=True)),
                ('quiet_until', models.TimeField(db_comment='Until when they are left alone.', null=True)),
                ('urgent_at_once', models.BooleanField(db_comment='Whether what is due before they would be told is told at once.', default=True)),
                ('digest', models.CharField(choices=[('at_once', 'At once'), ('hourly', 'Every hour, together'), ('daily', 'Once a day, together')], db_comment='How much at a time.', default='at_once', max_length=7)),
                ('digest_hour', models.PositiveSmallIntegerField(db_comment='At which hour, where it is once a day.', default=8)),
            ],
            options={
                'db_table': 'notice_settings',
                'db_table_comment': 'How people want to be told of what waits for them.',
                'default_permissions': (),
                'constraints': [
                    models.CheckConstraint(condition=models.Q(models.Q(('quiet_from__isnull', True), ('quiet_until__isnull', True)), models.Q(('quiet_from__isnull', False), ('quiet_until__isnull', False)), _connector='OR'), name='notice_settings_both_ends'),
                    models.CheckConstraint(condition=models.Q(('digest_hour__lte', 23)), name='notice_settings_an_hour'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(db_comment='Identity.', primary_key=True, serialize=False)),
                ('event_id', models.UUIDField(db_comment='The event of the trail that is told.')),
                ('place', models.CharField(db_comment='Where: email:PERSON, channel:ID or shared:DIGEST:ROLE.', max_length=300)),
                ('kind', models.CharField(choices=[('work', 'New decisions for your roles'), ('reminder', 'Reminders before a deadline'), ('escalation', 'Decisions that others did not make in time'), ('break_glass', 'Break glass: what was approved alone, to be reviewed'), ('decision', 'What became of what you, or an agent of yours, asked for'), ('webhook', 'Webhooks that were paused or disabled (administrators)'), ('test', 'A test of yours')], db_comment='What kind of notice.', max_length=11)),
                ('subject_id', models.UUIDField(db_comment='An approval; of a decision the task, of a webhook itself.')),
                ('deadline_at', models.DateTimeField(db_comment='Until when something is to be done.', null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True, db_comment='When the event was read.')),
                ('due_at', models.DateTimeField(db_comment='When it is to be sent, or tried again.')),
                ('sent_at', models.DateTimeField(db_comment='When it was sent.', null=True)),
                ('dropped_at', models.DateTimeField(db_comment='When there was nothing to tell, or no place to tell it.', null=True)),
                ('given_up_at', models.DateTimeField(db_comment='When a day of trying to send it was over.', null=True)),
                ('failures', models.PositiveSmallIntegerField(db_comment='How often it could not be sent.', default=0)),
                ('failure', models.CharField(blank=True, db_comment='Why not, the last time; nothing secret.', max_length=200)),
                ('person', models.ForeignKey(db_comment='Who is told; empty where a role shares the place.', db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='notices', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'notices',
                'db_table_comment': 'Who is, and was, told of which event, and where.',
                'ordering': ('-id',),
                'default_permissions': (),
                'indexes': [
                    models.Index(condition=models.Q(('dropped_at__isnull', True), ('given_up_at__isnull', True), ('sent_at__isnull', True)), fields=['place', 'due_at'], name='notices_open'),
                    models.Index(fields=['person', '-id'], name='notices_of_one'),
                    models.Index(fields=['created_at'], name='notices_age'),
                ],
                'constraints': [
                    models.UniqueConstraint(fields=('event_id', 'place'), name='notices_once'),
                    models.CheckConstraint(condition=models.Q(('kind__in', ['work', 'reminder', 'escalation', 'break_glass', 'decision', 'webhook', 'test'])), name='notices_known_kind'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Approval',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('approver_role', models.CharField(db_comment='The group one of whose members must decide.', max_length=150)),
                ('status', django_fsm.FSMField(choices=[('pending', 'Pending'), ('approved', 'Approved'), ('rejected', 'Rejected'), ('expired', 'Expired'), ('withdrawn', 'Withdrawn')], db_comment='pending, approved, rejected, expired or withdrawn.', default='pending', max_length=50, protected=True)),
                ('reason', models.TextField(blank=True, db_comment='Why it was asked for.')),
                ('payload_digest', models.CharField(db_comment="SHA-256 of the payload that is decided on; the task's own.", max_length=64)),
                ('expires_at', models.DateTimeField(db_comment='After this nothing can be decided.')),
                ('decision_at', models.DateTimeField(db_comment='When they decided.', null=True)),
                ('notes', models.TextField(blank=True, db_comment='What they said about it.')),
                ('trace_id', models.UUIDField(db_comment="The task's trace.", editable=False)),
                ('decided_by', models.ForeignKey(db_comment='The human who decided.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to=settings.AUTH_USER_MODEL)),
                ('requested_by', models.ForeignKey(db_comment='The agent that asked for one more human; empty where policy asked.', db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='requested_approvals', to='sessions_app.agent')),
                ('task', models.ForeignKey(db_comment='The task that waits for it.', on_delete=django.db.models.deletion.PROTECT, related_name='approvals', to='sessions_app.task')),
                ('at_deadline', models.JSONField(db_comment='What happens then: whom to escalate to, step by step, and the end of it.', default=dict)),
                ('deny_threshold', models.PositiveSmallIntegerField(db_comment='How many noes, in all groups that are asked, reject the task.', default=1)),
                ('escalated_to', models.ForeignKey(db_comment='The approval that is waited for instead, since the deadline passed.', db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='escalated_from', to='approvals_app.approval')),
                ('needed', models.PositiveSmallIntegerField(db_comment='How many members of the group must say yes.', default=1)),
                ('remind_at', models.DateTimeField(db_comment='When they are reminded next.', null=True)),
                ('reminders', models.JSONField(db_comment='How many seconds before the deadline people are reminded.', default=list)),
                ('revision', models.PositiveIntegerField(db_comment='The revision of the task that is decided on.', default=1)),
                ('valid_for', models.DurationField(db_comment='How long the task may be claimed once it is approved.', null=True)),
                ('override', models.ForeignKey(db_comment='The override that this one reviews; empty where the task waits for it.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reviews', to='approvals_app.override')),
                ('look_for', models.DurationField(db_comment='How long its page must have been open before a yes.', null=True)),
                ('risk', models.CharField(choices=[('high', 'High'), ('normal', 'Normal'), ('low', 'Low')], db_comment='high, normal or low.', default='normal', max_length=6)),
                ('type_out', models.TextField(blank=True, db_comment='The member of the payload whose value a yes types out, as a path.')),
            ],
            options={
                'db_table': 'approvals',
                'db_table_comment': 'Decisions that tasks need of humans.',
                'ordering': ('-created_at', '-id'),
                'indexes': [
                    models.Index(fields=['status', '-created_at'], name='approvals_status'),
                    models.Index(fields=['-created_at', '-id'], name='approvals_created_at'),
                    models.Index(condition=models.Q(('status', 'pending')), fields=['approver_role', 'expires_at'], name='approvals_inbox'),
                    models.Index(condition=models.Q(('status', 'pending')), fields=['expires_at'], name='approvals_deadlines'),
                    models.Index(condition=models.Q(('remind_at__isnull', False), ('status', 'pending')), fields=['remind_at'], name='approvals_reminders'),
                    models.Index(fields=['approver_role', '-created_at'], name='approvals_role'),
                ],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'approved', 'rejected', 'expired', 'withdrawn'])), name='approvals_known_status'),
                    models.UniqueConstraint(condition=models.Q(('status', 'pending')), fields=('task', 'approver_role'), name='approvals_one_pending_per_role'),
                    models.CheckConstraint(condition=models.Q(('deny_threshold__gte', 1), ('needed__gte', 1)), name='approvals_need_somebody'),
                    models.CheckConstraint(condition=models.Q(models.Q(models.Q(('decision_at__lte', models.F('expires_at')), ('override__isnull', False), _connector='OR'), ('decided_by__isnull', False), ('decision_at__isnull', False), ('status__in', ['approved', 'rejected'])), models.Q(('at_deadline__then', 'approve_without_a_human'), ('decided_by__isnull', True), ('decision_at__gte', models.F('expires_at')), ('decision_at__isnull', False), ('status', 'approved')), models.Q(('decided_by__isnull', True), ('decision_at__isnull', True), ('status__in', ['pending', 'expired', 'withdrawn'])), _connector='OR'), name='approvals_decided_by_someone_in_time'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Delegation',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('starts_at', models.DateTimeField(db_comment='From when it holds.')),
                ('ends_at', models.DateTimeField(db_comment='Until when; empty: until it is ended.', null=True)),
                ('reason', models.TextField(blank=True, db_comment="Why, in the delegator's words.")),
                ('status', django_fsm.FSMField(choices=[('active', 'Active'), ('ended', 'Ended')], db_comment='active or ended.', default='active', max_length=50, protected=True)),
                ('approval', models.ForeignKey(db_comment='The one approval it is for; empty: all, from starts_at to ends_at.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='delegations', to='approvals_app.approval')),
                ('delegate', models.ForeignKey(db_comment='Who may vote in it; may not pass it on.', on_delete=django.db.models.deletion.PROTECT, related_name='stands_in', to=settings.AUTH_USER_MODEL)),
                ('delegator', models.ForeignKey(db_comment='Whose seat it is.', on_delete=django.db.models.deletion.PROTECT, related_name='delegations', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'delegations',
                'db_table_comment': 'Who may vote in whose seat.',
                'ordering': ('-created_at', '-id'),
                'default_permissions': ('view',),
                'indexes': [models.Index(condition=models.Q(('status', 'active')), fields=['delegate'], name='delegations_active')],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('status__in', ['active', 'ended'])), name='delegations_known_status'),
                    models.CheckConstraint(condition=models.Q(('delegator', models.F('delegate')), _negated=True), name='delegations_to_somebody_else'),
                    models.CheckConstraint(condition=models.Q(('ends_at__isnull', True), ('ends_at__gt', models.F('starts_at')), _connector='OR'), name='delegations_end_after_they_start'),
                    models.CheckConstraint(condition=models.Q(('approval__isnull', False), ('ends_at__isnull', False), _connector='OR'), name='delegations_are_limited'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Vote',
            fields=[
                ('id', models.UUIDField(db_comment='Identity (UUID).', default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField(db_comment="The seq of this row's last audit event; rises by one with every change.", default=0, editable=False)),
                ('created_at', models.DateTimeField(db_comment="When the row's first event was recorded.", editable=False)),
                ('updated_at', models.DateTimeField(db_comment="When the row's last event was recorded.", editable=False)),
                ('choice', models.CharField(choices=[('yes', 'Yes'), ('no', 'No'), ('changes', 'Changes')], db_comment='yes, no, or changes (they are asked for).', max_length=7)),
                ('payload_digest', models.CharField(db_comment='SHA-256 of the payload that they saw.', max_length=64)),
                ('notes', models.TextField(blank=True, db_comment='What they said about it.')),
                ('answer', models.JSONField(db_comment='Their answer, where the task is a question.', null=True)),
                ('status', django_fsm.FSMField(choices=[('cast', 'Cast'), ('withdrawn', 'Withdrawn')], db_comment='cast or withdrawn.', default='cast', max_length=50, protected=True)),
                ('role', models.CharField(db_comment='The group that was asked.', max_length=150)),
                ('trace_id', models.UUIDField(db_comment="The task's trace.", editable=False)),
                ('approval', models.ForeignKey(db_comment='What it is about.', on_delete=django.db.models.deletion.PROTECT, related_name='votes', to='approvals_app.approval')),
                ('seat_of', models.ForeignKey(db_comment='The member of the group in whose place they say it; mostly themselves.', on_delete=django.db.models.deletion.PROTECT, related_name='seats', to=settings.AUTH_USER_MODEL)),
                ('voter', models.ForeignKey(db_comment='Who says it.', db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='votes', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'votes',
                'db_table_comment': 'What people said of approvals, one row a voice.',
                'ordering': ('created_at', 'id'),
                'default_permissions': ('view',),
                'indexes': [models.Index(fields=['voter', '-created_at'], name='votes_of_one')],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('status__in', ['cast', 'withdrawn'])), name='votes_known_status'),
                    models.CheckConstraint(condition=models.Q(('choice__in', ['yes', 'no', 'changes'])), name='votes_known_choice'),
                    models.UniqueConstraint(condition=models.Q(('status', 'cast')), fields=('approval', 'voter'), name='votes_one_each'),
                    models.UniqueConstraint(condition=models.Q(('status', 'cast')), fields=('approval', 'seat_of'), name='votes_one_a_seat'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Viewer',
            fields=[
                ('id', models.BigAutoField(db_comment='Identity.', primary_key=True, serialize=False)),
                ('seen_at', models.DateTimeField(db_comment='When their page last said so.')),
                ('first_at', models.DateTimeField(db_comment='Since when, without a break of ten minutes.')),
                ('approval', models.ForeignKey(db_comment='What they look at; it may be gone.', db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='viewers', to='approvals_app.approval')),
                ('user', models.ForeignKey(db_comment='Who looks.', db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'viewers',
                'db_table_comment': 'Who looks at which approval now; unlogged, since it is soon over.',
                'default_permissions': (),
                'indexes': [models.Index(fields=['seen_at'], name='viewers_seen_at')],
                'constraints': [models.UniqueConstraint(fields=('approval', 'user'), name='viewers_once')],
            },
        ),
        migrations.RunSQL(TABLES),
        *vacuumed_soon('approvals'),
    ]
