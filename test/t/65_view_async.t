# Ticks while others commit without waiting for the disk (synchronous_commit = off): such a commit is seen before it is in any WAL that can be decoded.
# What a tick's snapshot sees must be flushed and decoded all the same; what it does not see need not be.  Fails where a tick goes by what happens to be flushed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(sleep time);

start_server('async', 'max_worker_processes = 32', 'wal_writer_delay = 10s', 'max_prepared_transactions = 10');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE a (id bigserial PRIMARY KEY, g int NOT NULL, v int NOT NULL)', 'CREATE TABLE apart (id bigserial PRIMARY KEY)');
my %query = (by_g => 'SELECT g, count(*) AS n, sum(v) AS s FROM a GROUP BY g', rows_of => 'SELECT id, g, v FROM a WHERE v % 3 <> 0', latest => 'SELECT g, max(id) AS id FROM a GROUP BY g');
execute('postgres', map { ("SELECT tapdata.create_view('$_', '$query{$_}')", "SELECT tapdata.wait_view('$_', '60 s')") } sort keys %query);

sub plain { return join '', map { value('postgres', "SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } sort keys %query }

# Each writes for some seconds: without waiting, waiting, with subtransactions, prepared, and WAL that is no view's affair.
sub writer
{
	my ($wait, @sql) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	my $d = psql('postgres', fresh => 1);
	my $end = time + 2.5;
	my $n = 0;
	eval {
		$d->do("SET synchronous_commit = $wait");
		while (time < $end)
		{
			$n++;
			$d->do($_ =~ s/NAME/n$$-$n/gr) for @sql;
		}
		1;
	} or diag($@);
	POSIX::_exit($@ ? 1 : 0);
}

for my $round (1 .. 3)
{
	my @pids = (writer('off', 'INSERT INTO a (g, v) VALUES (1, 1)'), writer('off', 'UPDATE a SET v = v + 1 WHERE id = (SELECT max(id) - 20 FROM a)'),
		writer('off', 'BEGIN', 'INSERT INTO a (g, v) VALUES (2, 2)', 'SAVEPOINT s', 'INSERT INTO a (g, v) VALUES (3, 3)', 'ROLLBACK TO s', 'INSERT INTO a (g, v) VALUES (4, 4)', 'COMMIT'),
		writer('off', 'INSERT INTO apart DEFAULT VALUES'),
		writer('on', 'BEGIN', 'INSERT INTO a (g, v) VALUES (5, 5)', "PREPARE TRANSACTION 'NAME'", "COMMIT PREPARED 'NAME'"),
		writer($round == 2 ? 'on' : 'off', 'DELETE FROM a WHERE id = (SELECT min(id) FROM a)'));
	is(scalar(grep { waitpid($_, 0); $? } @pids), 0, "round $round: all wrote");
	is(join('', map { try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '60 s')") } sort keys %query), '', "round $round: reached");
	is(plain(), '', "round $round: plain SQL finds nothing");
	is(join('', map { rows('postgres', "SELECT * FROM tapdata.check_view('$_', 3)") } sort keys %query), '', "round $round: nor does check_view");
}

# One that nobody flushes after it: it is seen by the tick that another commit asks for, or by the one of wait_view.
my $d = psql('postgres');
$d->do('SET synchronous_commit = off');
for my $i (1 .. 50)
{
	$d->do('INSERT INTO a (g, v) VALUES (7, 7)');
	execute('postgres', 'INSERT INTO apart DEFAULT VALUES') if $i % 3 == 0;
	sleep 0.01 if $i % 5 == 0;
}
execute('postgres', "SELECT tapdata.wait_view('by_g', '60 s')");
is(value('postgres', 'SELECT n FROM by_g WHERE g = 7'), 50, 'the last ones');
is(plain(), '', 'plain SQL finds nothing');
is(value('postgres', q{SELECT count(*) FROM tapdata.views WHERE status <> 'streaming' OR NOT exact}), 0, 'all stream');
finish();
done_testing();
