# wait_pipeline from many sessions at once: each gets its own answer, and none leaves a mark behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use DBD::Pg qw(:async);
use TdProcs;
use Time::HiRes qw(time);

start_server('marks');
execute('postgres', 'CREATE EXTENSION tapdata');
make_pipeline('postgres', 'p');
ok(reach('postgres', 'p', 'streaming'), 'a pipeline streams');

sub position { return value('postgres', "SELECT position FROM tapdata.pipelines WHERE name = 'p'") }

# Starts a wait in a session of its own.
sub start_wait
{
	my ($position, $timeout) = @_;
	my $dbh = psql('postgres', fresh => 1);
	my $sth = $dbh->prepare("SELECT tapdata.wait_pipeline('p', ?, ?) AS at, clock_timestamp() AS now", { pg_async => PG_ASYNC });
	$sth->execute($timeout // '20 s', $position);
	return { dbh => $dbh, sth => $sth };
}

# Its answer: '' or the error.
sub end_wait
{
	my ($wait) = @_;
	my $good = eval { $wait->{dbh}->pg_result; $wait->{row} = $wait->{sth}->fetchrow_hashref; 1 };
	my $error = $good ? '' : ($wait->{dbh}->state . ' ' . $wait->{dbh}->errstr);
	eval { $wait->{sth}->finish };
	$wait->{dbh}->disconnect;
	return $error;
}

# ---- one session ----
ok(eventually(sub { position() }), 'it has a position');
ok(value('postgres', "SELECT tapdata.wait_pipeline('p') > now() - interval '5 s'"), 'the time reached is that of the source, about now');
my $here = position();
ok(value('postgres', "SELECT tapdata.wait_pipeline('p', '5 s', ?) IS NOT NULL", $here), 'a position of the past is reached at once');
{
	my $begin = time;
	my $then = $here + 100;		# two seconds on
	ok(value('postgres', "SELECT tapdata.wait_pipeline('p', '20 s', ?) IS NOT NULL", $then), 'one of the future is reached');
	cmp_ok(position(), '>=', $then, 'when it is the past');
	like(try_do(psql('postgres'), "SELECT tapdata.wait_pipeline('p', '0.3 s', '" . ($then + 1_000_000) . "')"), qr/^\S+ .*p/, 'or the wait times out');
}

# ---- many sessions with different positions: the near ones don't wait for the far ones, nor the far ones end with the near ones ----
{
	$here = position();
	my $far = start_wait($here + 150);
	my $near = start_wait($here + 50);
	my @now = map { start_wait(undef) } 1 .. 5;
	is(join('', map { end_wait($_) } @now), '', 'those that wait for now are answered');
	cmp_ok(position(), '<', $here + 150, 'before the others');
	is(end_wait($near), '', 'the near one is answered');
	cmp_ok(position(), '<', $here + 150, 'before the far one');
	is(end_wait($far), '', 'and that');
	cmp_ok(position(), '>=', $here + 150, 'at its own position');
}

# ---- more of them than there are entries, and given up ones leave theirs ----
for my $round (1 .. 3)
{
	my @far = map { start_wait($here + 1_000_000_000 + $_) } 1 .. 8;
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'wait_pipeline' AND wait_event IS NOT NULL AND pid <> pg_backend_pid()") >= 8 }),
		"round $round: eight wait");
	select undef, undef, undef, 0.3;
	like(try_do(psql('postgres'), "SELECT tapdata.wait_pipeline('p', '5 s', '" . ($here + 2_000_000_000) . "')"), qr/^53400/, 'a ninth is refused');
	if ($round == 1) { $_->{dbh}->pg_cancel for @far }
	elsif ($round == 2) { value('postgres', 'SELECT pg_terminate_backend(?)', $_->{dbh}{pg_pid}) for @far }
	else
	{
		value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('pipeline'))[0]);
		ok(eventually(sub { position() > $here + 200 }), 'the worker was restarted meanwhile');
		value('postgres', 'SELECT pg_cancel_backend(?)', $_->{dbh}{pg_pid}) for @far;
	}
	eval { $_->{dbh}->disconnect } for @far;
	is(eventually(sub { try_do(psql('postgres'), "SELECT tapdata.wait_pipeline('p', '5 s', '" . position() . "')") eq '' }), 1, 'given up ones leave no mark');
}

# ---- a restart of the worker while somebody waits ----
{
	my $wait = start_wait(position() + 100, '30 s');
	select undef, undef, undef, 0.2;
	value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('pipeline'))[0]);
	is(end_wait($wait), '', 'a wait outlives the worker');
}
finish();
done_testing();
