# Rights: no user without them reads another's secrets, uses another's connection, moves another's pipeline, or gets his
# code run as somebody else through a target table; pg_monitor sees how things stand, without secrets and records.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect connect_source pipeline wait_status fails slurp apart drop_servers);
use Time::HiRes qw(sleep time);

my $secret = 'Tr0ub4dor-and-3-hunters';    # alice's password at the source, in every place where it must not be
my ($pg, $my) = servers('sec');
END { my $status = $?; drop_servers('sec'); $? = $status }
my $m = my_connect($my);
my $p = pg_connect($pg);
$p->do('CREATE EXTENSION tapdata');
$p->do("CREATE ROLE $_ LOGIN") for qw(alice mallory mon low);
$p->do('GRANT pg_monitor TO mon');
$p->do('GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO alice');
$p->do('GRANT CREATE ON DATABASE postgres TO alice');
my ($alice, $mallory, $mon, $low) = map { pg_connect($pg, $_) } qw(alice mallory mon low);

$m->do($_) for ('CREATE DATABASE shop', "CREATE USER alice_at_source IDENTIFIED BY '$secret'",
	q{GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO alice_at_source}, 'USE shop',
	'CREATE TABLE acct (id INT PRIMARY KEY, owner VARCHAR(30), balance BIGINT)', q{INSERT INTO acct VALUES (1, 'ann', 10), (2, 'bob', 20)});

# ---- where secrets may not stand ----

sub refused
{
	my ($dbh, $title, $sqlstate, $sql, @values) = @_;
	my $said = fails($dbh, $sql, @values);
	like($said, qr/^$sqlstate /, $title);
	unlike($said, qr/\Q$secret/, "$title: the error does not repeat it") if $sql =~ /\Q$secret/ || grep { /\Q$secret/ } @values;
	return $said;
}

# Literals, as a person types them.
my $address = qq("host": "127.0.0.1", "port": $my->{MYPORT}, "database": "shop");
refused($alice, 'a password among the options', '22023', qq{SELECT tapdata.create_connection('x', 'mysql', '{$address, "password": "$secret"}')});
refused($alice, 'a password in a url', '22023', qq{SELECT tapdata.create_connection('x', 'mysql', '{"host": "mysql://alice:$secret\@h/shop"}', '{"user": "a"}')});
refused($alice, 'a password in CREATE SERVER', '22023', qq{CREATE SERVER x FOREIGN DATA WRAPPER tapdata OPTIONS (connector 'mysql', password '$secret')});
refused($alice, 'a misspelt credential', '22023', qq{SELECT tapdata.create_connection('x', 'mysql', '{$address}', '{"user": "a", "pasword": "$secret"}')});
refused($alice, 'a credential that is no text', '22023', qq{SELECT tapdata.create_connection('x', 'mysql', '{$address}', '{"user": "a", "password": ["$secret"]}')});
is($p->selectrow_array(q{SELECT count(*) FROM pg_foreign_server}), 0, 'none of these left a connection');

is(fails($alice, qq{SELECT tapdata.create_connection('shop', 'mysql', '{$address}', '{"user": "alice_at_source", "password": "$secret"}')}), '', 'alice makes a connection');
my $activity = join "\n", map { join '|', map { $_ // '' } @$_ } @{ $p->selectall_arrayref('SELECT * FROM pg_stat_activity') };
unlike($activity, qr/\Q$secret/, 'pg_stat_activity does not show the statement with the password');
is(fails($alice, qq{SELECT tapdata.alter_connection('shop', '{}', '{"password": "$secret"}')}), '', 'alice changes her password');
$activity = join "\n", map { join '|', map { $_ // '' } @$_ } @{ $mon->selectall_arrayref('SELECT * FROM pg_stat_activity') };
unlike($activity, qr/\Q$secret/, 'nor the one that changes it, not even for pg_monitor');
is(fails($alice, q{SELECT tapdata.mirror('shop')}), '', 'alice mirrors');
is(fails($alice, q{SELECT tapdata.wait_pipeline('shop', '30 s')}), '', 'and it streams');

# ---- a running pipeline shows nothing ----

# All processes below the postmaster.
sub processes
{
	my ($postmaster) = split /\n/, slurp("$pg->{TD_PG_DATA}/postmaster.pid");
	my %parent;
	for my $dir (glob '/proc/[0-9]*')
	{
		my ($pid, $ppid) = slurp("$dir/stat") =~ /^(\d+) \(.*\) \S (\d+)/s or next;
		$parent{$pid} = $ppid;
	}
	my %mine = ($postmaster => 1);
	my $more = 1;
	while ($more) { $more = 0; for (keys %parent) { if (!$mine{$_} && $mine{ $parent{$_} }) { $mine{$_} = $more = 1 } } }
	return keys %mine;
}

my @pids = processes();
my ($host) = $p->selectrow_array(q{SELECT pid FROM tapdata.workers WHERE kind = 'host'});
ok((grep { $_ == $host } @pids), 'the host is among the processes looked at');
for my $file (qw(cmdline environ comm))
{
	ok(!(grep { slurp("/proc/$_/$file") =~ /\Q$secret/ } @pids), "no secret in /proc/*/$file of " . @pids . ' processes');
}
unlike(slurp("/proc/$host/environ"), qr/PGDATA|PASSWORD/i, 'the host has an environment of its own');
my @files = grep { /\Q$pg->{TD_PG_DATA}/ } map { readlink($_) // '' } glob "/proc/$host/fd/*";
is("@files", '', 'the host holds no file of the server open');
for my $t (map { $_->[0] } @{ $p->selectall_arrayref(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'tapdata'::regnamespace AND relkind IN ('r', 'v')}) })
{
	unlike(join("\n", map { $_->[0] // '' } @{ $p->selectall_arrayref("SELECT t::text FROM $t t") }), qr/\Q$secret/, "no secret in $t");
}
unlike($p->selectrow_array(q{SELECT string_agg(srvoptions::text, ' ') FROM pg_foreign_server}), qr/\Q$secret/, 'nor in the options of foreign servers');

# ---- mallory reads ----

for my $view (qw(pipelines pipeline_tables workers errors log))
{
	my $rows = $mallory->selectall_arrayref("SELECT * FROM tapdata.$view" . ($view eq 'workers' ? q{ WHERE kind NOT IN ('launcher', 'supervisor')} : ''));
	is(scalar @$rows, 0, "tapdata.$view shows mallory nothing of alice") or diag explain $rows;
	cmp_ok(scalar @{ $alice->selectall_arrayref("SELECT * FROM tapdata.$view") }, '>', 0, "tapdata.$view shows alice hers") unless $view eq 'errors';
}
for my $t (map { $_->[0] } @{ $p->selectall_arrayref(q{SELECT oid::regclass FROM pg_class WHERE relnamespace = 'tapdata'::regnamespace AND relkind = 'r'}) })
{
	refused($mallory, "mallory reads table $t", '42501', "SELECT * FROM $t");
	refused($alice, "alice writes table $t", '42501', "DELETE FROM $t");
}
is($mallory->selectrow_array(q{SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL}), 0, 'no user mapping is open to mallory');
is($mallory->selectrow_array(q{SELECT count(*) FROM information_schema.user_mapping_options WHERE option_value IS NOT NULL}), 0, 'nor in the information schema');
refused($mallory, 'pg_user_mapping itself', '42501', 'SELECT * FROM pg_user_mapping');
refused($mallory, 'the mirrored table', '42501', 'SELECT * FROM shop.acct');
ok(!$mallory->selectrow_array(q{SELECT has_schema_privilege('tapdata_state', 'CREATE') OR has_schema_privilege('tapdata', 'CREATE')}), 'mallory makes nothing in our schemas');
is_deeply($p->selectcol_arrayref(q{SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'tapdata'::regnamespace
	AND (prosecdef OR NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)) ORDER BY 1}),
	# the user's SQL is read in the user's path; the rest is computed without looking anything up
	['tapdata.create_view(text,text,jsonb,boolean)', 'tapdata.explain_query(text)', 'tapdata.numeric_place(numeric)', 'tapdata.numeric_sum(numeric,numeric)',
		'tapdata.row_hash("any")'], 'every other function of ours has a fixed search_path, and none definer\'s rights');

# ---- mallory acts ----

refused($mallory, "mallory and $_->[0]", '42501', $_->[1]) for (
	['start_pipeline', q{SELECT tapdata.start_pipeline('shop')}], ['stop_pipeline', q{SELECT tapdata.stop_pipeline('shop')}],
	['stop_pipeline by force', q{SELECT tapdata.stop_pipeline('shop', true)}], ['alter_pipeline', q{SELECT tapdata.alter_pipeline('shop', '{"writable": true}')}],
	['reset_pipeline', q{SELECT tapdata.reset_pipeline('shop')}], ['drop_pipeline', q{SELECT tapdata.drop_pipeline('shop', true)}],
	['wait_pipeline', q{SELECT tapdata.wait_pipeline('shop')}], ['alter_connection', q{SELECT tapdata.alter_connection('shop', '{"host": "127.0.0.2"}')}],
	['drop_connection', q{SELECT tapdata.drop_connection('shop', true)}], ['test_connection', q{SELECT * FROM tapdata.test_connection('shop')}],
	['discover', q{SELECT * FROM tapdata.discover('shop')}], ['peek', q{SELECT * FROM tapdata.peek('shop', 'acct')}],
	['mirror', q{SELECT tapdata.mirror('shop', name => 'mine', into_schema => 'public')}],
	['create_connection over it', qq{SELECT tapdata.create_connection('shop', 'mysql', '{$address}', or_replace => true)}],
	['ALTER SERVER', q{ALTER SERVER shop OPTIONS (SET host '127.0.0.2')}], ['CREATE USER MAPPING', q{CREATE USER MAPPING FOR mallory SERVER shop OPTIONS (user 'x')}],
	['DROP USER MAPPING', q{DROP USER MAPPING FOR alice SERVER shop}], ['adopt_database', q{SELECT tapdata.adopt_database()}]);
like(refused($mallory, 'mallory and a connection of his own', '42501', qq{SELECT tapdata.create_connection('own', 'mysql', '{$address}', '{"user": "x"}')}),
	qr/GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO mallory/, 'the hint says who allows it');
is(pipeline($p, 'shop')->{status}, 'streaming', 'alice\'s pipeline did not notice');

# With USAGE on the connection he uses his own credentials or none, never hers.
$alice->do('GRANT USAGE ON FOREIGN SERVER shop TO mallory');
my $said = fails($mallory, q{SELECT * FROM tapdata.discover('shop')});
like($said, qr/^28000 .*mallory.*HINT.*tapdata\.alter_connection\('shop'.*credentials/s, 'a connection without credentials of one\'s own');
is(fails($mallory, q{SELECT tapdata.alter_connection('shop', '{}', '{"user": "nobody", "password": "x"}')}), '', 'mallory may give his own');
refused($mallory, 'which decide', '28P01', q{SELECT * FROM tapdata.discover('shop')});
refused($mallory, 'but he may not move the connection elsewhere', '42501', q{SELECT tapdata.alter_connection('shop', '{"port": 1}')});
is(fails($alice, q{SELECT tapdata.wait_pipeline('shop', '20 s')}), '', 'alice goes on with hers');
$p->do('GRANT CREATE ON SCHEMA public TO mallory');
is(fails($mallory, qq{SELECT tapdata.alter_connection('shop', '{}', '{"user": "$my->{REPL_USER}", "password": "$my->{REPL_PASSWORD}"}')}), '', 'good ones');
is(fails($mallory, q{SELECT tapdata.mirror('shop', name => 'mallory', into_schema => 'public')}), '', 'mallory mirrors');
is(fails($mallory, q{SELECT tapdata.wait_pipeline('mallory', '30 s')}), '', 'and it streams');
is($mallory->selectrow_array('SELECT count(*) FROM public.acct'), 2, 'with the rows');
refused($alice, 'the owner of the connection does not own his pipeline', '42501', q{SELECT tapdata.stop_pipeline('mallory')});
$alice->do('REVOKE USAGE ON FOREIGN SERVER shop FROM mallory');
is(fails($mallory, q{SELECT tapdata.stop_pipeline('mallory')}), '', 'his pipeline stops');
$mallory->do(q{SELECT tapdata.start_pipeline('mallory')});
my $row = wait_status($p, 'mallory', 'failed|streaming');
is("$row->{status} $row->{sqlstate}", 'failed 42501', 'and does not start again once the right is revoked');
like($row->{hint} // '', qr/GRANT USAGE ON FOREIGN SERVER shop TO mallory/, 'with the statement that gives it back');
is(fails($mallory, q{SELECT tapdata.drop_pipeline('mallory', drop_tables => true)}), '', 'he can still drop it');

refused($alice, "a file of the server's machine: $_", '42501', qq{SELECT tapdata.alter_connection('shop', '{"$_": "/etc/passwd"}')}) for qw(ssl_ca ssl_key socket);
refused($alice, 'also by ALTER SERVER', '42501', q{ALTER SERVER shop OPTIONS (ADD ssl_ca '/etc/passwd')});

# ---- pg_monitor ----

for my $view (qw(pipelines pipeline_tables workers log))
{
	my ($n) = $mon->selectrow_array("SELECT count(*) FROM tapdata.$view");
	cmp_ok($n, '>', 0, "pg_monitor sees tapdata.$view");
	is($n, $p->selectrow_array("SELECT count(*) FROM tapdata.$view"), 'all of it') unless $view =~ /log|workers/;
	unlike(join("\n", map { $_->[0] // '' } @{ $mon->selectall_arrayref("SELECT t::text FROM tapdata.$view t") }), qr/\Q$secret/, 'and no secret');
}
$p->do(q{INSERT INTO tapdata.error_entry (pipeline, message, record) SELECT id, 'a test', '{"private": 1}' FROM tapdata.pipeline WHERE name = 'shop'});
is_deeply([map { $_->selectrow_array(q{SELECT count(*) || ' ' || count(record) FROM tapdata.errors}) } $alice, $mon, $mallory], ['1 1', '1 0', '0 0'], 'records are for owners only');
refused($mon, "pg_monitor and $_", '42501', "SELECT tapdata.$_('shop')") for qw(stop_pipeline start_pipeline drop_pipeline);
refused($mon, 'pg_monitor and a connection', '42501', q{SELECT * FROM tapdata.peek('shop', 'acct')});

# ---- whose rights write into a table ----

# What low's code has noted about itself.
sub guarded
{
	my ($title) = @_;
	is(join("\n", map { join ' | ', @$_ } @{ $p->selectall_arrayref(q{SELECT cu, did, string_agg(DISTINCT via, ', ') FROM low.seen WHERE cu <> 'low' OR did <> '' GROUP BY 1, 2}) }), '', $title);
	return;
}

refused($alice, 'users write into a mirrored table: its owner', '\w{5}', q{UPDATE shop.acct SET balance = 0});
refused($p, 'users write into a mirrored table: a superuser', '\w{5}', $_) for (q{INSERT INTO shop.acct VALUES (9)}, q{DELETE FROM shop.acct}, q{TRUNCATE shop.acct});

# alice's pipeline into a table that was given to mallory: she may not become him.
$p->do('ALTER TABLE shop.acct OWNER TO mallory');
$m->do(q{UPDATE acct SET balance = 11 WHERE id = 1});
$row = wait_status($p, 'shop', 'failed');
is("$row->{status} $row->{sqlstate}", 'failed 42501', 'a table of somebody else is not written');
like($row->{hint} // '', qr/GRANT mallory TO alice/, 'and the hint says what would allow it');
is($p->selectrow_array('SELECT balance FROM shop.acct WHERE id = 1'), 10, 'nothing was written');
$p->do('ALTER TABLE shop.acct OWNER TO alice');
$alice->do(q{SELECT tapdata.start_pipeline('shop')});
is(fails($alice, q{SELECT tapdata.wait_pipeline('shop', '20 s')}), '', 'hers again, it goes on');
is($p->selectrow_array('SELECT balance FROM shop.acct WHERE id = 1'), 11, 'with the change');

# A superuser's pipeline into a table that was given to low, who hangs code on it in every way there is.
connect_source($p, $my, 'super', { database => 'shop' });
$p->do(q{SELECT tapdata.mirror('super', into_schema => 'super')});
is(fails($p, q{SELECT tapdata.wait_pipeline('super', '30 s')}), '', 'a superuser mirrors');
$p->do($_) for ('CREATE SCHEMA low AUTHORIZATION low', 'GRANT USAGE, CREATE ON SCHEMA super TO low', 'ALTER TABLE super.acct OWNER TO low', 'GRANT CREATE ON SCHEMA public TO low');
$low->do($_) for (
	'CREATE TABLE low.seen (via text, cu text, did text)',
	q{CREATE FUNCTION low.note(via text) RETURNS boolean LANGUAGE plpgsql AS $$
		DECLARE evil text; did text := '';
		BEGIN
			FOREACH evil IN ARRAY ARRAY['RESET ROLE', 'SET ROLE postgres', 'SET LOCAL ROLE postgres', 'SET ROLE none', 'SET SESSION AUTHORIZATION DEFAULT',
				'SET SESSION AUTHORIZATION postgres', 'RESET SESSION AUTHORIZATION', 'CREATE ROLE evil SUPERUSER', 'ALTER ROLE low SUPERUSER', 'GRANT postgres TO low',
				'COPY (SELECT 1) TO PROGRAM ''true''', 'SELECT pg_catalog.pg_read_file(''postgresql.conf'')', 'SELECT * FROM pg_catalog.pg_authid',
				'UPDATE tapdata.pipeline SET owner = ''low''::regrole', 'CREATE TEMP TABLE evil (a int)', 'LISTEN evil',
				'SELECT pg_catalog.set_config(''role'', ''postgres'', false)', 'SELECT pg_catalog.set_config(''session_authorization'', ''postgres'', false)']
			LOOP
				BEGIN
					EXECUTE evil;
					did := did || evil || '; ';
				EXCEPTION WHEN OTHERS THEN NULL;
				END;
			END LOOP;
			-- PostgreSQL lets him do these; nobody may fall into them
			BEGIN PERFORM pg_catalog.set_config('search_path', 'low, public', false); EXCEPTION WHEN OTHERS THEN NULL; END;
			BEGIN
				CREATE FUNCTION pg_temp.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT low.note(''name caught'')::text';
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
			INSERT INTO low.seen VALUES (via, current_user, did);
			RETURN true;
		END $$},
	q{CREATE FUNCTION low.pure(via text, x text DEFAULT '') RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM low.note(via); RETURN true; END $$},
	q{CREATE FUNCTION low.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM low.note('trigger ' || tg_when || ' ' || tg_op || ' ' || tg_level);
		RETURN CASE WHEN tg_level = 'STATEMENT' THEN NULL WHEN tg_op = 'DELETE' THEN old ELSE new END; END $$},
	q{CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN low.note('name caught') THEN $1 END $$},
	q{ALTER TABLE super.acct ADD COLUMN d boolean DEFAULT low.note('default')},
	q{ALTER TABLE super.acct ADD COLUMN g boolean GENERATED ALWAYS AS (low.pure('generated', owner)) STORED},
	q{ALTER TABLE super.acct ADD CONSTRAINT c CHECK (low.pure('check', owner))},
	q{CREATE INDEX ON super.acct (low.pure('index', owner))},
	q{CREATE INDEX ON super.acct (balance) WHERE low.pure('predicate', owner)},
	(map { my $n = $_; map { ("CREATE TRIGGER t${n}_$_ " . ($n =~ /^b/ ? 'BEFORE' : 'AFTER') . " $_ ON super.acct FOR EACH " . ($n =~ /r$/ ? 'ROW' : 'STATEMENT') . ' EXECUTE FUNCTION low.fired()',
		"ALTER TABLE super.acct ENABLE ALWAYS TRIGGER t${n}_$_") } qw(insert update delete) } qw(br bs ar as)),
	'TRUNCATE low.seen');

$m->do($_) for (q{INSERT INTO acct VALUES (3, 'cid', 30)}, q{UPDATE acct SET balance = balance + 1}, q{UPDATE acct SET id = 4 WHERE id = 3}, q{DELETE FROM acct WHERE id = 2},
	q{INSERT INTO acct SELECT seq, 'many', seq FROM seq_100_to_1500});
$m->begin_work;
$m->do($_) for (q{INSERT INTO acct VALUES (5, 'eve', 50)}, q{UPDATE acct SET owner = 'eva' WHERE id = 5}, q{DELETE FROM acct WHERE id BETWEEN 100 AND 400});
$m->commit;
is(fails($p, q{SELECT tapdata.wait_pipeline('super', '60 s')}), '', 'the changes arrive') or diag explain pipeline($p, 'super');
is(apart($p, $m, 'shop.acct', 'super.acct', 'id, owner, balance'), '', 'both sides are equal');
my %ran = map { @$_ } @{ $p->selectall_arrayref('SELECT via, count(*) FROM low.seen GROUP BY 1') };
is($ran{'name caught'}, undef, 'no name of ours was found in his schemas');
cmp_ok($ran{$_} // 0, '>', 0, "code of the table's owner did run: $_") for qw(check generated index predicate);
diag join ', ', map { "$_ $ran{$_}" } sort keys %ran;
guarded('always as the table\'s owner, and it got nowhere');
is($p->selectrow_array(q{SELECT count(*) FROM pg_roles WHERE rolsuper}), 1, 'there is one superuser');

# Truncate, and what is put off to the end of the transaction, where nobody guards it any more.
$low->do($_) for (q{CREATE TRIGGER tt BEFORE TRUNCATE ON super.acct FOR EACH STATEMENT EXECUTE FUNCTION low.fired()}, q{ALTER TABLE super.acct ENABLE ALWAYS TRIGGER tt});
$m->do($_) for (q{TRUNCATE acct}, q{INSERT INTO acct VALUES (1, 'again', 1)});
is(fails($p, q{SELECT tapdata.wait_pipeline('super', '60 s')}), '', 'TRUNCATE arrives') or diag explain pipeline($p, 'super');
$low->do($_) for (q{CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON super.acct DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION low.fired()},
	q{ALTER TABLE super.acct ENABLE ALWAYS TRIGGER late});
$m->do(q{INSERT INTO acct VALUES (2, 'late', 2)});
$said = fails($p, q{SELECT tapdata.wait_pipeline('super', '20 s')});
ok($said eq '' || $said =~ /^42501 .*security-restricted/, 'a deferred trigger runs in its guarded place, or is refused') or diag $said;
guarded('still as the owner');
$low->do('DROP TRIGGER late ON super.acct');
$p->do(q{SELECT tapdata.start_pipeline('super')});
is(fails($p, q{SELECT tapdata.wait_pipeline('super', '20 s')}), '', 'without it the mirror goes on');

# A domain of low's, with his code in it.
$low->do($_) for (q{CREATE DOMAIN low.money AS bigint CHECK (low.pure('domain', value::text))}, q{ALTER TABLE super.acct ALTER COLUMN balance TYPE low.money}, 'TRUNCATE low.seen');
$m->do(q{INSERT INTO acct VALUES (3, 'domain', 3)});
$said = fails($p, q{SELECT tapdata.wait_pipeline('super', '20 s')});
ok($said eq '' || $said =~ /^42804 /, 'a domain is written as its owner, or refused') or diag $said;
guarded('still as the owner');
$p->do(q{SELECT tapdata.drop_pipeline('super')});

# ---- an owner whose own settings would change how his worker works ----

$p->do($_) for ('CREATE ROLE odd LOGIN', 'CREATE ROLE other', 'GRANT other TO odd', 'GRANT CREATE ON DATABASE postgres TO odd', 'GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO odd');
my $odd = pg_connect($pg, 'odd');
$odd->do("ALTER ROLE odd SET $_") for (q{default_transaction_isolation = 'serializable'}, 'default_transaction_read_only = on', 'default_transaction_deferrable = on', 'statement_timeout = 1',
	'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1', q{DateStyle = 'German, DMY'}, q{IntervalStyle = 'sql_standard'}, q{TimeZone = 'Asia/Kolkata'}, 'extra_float_digits = -15',
	q{search_path = 'odd, pg_catalog'}, 'row_security = on', q{role = 'other'}, 'client_min_messages = debug5', 'enable_indexscan = off',
	'enable_seqscan = off', 'work_mem = 64', 'temp_buffers = 100', q{bytea_output = 'escape'}, 'xmloption = document', 'transform_null_equals = on', 'array_nulls = off', 'quote_all_identifiers = on',
	'synchronous_commit = remote_apply', 'plan_cache_mode = force_generic_plan', 'check_function_bodies = off', 'standard_conforming_strings = off', 'backslash_quote = on', 'escape_string_warning = off');
$m->do($_) for ('CREATE DATABASE odd', 'USE odd', q{CREATE TABLE v (id INT PRIMARY KEY, f FLOAT, d DOUBLE, n DECIMAL(20,5), t TIMESTAMP(6) NULL, dt DATETIME(3), i TIME(6), s SET('a', 'NULL', 'c\\\\d'), b BLOB, x VARCHAR(40))},
	q{INSERT INTO v VALUES (1, 0.1, 0.30000000000000004, 1.5, '2024-02-03 04:05:06.789', '2024-02-03 04:05:06.789', '-12:34:56.789', 'a,NULL', x'00ff5c', 'a\\\\b''c')});
connect_source($odd, $my, 'odd');
is(fails($odd, q{SELECT tapdata.mirror('odd')}), '', 'an owner of strange habits mirrors');
is(fails($odd, q{SELECT tapdata.wait_pipeline('odd', '30 s')}), '', 'and it streams') or diag explain pipeline($p, 'odd');
$m->do($_) for (q{INSERT INTO v SELECT 2, f, d, n, t, dt, i, s, b, x FROM v}, q{INSERT INTO v SELECT 3, f, d, n, t, dt, i, s, b, x FROM v WHERE id = 1}, q{UPDATE v SET id = 4 WHERE id = 3}, q{DELETE FROM v WHERE id = 1});
is(fails($odd, q{SELECT tapdata.wait_pipeline('odd', '30 s')}), '', 'changes arrive') or diag explain pipeline($p, 'odd');
$p->do(q{SET TimeZone = 'UTC'});
is_deeply($p->selectall_arrayref('SELECT id, f::text, d::text, n, t, dt, i, s::text, encode(b, \'hex\'), x FROM odd.v ORDER BY id'),
	[map { [$_, '0.1', '0.30000000000000004', '1.50000', '2024-02-03 04:05:06.789+00', '2024-02-03 04:05:06.789', '-12:34:56.789', '{a,"NULL"}', '00ff5c', 'a\\b\'c'] } 2, 4], 'with the same values');
is($p->selectrow_array(q{SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'odd.v'::regclass}), 'odd', 'in his own table');
$odd->do('ALTER ROLE odd RESET ALL');
$odd->disconnect;
refused($mallory, "a setting of ours: $_", '42501', "SET $_") for (q{tapdata.connector_path = '/tmp'}, q{tapdata.connector_timeout = '1h'});
like(fails($mallory, "SET $_"), qr/^(?:42501|55P02) /, "a setting of ours: $_") for (q{tapdata.spool_directory = '/tmp'}, 'tapdata.worker_memory = 1000000', 'tapdata.enabled = off');

# ---- an owner who may not log in, or not once more ----

$p->do($_) for ('CREATE ROLE team NOLOGIN', 'GRANT team TO alice', 'GRANT CREATE ON DATABASE postgres TO team', 'GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO team');
$alice->do('SET ROLE team');
connect_source($alice, $my, 'team', { database => 'odd' });
$said = fails($alice, q{SELECT tapdata.mirror('team')});
if ($said eq '')
{
	$row = wait_status($p, 'team', 'streaming|failed', 15);
	ok($row->{status} eq 'streaming' || ($row->{status} eq 'failed' && $row->{error} =~ /owner/ && $row->{hint} =~ /LOGIN/), 'a pipeline of a group role runs, or says why it does not') or diag explain $row;
}
else { like($said, qr/team.*HINT.*LOGIN/s, 'a pipeline of a group role is refused with the reason') }
$alice->do('RESET ROLE');

# ---- the server's log, after all of this ----

my $log = slurp($pg->{TD_PG_LOG});
is(() = $log =~ /\Q$secret\E/g, 0, 'no secret in the log of the server') or diag join "\n", map { substr $_, 0, 300 } grep { /\Q$secret/ } split /\n/, $log;
unlike($log, qr/\Q$my->{REPL_PASSWORD}/, 'nor another one');
unlike($log, qr/terminated by signal|PANIC|TRAP/, 'no process of the server crashed');
$_->disconnect for $p, $m, $alice, $mallory, $mon, $low;
done_testing();
