# A new view over 10 M rows while four clients write: their TPS against that without, and the time from create_view to
# streaming against CREATE TABLE AS of the same query (under the same writers).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
use TdBench qw(pg_server drop_server pg rounds row timed fresh quiet say_now median pgbench_init pgbench_run live_view exact_view);
use Time::HiRes qw(sleep time);

my $scale = $ENV{TD_BENCH_SCALE} || 100;
my $pg = pg_server('bench', 'synchronous_commit = off', 'max_worker_processes = 16', 'shared_buffers = 2GB');
my $p = pg($pg);
pgbench_init($pg, $scale);
$p->do('CREATE EXTENSION tapdata');
my $query = 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance, min(abalance) AS least FROM pgbench_accounts GROUP BY bid';
my %take = (
	none => sub { sleep 8; return 8 },
	view => sub { return timed(sub { live_view($p, 'branch_sums', $query) }) },
	table => sub { return timed(sub { $p->do("CREATE TABLE sums AS $query") }) });

# What one thing costs and how long it takes while the four write: TPS over the time of the thing itself.
sub under_load
{
	my ($name) = @_;
	fresh($p);
	quiet();
	my $pid = fork() // die "fork: $!";
	if ($pid == 0) { setpgrp(0, 0); my ($tps) = pgbench_run($pg, $ENV{TD_BENCH_FILL_SECONDS} || 60, ''); POSIX::_exit(0) }
	sleep 3;
	my $count = sub { return pg($pg)->selectrow_array('SELECT count(*) FROM pgbench_history') };
	my ($before, $t) = ($count->(), time);
	my $took = $take{$name}->();
	my $tps = ($count->() - $before) / (time - $t);
	kill 'TERM', -$pid;    # the writers are a process group of their own
	waitpid $pid, 0;
	say_now(sprintf '%s: %.2f s, %.0f tx/s', $name, $took, $tps);
	exact_view($p, 'branch_sums') if $name eq 'view';
	$p->do(q{SELECT tapdata.drop_view('branch_sums')}) if $name eq 'view';
	$p->do('DROP TABLE IF EXISTS sums');
	return ($took, $tps);
}

my (%took, %tps);
$p->do('SELECT count(*) FROM pgbench_accounts');
for my $round (1 .. rounds(3))
{
	for my $name (qw(none view table)) { my ($took, $tps) = under_load($name); push @{ $took{$name} }, $took; push @{ $tps{$name} }, $tps }
}
my %share = map { $_ => median(@{ $tps{$_} }) / median(@{ $tps{none} }) } qw(view table);
my $time = median(@{ $took{view} }) / median(@{ $took{table} });
row('a new view over 10 M rows while 4 clients write: their TPS / without; its time / CREATE TABLE AS', sprintf('%.2f of the TPS, %.2f of the time', $share{view}, $time),
	'>= 0.8, <= 2', $share{view} >= 0.8 && $time <= 2,
	sprintf('%d rows, %.1f s to streaming; CREATE TABLE AS %.1f s and %.2f of the TPS; %.0f tx/s without', $scale * 100_000,
		median(@{ $took{view} }), median(@{ $took{table} }), $share{table}, median(@{ $tps{none} })));
$p->disconnect;
drop_server('pg', 'bench');
