# DDL at the source: TRUNCATE is applied; anything else on a mirrored table stops the pipeline at its GTID, with the
# statement, after everything before it is applied; on other tables it is harmless.  Cascading foreign keys are refused.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect connect_source pipeline wait_status fails slurp apart drop_servers);

my ($pg, $my) = servers('ddl');
END { my $status = $?; drop_servers('ddl'); $? = $status }
my ($m, $p) = (my_connect($my), pg_connect($pg));
$p->do('CREATE EXTENSION tapdata');
my $number = 0;

# A streaming mirror of tables t (keyed), u (without a key) and v; `aside` is left out.
sub begin
{
	my $db = 'ddl' . ++$number;
	$m->do($_) for ("CREATE DATABASE $db", "USE $db", 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))', 'CREATE TABLE u (a INT, b VARCHAR(20))',
		'CREATE TABLE `from` (id INT PRIMARY KEY)', 'CREATE TABLE aside (id INT PRIMARY KEY)', q{INSERT INTO t VALUES (1, 'one'), (2, 'two')}, q{INSERT INTO u VALUES (1, 'x'), (1, 'x')}, 'INSERT INTO `from` VALUES (1)');
	connect_source($p, $my, $db);
	$p->do(q{SELECT tapdata.mirror($1, except_tables => '{aside*}')}, undef, $db);
	is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', "$db streams") or diag explain pipeline($p, $db);
	return $db;
}

sub equal
{
	my ($db, $title) = @_;
	is(join('', apart($p, $m, "$db.t", "$db.t", 'id, v'), apart($p, $m, "$db.u", "$db.u", 'a, b')), '', $title);
	return;
}

sub finish { my ($db) = @_; $p->do('SELECT tapdata.drop_pipeline($1, drop_tables => true)', undef, $db); $m->do("DROP DATABASE IF EXISTS $db"); return }

# ---- TRUNCATE ----

my $db = begin();
$m->do($_) for (q{INSERT INTO t VALUES (3, 'three')}, 'TRUNCATE TABLE t', q{INSERT INTO t VALUES (1, 'new'), (9, 'nine')}, 'TRUNCATE u', q{INSERT INTO u VALUES (5, 'y')}, q{UPDATE t SET v = 'newer' WHERE id = 1});
is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'TRUNCATE arrives') or diag explain pipeline($p, $db);
equal($db, 'TRUNCATE is applied in its place');
$m->do($_) for ("TRUNCATE $db.t", '/* a comment */ TRUNCATE TABLE `u`', 'TRUNCATE aside', q{INSERT INTO aside VALUES (1)});
is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'in other words') or diag explain pipeline($p, $db);
equal($db, 'both are empty');
is($p->selectrow_array("SELECT count(*) FROM $db.t"), 0, 'really');

# ---- DDL that does not matter ----

$m->do($_) for ('CREATE TABLE aside2 (id INT)', 'ALTER TABLE aside ADD COLUMN v INT', 'RENAME TABLE aside2 TO aside3', 'DROP TABLE aside3', 'CREATE VIEW seen AS SELECT * FROM t', 'DROP VIEW seen',
	'CREATE INDEX aside_v ON aside (v)', 'ANALYZE TABLE t', 'OPTIMIZE TABLE aside', 'CREATE TEMPORARY TABLE tmp LIKE t', 'ALTER TABLE tmp ADD COLUMN more INT', 'DROP TEMPORARY TABLE tmp',
	'CREATE TABLE IF NOT EXISTS t (id INT)', 'CREATE DATABASE elsewhere', 'CREATE TABLE elsewhere.t (id INT)', 'ALTER TABLE elsewhere.t ADD COLUMN v INT', 'DROP DATABASE elsewhere',
	'CREATE USER passer_by', 'GRANT SELECT ON *.* TO passer_by', 'DROP USER passer_by', 'CREATE PROCEDURE pr() SELECT 1', 'DROP PROCEDURE pr', 'FLUSH TABLES', 'FLUSH BINARY LOGS',
	q{CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.v = upper(NEW.v)}, q{INSERT INTO t VALUES (20, 'by trigger')}, 'DROP TRIGGER tr');
is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'DDL on other tables is harmless') or diag explain pipeline($p, $db);
is(pipeline($p, $db)->{status}, 'streaming', 'the mirror streams on');
equal($db, 'and is equal');
finish($db);

# ---- DDL that does ----

for my $case (
	['ALTER TABLE t ADD COLUMN w INT DEFAULT 5'], ['ALTER TABLE t DROP COLUMN v', columns => 'id'], ['ALTER TABLE t MODIFY v VARCHAR(200) NOT NULL'], ['ALTER TABLE t CHANGE v w VARCHAR(20)', columns => 'id'],
	['/*!40000 ALTER TABLE */ `t` ADD COLUMN w INT'], ['CREATE UNIQUE INDEX one_v ON t (v)', harmless => 1], ['DROP TABLE t', gone => 1, logged => qr/DROP TABLE `t`/], ['DROP TABLE aside, `t`', gone => 1, logged => qr/DROP TABLE `aside`,`t`/],
	['RENAME TABLE t TO aside_t', gone => 1], ['RENAME TABLE aside TO t2, `t` TO aside_t', gone => 1], ['ALTER TABLE t RENAME aside_t', gone => 1], ['CREATE OR REPLACE TABLE t (id INT PRIMARY KEY)', columns => 'id'],
	['ALTER TABLE u ADD PRIMARY KEY (a)'], ['SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE t ADD COLUMN w INT'], ['ALTER TABLE aside RENAME TO aside4, ADD COLUMN x INT', harmless => 1],
	['ALTER TABLE `from` ADD COLUMN w INT'], ['ALTER ONLINE TABLE t ADD COLUMN w INT FIRST, ALGORITHM=INSTANT'], ['DROP DATABASE ddl%', gone => 1])
{
	my ($sql, %c) = @$case;
	next if $ENV{TD_CASE} && $sql !~ /$ENV{TD_CASE}/;
	subtest $sql => sub {
		my $db = begin();
		$sql =~ s/ddl%/$db/;
		$m->do(q{INSERT INTO u VALUES (7, 'z')}) unless $sql =~ /PRIMARY KEY \(a\)/;
		$m->do('DELETE FROM u') if $sql =~ /PRIMARY KEY \(a\)/;
		$m->do(q{INSERT INTO t VALUES (10, 'before'), (11, 'as well')});
		my $rows_t = $m->selectall_arrayref('SELECT id, v FROM t ORDER BY id');
		my $rows_u = $m->selectall_arrayref('SELECT a, b FROM u ORDER BY a, b');
		my ($at) = $m->selectrow_array('SELECT @@gtid_binlog_pos');
		$m->do($sql);
		my ($gtid) = $m->selectrow_array('SELECT @@gtid_binlog_pos');
		if ($c{harmless})
		{
			$m->do(q{INSERT INTO t VALUES (12, 'after')});
			is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'does not stop it') or diag explain pipeline($p, $db);
			equal($db, 'equal');
			return finish($db);
		}
		$m->do(q{INSERT IGNORE INTO t (id) VALUES (12)}) unless $c{gone};
		my $row = wait_status($p, $db, 'failed');
		is("$row->{status} " . ($row->{sqlstate} // ''), 'failed 0A000', 'stops') or diag explain $row;
		like($row->{hint} // '', qr/tapdata\.(?:reset|drop)_pipeline/, 'with a hint');
		is($row->{position}, $at, 'at the transaction before it');
		my $said = join ' ', map { $_ // '' } $p->selectrow_array(q{SELECT message, detail FROM tapdata.log WHERE object = $1 AND level = 'error' ORDER BY at DESC LIMIT 1}, undef, $db);
		like($said, $c{logged} || qr/\Q$sql\E/, 'names the statement');
		like($said, qr/\Q$gtid\E/, 'and its GTID');
		like(fails($p, q{SELECT tapdata.wait_pipeline($1, '10 s')}, $db), qr/^0A000 .*/s, 'wait_pipeline says so');
		is_deeply($p->selectall_arrayref("SELECT id, v FROM $db.t ORDER BY id"), $rows_t, 'everything before it is applied, nothing after');
		is_deeply($p->selectall_arrayref("SELECT a, b FROM $db.u ORDER BY a, b"), $rows_u, 'in the other table too');
		is(pipeline($p, $db)->{position}, $at, 'and stays there');

		# The same after a restart, then the way out.
		$p->do('SELECT tapdata.start_pipeline($1)', undef, $db);
		$row = wait_status($p, $db, 'failed');
		is($row->{sqlstate}, $sql =~ /DATABASE/ ? '3D000' : '0A000', 'started again, it stops again');
		if (!$c{gone})
		{
			$p->do('SELECT tapdata.stop_pipeline($1)', undef, $db);
			$p->do('SELECT tapdata.reset_pipeline($1)', undef, $db);
			$p->do(q{SELECT tapdata.alter_pipeline($1, '{"existing": "drop_table"}')}, undef, $db);
			$p->do('SELECT tapdata.start_pipeline($1)', undef, $db);
			is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'loaded again, it streams') or diag explain pipeline($p, $db);
			is(apart($p, $m, "$db.t", "$db.t", $c{columns} || 'id, v'), '', 'and is equal, in the new form');
		}
		finish($db);
	};
}

# DDL while the first load runs is one of those as well.
subtest 'DDL between the load and its end' => sub {
	my $db = 'ddl' . ++$number;
	$m->do($_) for ("CREATE DATABASE $db", "USE $db", 'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))', q{INSERT INTO t SELECT seq, 'x' FROM seq_1_to_300000});
	connect_source($p, $my, $db, { chunk_rows => 100 });
	$p->do(q{SELECT tapdata.mirror($1)}, undef, $db);
	wait_status($p, $db, 'snapshot');
	$m->do('ALTER TABLE t ADD COLUMN w INT DEFAULT 7');
	$m->do(q{INSERT INTO t VALUES (0, 'y', 8)});
	my $row = wait_status($p, $db, 'failed|streaming', 60);
	ok($row->{status} eq 'failed' && $row->{sqlstate} =~ /^(?:0A000|40001|55000)$/ && $row->{hint}, 'stops, with a hint') or diag explain $row;
	is($p->selectrow_array(q{SELECT to_regclass($1)}, undef, "$db.t"), undef, 'nothing half is published');
	$p->do('SELECT tapdata.stop_pipeline($1)', undef, $db);
	$p->do('SELECT tapdata.reset_pipeline($1)', undef, $db);
	$p->do('SELECT tapdata.start_pipeline($1)', undef, $db);
	is(fails($p, q{SELECT tapdata.wait_pipeline($1, '60 s')}, $db), '', 'loaded again, it streams');
	is(join(' ', $p->selectrow_array("SELECT count(*), sum(w) FROM $db.t")), '300001 2100008', 'in the new form');
	finish($db);
} if !$ENV{TD_CASE} || "between" =~ /$ENV{TD_CASE}/;

# ---- cascading foreign keys ----

for my $rule ('ON DELETE CASCADE', 'ON UPDATE CASCADE', 'ON DELETE SET NULL')
{
	next if $ENV{TD_CASE} && $rule !~ /$ENV{TD_CASE}/;
	my $db = 'ddl' . ++$number;
	$m->do($_) for ("CREATE DATABASE $db", "USE $db", 'CREATE TABLE parent (id INT PRIMARY KEY)', "CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT up FOREIGN KEY (p) REFERENCES parent (id) $rule)",
		'INSERT INTO parent VALUES (1), (2)', 'INSERT INTO child VALUES (1, 1), (2, 2)');
	connect_source($p, $my, $db);
	$p->do(q{SELECT tapdata.mirror($1)}, undef, $db);
	my $row = wait_status($p, $db, 'failed|streaming');
	is("$row->{status} " . ($row->{sqlstate} // ''), 'failed 0A000', "$rule is refused");
	like($row->{error} // '', qr/"$db\.(?:child|parent)" has a cascading foreign key/, 'by name');
	like($row->{hint} // '', qr/"cascades": "ignore"/, 'with the way round it');
	$p->do('SELECT tapdata.stop_pipeline($1)', undef, $db);
	$p->do(q{SELECT tapdata.alter_connection($1, '{"cascades": "ignore"}')}, undef, $db);
	$p->do('SELECT tapdata.start_pipeline($1)', undef, $db);
	is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'which is taken');
	is(apart($p, $m, "$db.child", "$db.child", 'id, p'), '', 'and loads the tables');
	finish($db);
}

# One that restricts is fine.
if (!$ENV{TD_CASE})
{
	$db = 'ddl' . ++$number;
	$m->do($_) for ("CREATE DATABASE $db", "USE $db", 'CREATE TABLE parent (id INT PRIMARY KEY)', 'CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE RESTRICT)',
		'INSERT INTO parent VALUES (1)', 'INSERT INTO child VALUES (1, 1)');
	connect_source($p, $my, $db);
	$p->do(q{SELECT tapdata.mirror($1)}, undef, $db);
	is(fails($p, q{SELECT tapdata.wait_pipeline($1, '30 s')}, $db), '', 'a foreign key that restricts is fine');
	$m->do('DROP TABLE child');
	is(wait_status($p, $db, 'failed')->{sqlstate}, '0A000', 'until its table is dropped');
	finish($db);
}
$_->disconnect for $p, $m;
done_testing();
