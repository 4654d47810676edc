# 1,000 transactions a second by four writers: from the client's OK of COMMIT to the commit of the tick that shows the row in a
# view, by track_commit_timestamp and one clock; nobody polls.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
use TdBench qw(pg_server drop_server pg median rounds row quiet say_now live_view exact_view percentile);
use Time::HiRes qw(sleep time);

my ($writers, $rate, $length, $warm) = (4, 1000, $ENV{TD_BENCH_SECONDS} || 20, 2);
my $pg = pg_server('bench', 'max_worker_processes = 16');
my $p = pg($pg);
$p->do($_) for ('CREATE EXTENSION tapdata', 'CREATE TABLE account (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL)',
	'INSERT INTO account SELECT i, i % 100, 0 FROM generate_series(1, 100000) i', 'CREATE TABLE moved (id bigint PRIMARY KEY, account int NOT NULL, amount int NOT NULL)');
live_view($p, 'branch', 'SELECT branch, count(*) AS n, sum(balance) AS balance FROM account GROUP BY branch');
live_view($p, 'moved_live', 'SELECT m.id, m.amount, a.branch FROM moved m JOIN account a ON a.id = m.account');

sub write_paced
{
	my ($writer, $round, $start, $file) = @_;
	my $dbh = pg($pg);
	my @update = map { $dbh->prepare($_) } 'UPDATE account SET balance = balance + ? WHERE id = ?', 'INSERT INTO moved VALUES (?, ?, ?)';
	my @seen;
	for my $i (0 .. $length * $rate / $writers - 1)
	{
		my $left = $start + ($i * $writers + $writer) / $rate - time;
		sleep $left if $left > 0;
		my ($id, $account, $amount) = (($round * 10 + $writer) * 1_000_000 + $i, 1 + int(rand 100_000), 1 + int(rand 50));
		$dbh->begin_work;
		$update[0]->execute($amount, $account);
		$update[1]->execute($id, $account, $amount);
		$dbh->commit;
		push @seen, sprintf "%d %.0f\n", $id, time() * 1e6;
	}
	open my $f, '>', $file or die "$file: $!";
	print $f @seen;
	close $f or die "$file: $!";
	return;
}

sub measure
{
	my ($round) = @_;
	my (@pids, %ok);
	my $start = time + 0.3;
	for my $writer (0 .. $writers - 1)
	{
		my $pid = fork() // die "fork: $!";
		if ($pid == 0) { eval { write_paced($writer, $round, $start, "/tmp/tapdata-bench-view.$writer") }; warn $@ if $@; POSIX::_exit($@ ? 1 : 0) }
		push @pids, $pid;
	}
	for (@pids) { waitpid $_, 0; die "a writer failed\n" if $? }
	$p->do("SELECT tapdata.wait_view('$_')") for qw(moved_live branch);
	for my $writer (0 .. $writers - 1)
	{
		open my $f, '<', "/tmp/tapdata-bench-view.$writer" or die $!;
		while (<$f>) { my ($id, $o) = split; $ok{$id} = $o }
		unlink "/tmp/tapdata-bench-view.$writer";
	}
	my $visible = $p->selectall_arrayref('SELECT id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM moved_live WHERE id / 10000000 = ?', undef, $round);
	die "rows are missing in the view\n" if @$visible != keys %ok;
	my @kept = grep { $ok{ $_->[0] } >= ($start + $warm) * 1e6 } @$visible;
	my @late = sort { $a <=> $b } map { $_->[1] - $ok{ $_->[0] } } @kept;
	my @times = sort { $a <=> $b } map { $ok{ $_->[0] } } @kept;
	return [percentile(0.5, @late) / 1000, percentile(0.99, @late) / 1000, @kept / (($times[-1] - $times[0]) / 1e6), $late[-1] / 1000];
}

my @found;
for my $round (1 .. rounds(5))
{
	quiet();
	push @found, measure($round);
	say_now(sprintf 'round %d: p50 %.2f ms, p99 %.2f ms; %.0f tx/s; longest %.1f', $round, @{ $found[-1] });
}
exact_view($p, $_) for qw(branch moved_live);
my ($p50, $p99, $tps, $longest) = map { my $i = $_; median(map { $_->[$i] } @found) } 0 .. 3;
row('commit to visible in the view at 1,000 tx/s', sprintf('p50 %.1f ms, p99 %.1f ms', $p50, $p99), 'p50 <= 5 ms, p99 <= 30 ms', $p50 <= 5 && $p99 <= 30 && $tps >= 990,
	sprintf('from the client\'s OK to the commit of the tick, a join view and a GROUP BY view in the group, %d s at %.0f tx/s, two row changes each; longest %.1f ms', $length, $tps, $longest));
$p->disconnect;
drop_server('pg', 'bench');
