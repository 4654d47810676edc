# The oracle of views: random queries over random tables under four writers with rollbacks, savepoints, long and prepared
# transactions, TRUNCATE; check_view() is empty while they write, and each view equals its query when they have stopped.
#
# TD_SEED=n repeats a run; TD_ORACLE_ROUNDS and TD_ORACLE_SECONDS make it longer (make soak).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(make_tables make_views start_churn stop_churn inexact unequal wait_views);
use Time::HiRes qw(sleep time);

my $rounds = $ENV{TD_ORACLE_ROUNDS} || 3;
my $seconds = $ENV{TD_ORACLE_SECONDS} || 8;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
start_server('oracle', 'max_prepared_transactions = 20', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata');
my $connect = sub { psql('postgres', fresh => 1) };

for my $round (1 .. $rounds)
{
	my $dbh = psql('postgres');
	my $schema = "o$round";
	make_tables($dbh, $schema);
	my @writers = start_churn($connect, $schema, 4);
	my ($views, $queries) = make_views($dbh, $schema, 12);    # created while they write
	my $again = $dbh->selectrow_array('SELECT count(*) FROM tapdata.views WHERE status = $1', undef, 'failed');
	is($again, 0, "round $round: no view failed while it was made") or diag rows('postgres', 'SELECT view, error FROM tapdata.views WHERE status = \'failed\'');
	wait_views($dbh, $schema, @$views);
	my ($until, $checks, $wrong) = (time + $seconds, 0, '');
	while (time < $until && !$wrong)
	{
		my $v = $views->[int rand @$views];
		$wrong .= eval { inexact($dbh, $schema, $v) } // "check_view: $@";
		$checks++;
	}
	is($wrong, '', "round $round: exact while writers run ($checks checks)");
	stop_churn(@writers);
	$dbh = psql('postgres');
	for (@{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') }) { $dbh->do("ROLLBACK PREPARED '$_'") }
	wait_views($dbh, $schema, @$views);
	is(inexact($dbh, $schema, @$views), '', "round $round: check_view is empty at the end");
	is(unequal($dbh, $schema, $views, $queries), '', "round $round: and so says plain SQL");
	is(rows('postgres', "SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact"), '', "round $round: all stream");
	$dbh->do("SELECT tapdata.drop_view('$schema.$_')") for reverse @$views;
	$dbh->do("DROP SCHEMA $schema CASCADE");
}
is(value('postgres', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views')}), 0,
	'dropped views leave nothing behind');
finish();
done_testing();
