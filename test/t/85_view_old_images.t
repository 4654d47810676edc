# Live views with {"old_images": "kept"}: their base tables keep their replica identity, a table of tapdata has the old rows.  The oracle is check_view()
# and plain SQL: after each kind of change by itself, and with random writers (keys that change, values out of line, savepoints, prepared transactions,
# TRUNCATE, partitions that come and go, workers and the server killed) over views of several kinds.
#
# TD_SEED=n repeats a run; TD_KEPT_ROUNDS makes it longer (make soak).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(start_churn stop_churn inexact unequal wait_views);
use POSIX ();
use Time::HiRes qw(sleep time);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $pg = start_server('kept', 'max_prepared_transactions = 20', 'max_worker_processes = 32', 'fsync = off');
my $kept = '{"old_images": "kept"}';
my %query;

sub create { my ($name, $query, $options) = @_; $query{$name} = $query; return try_do(psql('postgres'), "SELECT tapdata.create_view('$name', \$\$$query\$\$, '" . ($options // $kept) . "')") }
sub wait_for { my (@names) = @_; my $r = ''; $r .= try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '60 s')") for @names; return $r }
sub wrong { my (@names) = @_; return join '', map { my $v = $_; map { "$v $_\n" } grep { $_ } rows('postgres', "SELECT * FROM tapdata.check_view('$v', 3)") } @names }
sub plain { my (@names) = @_; return join '', map { value('postgres', "SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names }
# what the tables of old rows have is what the tables have
sub keepers { return map { $_->[0] } @{ psql('postgres')->selectall_arrayref("SELECT relation::regclass FROM tapdata.view WHERE keeps IS NOT NULL ORDER BY id") } }
sub kept_wrong { return join '', map { value('postgres', "SELECT count(*) FROM ((TABLE $_ EXCEPT ALL TABLE ${_}_q) UNION ALL (TABLE ${_}_q EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } keepers() }
sub exact
{
	my ($what, @names) = @_;
	@names = sort keys %query unless @names;
	is(wait_for(@names) || wrong(@names) || plain(@names) || kept_wrong(), '', $what);
	return;
}
sub executed { my ($name, $how) = @_; return value('postgres', "SELECT coalesce((SELECT n FROM tapdata.view_run WHERE view = (SELECT id FROM tapdata.view WHERE relation = ?::regclass) AND how = ?), 0)", $name, $how) }
sub identity { my ($table) = @_; return value('postgres', 'SELECT relreplident FROM pg_class WHERE oid = ?::regclass', $table) }

execute('postgres', 'CREATE EXTENSION tapdata',
	'CREATE TABLE docs (id int PRIMARY KEY, g int, v numeric, title text, doc text)', 'ALTER TABLE docs ALTER doc SET STORAGE EXTERNAL, ALTER title SET STORAGE EXTERNAL',
	q{INSERT INTO docs SELECT i, i % 10, i / 2.0, 'title ' || i, repeat(md5(i::text), 300) FROM generate_series(1, 2000) i}, 'ANALYZE docs');

# ---- one view: every kind of change ----
is(create('by_g', 'SELECT g, count(*) AS n, sum(v) AS s, max(title) AS t FROM docs GROUP BY g'), '', 'created');
is(identity('docs'), 'd', 'the replica identity stays');
exact('filled');
execute('postgres', 'UPDATE docs SET v = v + 1 WHERE id = 1');
exact('an update');
execute('postgres', q{UPDATE docs SET doc = 'x' WHERE id = 2});
exact('of a column that is not used');
execute('postgres', 'UPDATE docs SET id = 10001, g = 3 WHERE id = 3');
exact('of the key');
execute('postgres', 'DELETE FROM docs WHERE id = 4', q{INSERT INTO docs VALUES (4, 1, 1.00, 'again', 'x')});
exact('the same key again');
execute('postgres', 'BEGIN', q{INSERT INTO docs VALUES (20000, 1, 1, 'a', 'b')}, 'UPDATE docs SET g = 2 WHERE id = 20000', 'DELETE FROM docs WHERE id = 20000', 'UPDATE docs SET g = g + 1 WHERE id = 5', 'UPDATE docs SET g = g + 1 WHERE id = 5',
	'DELETE FROM docs WHERE id = 6', q{INSERT INTO docs VALUES (6, 7, 7, 'new', 'new')}, 'UPDATE docs SET id = 20001 WHERE id = 7', 'UPDATE docs SET id = 7 WHERE id = 8', 'UPDATE docs SET id = 8 WHERE id = 20001', 'COMMIT');
exact('several of the same rows in one transaction, keys that change places');
execute('postgres', q{UPDATE docs SET title = repeat('long', 3000) WHERE id BETWEEN 10 AND 20}, 'UPDATE docs SET v = 0 WHERE id BETWEEN 10 AND 20');
exact('a value out of line, and one that an update leaves alone');
ok(eventually(sub { executed((keepers())[0], 'keyed') >= 6 }), 'by keys');
is(executed((keepers())[0], 'unknown'), 0, 'nothing was unknown');
execute('postgres', 'UPDATE docs SET v = v + 1');
exact('all rows at once');
execute('postgres', 'TRUNCATE docs', q{INSERT INTO docs SELECT i, i % 10, i / 2.0, 'title ' || i, repeat(md5(i::text), 300) FROM generate_series(1, 500) i});
exact('TRUNCATE');
done_testing(), finish(), exit if $ENV{TD_KEPT_SMOKE};

done_testing();
finish();
