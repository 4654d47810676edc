# 500 source transactions a second by four writers: from the client's OK of COMMIT to the commit in PostgreSQL that shows the
# row, by track_commit_timestamp and one clock; nobody polls.  The row's id says which transaction it was.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
use TdBench qw(pg_server maria_server drop_server pg maria median rounds row wait_status catch_up connection quiet say_now);
use Time::HiRes qw(sleep time);

my ($writers, $rate, $length, $warm) = (4, 500, $ENV{TD_BENCH_SECONDS} || 20, 2);
my ($pg, $my) = (pg_server('bench'), maria_server('bench'));
my ($p, $m) = (pg($pg), maria($my));
$m->do($_) for ('CREATE DATABASE bench', 'USE bench',
	'CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL)',
	'INSERT INTO account SELECT seq, 0 FROM seq_1_to_100000',
	'CREATE TABLE moved (id BIGINT PRIMARY KEY, account INT NOT NULL, amount INT NOT NULL)');
connection($p, $my);
$p->do(q{SELECT tapdata.mirror('src', into_schema => 'mirrored', name => 'latency')});
wait_status($p, 'latency', 'streaming');

# One writer: its transactions at even distance; "id sent ok" of each to a file, times in microseconds since 1970.
sub write_paced
{
	my ($writer, $round, $start, $file) = @_;
	my $dbh = maria($my, 'bench');
	my $count = $length * $rate / $writers;
	my @update = map { $dbh->prepare($_) } 'UPDATE account SET balance = balance + ? WHERE id = ?', 'INSERT INTO moved VALUES (?, ?, ?)';
	my @seen;
	for my $i (0 .. $count - 1)
	{
		my $due = $start + ($i * $writers + $writer) / $rate;
		my $left = $due - time;
		sleep $left if $left > 0;
		my ($id, $account, $amount) = (($round * 10 + $writer) * 1_000_000 + $i, 1 + int(rand 100_000), 1 + int(rand 50));
		$dbh->begin_work;
		$update[0]->execute($amount, $account);
		$update[1]->execute($id, $account, $amount);
		my $sent = time;
		$dbh->commit;
		push @seen, sprintf "%d %.0f %.0f\n", $id, $sent * 1e6, time() * 1e6;
	}
	open my $f, '>', $file or die "$file: $!";
	print $f @seen;
	close $f or die "$file: $!";
	return;
}

sub percentile { my ($part, @sorted) = @_; return $sorted[ POSIX::ceil($part * @sorted) - 1 ] / 1000 }

# Gives [p50, p99, p50 from the moment COMMIT was sent, p99 of that, transactions a second, the longest].
sub measure
{
	my ($round) = @_;
	my (@pids, %sent, %ok);
	my $start = time + 0.2;
	for my $writer (0 .. $writers - 1)
	{
		my $pid = fork() // die "fork: $!";
		if ($pid == 0) { eval { write_paced($writer, $round, $start, "/tmp/tapdata-bench-latency.$writer") }; warn $@ if $@; POSIX::_exit($@ ? 1 : 0) }
		push @pids, $pid;
	}
	for (@pids) { waitpid $_, 0; die "a writer failed\n" if $? }
	catch_up($p, 'latency');
	for my $writer (0 .. $writers - 1)
	{
		open my $f, '<', "/tmp/tapdata-bench-latency.$writer" or die $!;
		while (<$f>) { my ($id, $s, $o) = split; $sent{$id} = $s; $ok{$id} = $o }
		unlink "/tmp/tapdata-bench-latency.$writer";
	}
	my $visible = $p->selectall_arrayref('SELECT id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM mirrored.moved WHERE id / 10000000 = ?', undef, $round);
	die "transactions are missing\n" if @$visible != keys %ok;
	my @kept = grep { $ok{ $_->[0] } >= ($start + $warm) * 1e6 } @$visible;
	my @from_ok = sort { $a <=> $b } map { $_->[1] - $ok{ $_->[0] } } @kept;
	my @from_sent = sort { $a <=> $b } map { $_->[1] - $sent{ $_->[0] } } @kept;
	my @times = sort { $a <=> $b } map { $ok{ $_->[0] } } @kept;
	my $reached = @kept / (($times[-1] - $times[0]) / 1e6);
	return [percentile(0.5, @from_ok), percentile(0.99, @from_ok), percentile(0.5, @from_sent), percentile(0.99, @from_sent), $reached, $from_ok[-1] / 1000];
}

my @found;
for my $round (1 .. rounds(5))
{
	quiet();
	push @found, measure($round);
	say_now(sprintf 'round %d: p50 %.2f ms, p99 %.2f ms; from COMMIT sent: %.2f, %.2f; %.0f tx/s; longest %.1f', $round, @{ $found[-1] });
}
my ($p50, $p99, $s50, $s99, $tps, $longest) = map { my $i = $_; median(map { $_->[$i] } @found) } 0 .. 5;
row('source commit to visible in PostgreSQL at 500 tx/s', sprintf('p50 %.1f ms, p99 %.1f ms', $p50, $p99), 'p50 <= 5 ms, p99 <= 30 ms',
	$p50 <= 5 && $p99 <= 30 && $tps >= 495,
	sprintf('from the client\'s OK, %d s at %.0f tx/s, two row changes each, the first %d s left out; longest %.1f ms; from COMMIT sent: p50 %.1f, p99 %.1f ms',
		$length, $tps, $warm, $longest, $s50, $s99));
$_->disconnect for $p, $m;
drop_server($_, 'bench') for qw(pg mariadb);
