# Queries over ordinary views that are kept in parts: what becomes of them when the ordinary view gets another query, name, owner, column, or goes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdViews qw(computed_whole);

start_server('viewordinary', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE other', 'SET client_min_messages = error', 'CREATE TABLE c (id int PRIMARY KEY, region text)', 'CREATE TABLE o (id int PRIMARY KEY, c int, amount int, day int)',
	q{INSERT INTO c SELECT i, 'r' || i % 3 FROM generate_series(1, 12) i}, 'INSERT INTO o SELECT i, i % 11, i * 7 % 50, i % 6 FROM generate_series(1, 80) i', 'ANALYZE');

# What a query over it shows, and in how many parts it is kept.
my (%query, %parts);
sub create
{
	my ($name, $parts, $query) = @_;
	($query{$name}, $parts{$name}) = ($query, $parts);
	execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query\$\$)");
	is(value('postgres', "SELECT count(*) FROM tapdata.view p JOIN tapdata.view v ON v.id = p.part_of WHERE v.relation = '$name'::regclass"), $parts, "$name has $parts parts");
	return;
}

sub exact
{
	my ($what, @names) = @_;
	for my $v (@names ? @names : sort keys %query)
	{
		is(try_do(psql('postgres'), "SELECT tapdata.wait_view('$v', '30 s')"), '', "$what: $v reached");
		is(rows('postgres', "SELECT * FROM tapdata.check_view('$v')"), '', '... and is exact');
		is(rows('postgres', "(SELECT v::text FROM $v v EXCEPT ALL SELECT q::text FROM ($query{$v}) q) UNION ALL (SELECT q::text FROM ($query{$v}) q EXCEPT ALL SELECT v::text FROM $v v)"), '', '... as its query is');
	}
	return;
}

sub write_some
{
	my ($n) = @_;
	execute('postgres', "UPDATE o SET amount = amount + $n WHERE id % 5 = $n % 5", "UPDATE o SET c = c + 1 WHERE id = 10 + $n", "DELETE FROM o WHERE id = 30 + $n", "INSERT INTO o VALUES (200 + $n, $n, 9, $n), (300 + $n, NULL, NULL, 2)", "UPDATE c SET region = 'r' || $n % 4 WHERE id = $n + 1");
	return;
}

sub why_failed
{
	my ($name) = @_;
	eventually(sub { value('postgres', 'SELECT status FROM tapdata.views WHERE view = ?::regclass', $name) eq 'failed' }, 30);
	return rows('postgres', "SELECT status, sqlstate, error FROM tapdata.views WHERE view = '$name'::regclass");
}

# ---- kinds of ordinary views, and what is done with them ----
execute('postgres', 'CREATE VIEW sums AS SELECT c, sum(amount) AS total FROM o GROUP BY c', 'CREATE VIEW ranked AS SELECT id, c, row_number() OVER (PARTITION BY c ORDER BY amount, id) AS nr FROM o', 'CREATE VIEW days AS SELECT day FROM o UNION SELECT id FROM c',
	'CREATE VIEW few AS SELECT DISTINCT ON (c) c, amount AS least, day FROM o ORDER BY c, amount, day', 'CREATE VIEW joined AS SELECT c.id, c.region, o.amount FROM c LEFT JOIN o ON o.c = c.id', 'CREATE VIEW both_of AS SELECT s.c, s.total, f.least FROM sums s JOIN few f ON f.c = s.c');
create('sizes', 1, 'SELECT total > 150 AS large, count(*) AS n FROM sums GROUP BY 1');
create('grand', 1, 'SELECT count(*) AS n, sum(total) AS s FROM sums');
create('regions', 1, 'SELECT coalesce(region, s.total::text) AS region, s.total > 150 AS large, count(*) AS n FROM joined j LEFT JOIN sums s ON s.c = j.id GROUP BY 1, 2');
create('nrs', 1, 'SELECT nr, count(*) AS n, max(c) AS most FROM ranked x (a, c, nr) GROUP BY nr');
create('days_of', 0, 'SELECT day % 4 AS k, array_agg(day ORDER BY day) AS days FROM days GROUP BY 1');
create('lowest', 1, 'SELECT least, count(*) AS n, min(day) AS first FROM few GROUP BY least');
create('unions', 2, 'SELECT c AS k FROM sums UNION SELECT nr FROM ranked');
create('those', 1, 'SELECT id FROM c WHERE id IN (SELECT total / 20 FROM sums)');
create('cubed', 5, 'SELECT total, c, count(*) AS n FROM sums GROUP BY CUBE (total, c)');
create('first', 1, 'SELECT total, c FROM sums ORDER BY total DESC NULLS LAST, c LIMIT 3');
create('twice', 1, 'WITH s AS (SELECT * FROM sums) SELECT a.total / 50 AS k, count(*) AS n FROM s a JOIN s b ON b.total = a.total GROUP BY 1');
create('selves', 1, 'SELECT x.total / 50 AS k, count(*) AS n FROM sums x FULL JOIN sums y (k, t) ON y.t = x.total GROUP BY 1');
create('upper', 1, 'SELECT least, count(*) AS n, sum(total) AS s FROM both_of GROUP BY least');
create('used', 1, 'SELECT total % 7 AS k, count(region) AS n FROM sums s JOIN c x (c, region) USING (c) GROUP BY 1');
create('full_using', 1, 'SELECT total % 7 AS k, count(*) AS n, count(x.region) AS m FROM sums s FULL JOIN c x (c) USING (c) LEFT JOIN LATERAL (SELECT max(day) AS day FROM o WHERE o.c = s.c) l ON l.day > 3 GROUP BY 1');
create('documents', 0, 'SELECT s.c, to_jsonb(s) AS doc, s IS NULL AS none FROM c LEFT JOIN sums s ON s.c = c.id');
exact('new');
for my $n (1 .. 3) { write_some($n); exact("changes $n") }
is(computed_whole(psql('postgres'), $_, qw(error full unknown)), '', "$_ by what has changed") for sort keys %query;

# ---- another query of the same name, with changes in the same and in the next tick ----
for my $sums ('SELECT c, sum(amount) * 2 AS total FROM o WHERE day > 0 GROUP BY c', 'SELECT c, sum(amount) AS total FROM o GROUP BY c HAVING count(*) > 1', 'SELECT o.c, sum(amount) AS total, count(region) AS named FROM o LEFT JOIN c ON c.id = o.c GROUP BY o.c',
	'SELECT c, sum(amount) AS total, min(day)::bigint AS named FROM o GROUP BY c')
{
	my $n = 4 + value('postgres', 'SELECT count(*) FROM o WHERE id >= 300');
	my $dbh = psql('postgres');
	$dbh->begin_work;
	write_some($n);
	$dbh->do("CREATE OR REPLACE VIEW sums AS $sums");
	$dbh->do('UPDATE o SET amount = amount + 1 WHERE id = 5');
	$dbh->commit;
	exact("sums AS $sums");
	write_some($n + 20);
	exact('... and goes on');
}
execute('postgres', 'CREATE OR REPLACE VIEW few AS SELECT DISTINCT ON (c) c, amount + 1 AS least, day FROM o ORDER BY c, amount DESC, day');
exact('replaced below another one', 'lowest', 'upper');

# ---- other names ----
execute('postgres', 'ALTER VIEW sums RENAME TO totals', 'ALTER VIEW totals RENAME COLUMN total TO summed', 'CREATE SCHEMA moved', 'ALTER VIEW totals SET SCHEMA moved');
$query{sizes} = 'SELECT summed > 150 AS large, count(*) AS n FROM moved.totals GROUP BY 1';
write_some(50);
exact('renamed', 'sizes');
execute('postgres', 'ALTER VIEW moved.totals SET SCHEMA public', 'ALTER VIEW totals RENAME COLUMN summed TO total', 'ALTER VIEW totals RENAME TO sums');
$query{sizes} = 'SELECT total > 150 AS large, count(*) AS n FROM sums GROUP BY 1';
exact('renamed back');

# ---- a server that is killed between the replacement and its tick ----
{
	my ($worker) = worker_pids('view');
	kill 'STOP', $worker;
	execute('postgres', 'CREATE OR REPLACE VIEW sums AS SELECT c, sum(amount + 1) AS total, 1::bigint AS named FROM o WHERE id % 3 > 0 GROUP BY c');
	write_some(60);
	kill 'KILL', $worker;
	eventually(sub { !eval { psql('postgres')->do('SELECT'); 1 } }, 60);
	TdProcs::close_all();
	ok(eventually(sub { eval { value('postgres', 'SELECT true') } }, 60), 'the server is back');
	exact('replaced before a crash');
	restart_server('immediate');
	execute('postgres', 'SET client_min_messages = error');
	write_some(61);
	exact('after another one');
}

# ---- with other keys, or what can't be kept in one piece: failed, and as before once it is what it was ----
my $sums = 'SELECT c, sum(amount) AS total, 1::bigint AS named FROM o GROUP BY c';
execute('postgres', 'CREATE OR REPLACE VIEW sums AS SELECT c, amount::bigint AS total, 1::bigint AS named FROM o');
exact('many rows of what was a key', 'sizes', 'twice');
for (['SELECT c / 2 AS c, sum(amount) AS total, 1::bigint AS named FROM o GROUP BY o.c', qr/^failed\|0A000\|views do not support/], ['SELECT c, sum(amount) OVER (ORDER BY id) AS total, 1::bigint AS named FROM o', qr/^failed\|0A000\|views do not support/])
{
	my ($other, $why) = @$_;
	execute('postgres', "CREATE OR REPLACE VIEW sums AS $other");
	like(why_failed('sizes'), $why, "failed: $other");
	write_some(70 + ($other =~ /OVER/));
	execute('postgres', "CREATE OR REPLACE VIEW sums AS $sums");
	execute('postgres', map { "SELECT tapdata.refresh_view('$_')" } sort keys %query);
	exact('revived');
}
execute('postgres', 'ALTER VIEW sums OWNER TO other');
like(why_failed('sizes'), qr/^failed\|0A000\|.*belongs to another role/, 'another owner');
execute('postgres', 'ALTER VIEW sums OWNER TO CURRENT_USER', map { "SELECT tapdata.refresh_view('$_')" } sort keys %query);
exact('its own again');
execute('postgres', 'ALTER VIEW sums SET (security_barrier)');
like(why_failed('sizes'), qr/^failed\|0A000\|.*security barrier/, 'a security barrier');
execute('postgres', 'ALTER VIEW sums RESET (security_barrier)', map { "SELECT tapdata.refresh_view('$_')" } sort keys %query);
exact('none');

# ---- a row of it as a value: the new column is in it ----
create('rows_of', 1, 'SELECT n, count(*) AS times FROM (SELECT length(to_jsonb(s)::text) AS n FROM sums s) x GROUP BY n');
execute('postgres', q{CREATE OR REPLACE VIEW sums AS SELECT c, sum(amount) AS total, 1::bigint AS named, repeat('x', c) AS more FROM o GROUP BY c});
exact('another column');

# ---- over a live view, and under the feed ----
execute('postgres', "SELECT tapdata.create_view('live', 'SELECT c, count(*) AS n FROM o GROUP BY c')", 'CREATE VIEW over_live AS SELECT n, max(c) AS most FROM live GROUP BY n');
create('of_live', 1, 'SELECT most > 5 AS high, count(*) AS n FROM over_live GROUP BY 1');
write_some(80);
exact('over a live view', 'of_live');
execute('postgres', 'CREATE OR REPLACE VIEW over_live AS SELECT n, min(c) AS most FROM live GROUP BY n');
exact('replaced over it', 'of_live');

# ---- it goes ----
like(try_do(psql('postgres'), 'DROP VIEW sums'), qr/^2BP01/, 'what a view stands on stays');
execute('postgres', 'DROP VIEW sums CASCADE');
delete @query{qw(sizes grand regions unions those cubed first twice selves full_using upper used documents rows_of)};
is(rows('postgres', q{SELECT view::text FROM tapdata.views ORDER BY 1}), join("\n", sort keys %query, 'live'), 'with CASCADE those go with it');
is(value('postgres', q{SELECT count(*) FROM tapdata.view p WHERE part_of <> 0 AND NOT EXISTS (SELECT FROM tapdata.view v WHERE v.id = p.part_of)}), 0, 'and their parts');
write_some(90);
exact('the others go on');
execute('postgres', 'DROP VIEW over_live CASCADE', map { "SELECT tapdata.drop_view('$_')" } sort(grep({ $_ ne 'of_live' } keys %query), 'live'));
is(rows('postgres', q{SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views', 'tapdata_parts')}), '', 'nothing is left behind');
finish();
done_testing();
