# What a user is told, and kept from, where a live view can't go on: one cause, one call to mend it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $pg = start_server('viewmessages', 'max_worker_processes = 32', 'max_prepared_transactions = 5');
execute('postgres', 'CREATE EXTENSION tapdata', 'SET synchronous_commit = local', 'CREATE TABLE b (id int PRIMARY KEY, v int NOT NULL)', 'INSERT INTO b SELECT i, i FROM generate_series(1, 20) i');
sub create { my ($name, $query, $options) = @_; execute('postgres', sprintf q{SELECT tapdata.create_view('%s', $q$%s$q$, '%s')}, $name, $query, $options // '{}'); return }
sub exact { my ($what, @names) = @_;
	for my $v (@names)
	{
		is(try_do(psql('postgres'), "SELECT tapdata.wait_view('$v', '20 s')"), '', "$what: $v reached");
		is(value('postgres', "SELECT count(*) FROM tapdata.check_view('$v')"), 0, "$what: $v is exact");
	}
	return }
sub column { my ($column, $name) = @_; return value('postgres', "SELECT $column FROM tapdata.views WHERE view = ?::regclass", $name) // '' }
sub has_failed { my (@names) = @_;
	for my $v (@names) { ok(eventually(sub { column('status', $v) eq 'failed' }), "$v has failed") }
	return }
# What the statement is refused with, and nothing of it is done.
sub failure { my ($sql) = @_; my $dbh = psql('postgres', fresh => 1); my $r = try_do($dbh, $sql); $dbh->disconnect; return $r }

# ---- a twin is not written through, however simple it is ----
create('simple', 'SELECT id, v FROM b WHERE v > 5');
exact('new', 'simple');
execute('postgres', 'CREATE VIEW over_twin AS SELECT id, v FROM tapdata_views.simple');
for my $sql ('DELETE FROM tapdata_views.simple', 'UPDATE tapdata_views.simple SET v = v + 1', 'INSERT INTO tapdata_views.simple VALUES (100, 100)', 'DELETE FROM over_twin',
	'WITH gone AS (DELETE FROM tapdata_views.simple RETURNING *) SELECT count(*) FROM gone')
{
	like(failure($sql), qr/^55000 .*view tapdata_views\.simple can only be read/, $sql);
}
failure("SET session_replication_role = replica; DELETE FROM tapdata_views.simple; DELETE FROM over_twin; INSERT INTO tapdata_views.simple VALUES (100, 100)");
is(value('postgres', 'SELECT count(*) FROM b'), 20, 'nothing is written, nor as a replica');
like(failure('DROP TRIGGER tapdata_refuse_write ON tapdata_views.simple'), qr/^0A000/, 'what keeps it so stays');
is(value('postgres', 'SELECT count(*) FROM tapdata_views.simple'), 15, 'it is read as ever');
execute('postgres', 'DROP VIEW over_twin', q{SELECT tapdata.create_view('simple', 'SELECT id, v FROM b WHERE v > 7', or_replace => true)});
ok(eventually(sub { value('postgres', 'SELECT count(*) FROM simple') == 13 }), 'another definition');
like(failure('DELETE FROM tapdata_views.simple'), qr/^55000/, 'it is not written through either');
execute('postgres', q{SELECT tapdata.drop_view('simple')});

# ---- a failed view, and those above it: some have failed of the cause themselves ----
create('low', 'SELECT id, 10 / v AS q FROM b');
create('up', 'SELECT q, count(*) AS n FROM low GROUP BY q');
create('top', 'SELECT n, count(*) AS m FROM up GROUP BY n');
create('up_part', 'SELECT l.id, l.q, (SELECT sum(10 / v) FROM b) AS s FROM low l');
create('up_kept', 'SELECT l.id, l.q, b.v FROM low l JOIN b ON b.id = l.id', '{"old_images": "kept"}');
exact('new', qw(low up top up_part up_kept));
execute('postgres', 'UPDATE b SET v = 0 WHERE id = 3');
has_failed(qw(low up top up_part up_kept));
like(column('hint', $_), qr/public\.low.*refresh_view\('public\.low'\)/, "$_: the hint names the view that has to be mended") for qw(up top);
execute('postgres', 'UPDATE b SET v = 3 WHERE id = 3', q{SELECT tapdata.refresh_view('low')});
exact('one call revives all', qw(low up top up_part up_kept));
execute('postgres', 'UPDATE b SET v = 0 WHERE id = 3');
has_failed(qw(low up top up_part up_kept));
execute('postgres', 'UPDATE b SET v = 3 WHERE id = 3', q{SELECT tapdata.refresh_view(view) FROM tapdata.views WHERE status = 'failed'});
exact('and so does the call for all that have failed', qw(low up top up_part up_kept));

# ---- a base table stays logged ----
execute('postgres', 'CREATE TABLE p (id int, v int) PARTITION BY RANGE (id)', 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)');
create('of_p', 'SELECT v, count(*) AS n FROM p GROUP BY v');
like(failure('ALTER TABLE b SET UNLOGGED'), qr/^2BP01 .*table "b" must stay logged.*public\.low.*public\.up_part.*drop_view\('public\.low'\)/s, 'SET UNLOGGED is refused, with the views');
like(failure('ALTER TABLE p1 SET UNLOGGED'), qr/^2BP01 .*of_p/s, 'of a partition, too');
is(failure('CREATE TABLE alone (id int); ALTER TABLE alone SET UNLOGGED; ALTER TABLE alone SET LOGGED'), '', 'other tables go either way');
exact('they go on', qw(low of_p));

finish();
done_testing();
