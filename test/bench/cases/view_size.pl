# Sizes over time: 1,000 transactions a second on tables with views of different kinds, first without and then with a reader that holds a snapshot for half of
# the time.  Looked at every second: heap and indexes of the views, of their state and of the catalog, WAL kept by the slot, the spool, memory of the workers, and the time of ticks.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
use TdBench qw(pg_server drop_server pg row quiet say_now live_view exact_view pgbench_run);
use Time::HiRes qw(sleep time);

my ($rate, $length, $accounts, $branches) = (1000, $ENV{TD_BENCH_SECONDS} || 120, 10_000, 10);
my @views = (
	[branches => 'SELECT branch, count(*) AS n, sum(balance) AS balance, max(balance) AS most FROM account GROUP BY branch'],
	[rich => 'SELECT branch, balance FROM branches WHERE balance > 0'],
	[kept => 'SELECT branch, sum(balance) AS balance FROM account GROUP BY branch', '{"changes": true, "changes_kept": "10 s"}'],
	[nameless => 'SELECT sum(balance) AS balance FROM account GROUP BY branch'],
	[first_ones => 'SELECT id, balance FROM account ORDER BY balance DESC, id LIMIT 10'],
	[joined => 'SELECT a.id, a.balance, b.name FROM account a JOIN branch b ON b.id = a.branch'],
	[bag => 'SELECT a.balance, b.name FROM account a JOIN branch b ON b.id = a.branch'],
	[outer_joined => 'SELECT a.balance, n.note FROM account a LEFT JOIN note n ON n.id = a.id']);
my $pg = pg_server('bench', 'max_worker_processes = 16', 'autovacuum_naptime = 10s');
my $p = pg($pg);
$p->do($_) for ('CREATE EXTENSION tapdata', 'CREATE TABLE account (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL)', 'CREATE INDEX ON account (balance, id)',
	"INSERT INTO account SELECT i, i % $branches, 0 FROM generate_series(1, $accounts) i", 'CREATE TABLE branch (id int PRIMARY KEY, name text NOT NULL)',
	"INSERT INTO branch SELECT i, 'branch ' || i FROM generate_series(0, $branches - 1) i", 'CREATE TABLE note (id int PRIMARY KEY, note text NOT NULL)',
	"INSERT INTO note SELECT i * 3, 'note ' || i FROM generate_series(1, $accounts / 3) i", 'VACUUM ANALYZE');
live_view($p, @$_) for @views;

my $script = "/tmp/tapdata-bench-size.$$";
open my $f, '>', $script or die "$script: $!";
print $f "\\set id random(1, $accounts)\n\\set amount random(-50, 50)\nUPDATE account SET balance = balance + :amount WHERE id = :id;\n";
close $f or die "$script: $!";

# Whose tables they are, with what class of size they have: that of what they read, that of few rows which change all the time, or that of a feed.
my %class = (map({ $_ => 'hot' } qw(branches rich kept nameless first_ones catalog)), feed => 'feed', bases => 'bases');
my $sizes = q{SELECT CASE WHEN n.nspname = 'tapdata' THEN 'catalog' WHEN c.relname ~ '_c$' THEN 'feed' WHEN n.nspname = 'public' AND v.id IS NULL THEN 'bases' ELSE coalesce(v.table_name, w.table_name) END,
		sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)), sum(pg_stat_get_dead_tuples(c.oid))
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN tapdata.view v ON v.relation = c.oid LEFT JOIN tapdata.view w ON n.nspname = 'tapdata_state' AND c.relname ~ ('^v' || w.id || '_')
	WHERE c.relkind = 'r' AND n.nspname IN ('tapdata', 'tapdata_state', 'tapdata_parts', 'public') GROUP BY 1};

sub sizes { return { map { $_->[0] => { heap => $_->[1], index => $_->[2], dead => $_->[3] } } @{ $p->selectall_arrayref($sizes) } } }

# MB by class.
sub classes
{
	my ($s) = @_;
	my %sum;
	$sum{ $class{$_} // 'rows' } += ($s->{$_}{heap} + $s->{$_}{index}) / 1048576 for keys %$s;
	return \%sum;
}

sub look
{
	my $spool = 0;
	$spool += -s $_ // 0 for glob "$pg->{TD_PG_DATA}/pgsql_tmp_tapdata/spool.*";
	my ($wal) = $p->selectrow_array('SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots');
	my ($ticks, $ms) = $p->selectrow_array('SELECT (SELECT sum(ticks) FROM tapdata.group_state), (SELECT sum(ms) FROM tapdata.view_run)');
	my %memory = map { @$_ } @{ $p->selectall_arrayref(q{SELECT kind, max(memory) FROM tapdata.workers WHERE kind IN ('view', 'capture', 'supervisor', 'launcher') GROUP BY kind}) };
	return { at => time, sizes => sizes(), spool => $spool / 1048576, wal => $wal / 1048576, ticks => $ticks, ms => $ms, memory => \%memory };
}

sub show
{
	my ($what, $l, $before) = @_;
	my $n = $l->{ticks} - $before->{ticks};
	say_now(sprintf '%s: %.1f ticks/s of %.2f ms, (%s), WAL %.0f MB, spool %.1f MB, memory %s', $what, $n / ($l->{at} - $before->{at}), $n ? ($l->{ms} - $before->{ms}) / $n : 0,
		join(', ', map { sprintf '%s %.1f+%.1f/%d', $_, $l->{sizes}{$_}{heap} / 1048576, $l->{sizes}{$_}{index} / 1048576, $l->{sizes}{$_}{dead} } sort keys %{ $l->{sizes} }),
		$l->{wal}, $l->{spool}, join(' ', map { sprintf '%s %.1f', $_, $l->{memory}{$_} / 1048576 } sort keys %{ $l->{memory} }));
	return;
}

# One phase.
sub load
{
	my ($what, $held) = @_;
	my $pid = fork() // die "fork: $!";
	if ($pid == 0) { my ($tps) = eval { pgbench_run($pg, $length, "-f $script -R $rate") }; warn $@ if $@; POSIX::_exit($tps && $tps > 0.97 * $rate ? 0 : 1) }
	my $start = time;
	my ($old, @looks);
	my %most = (wal => 0, spool => 0);
	while ((my $spent = time - $start) < $length)
	{
		if ($held && !$old && $spent > $length / 4 && $spent < $length * 3 / 4)
		{
			$old = pg($pg);
			$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
			$old->selectrow_array('SELECT count(*) FROM branches');
		}
		if ($old && $spent > $length * 3 / 4) { $old->disconnect; undef $old }
		sleep 1;
		push @looks, look();
		my $l = $looks[-1];
		my $now = classes($l->{sizes});
		for (keys %$now) { $most{$_} = $now->{$_} if $now->{$_} > ($most{$_} // 0) }
		for (qw(wal spool)) { $most{$_} = $l->{$_} if $l->{$_} > $most{$_} }
		show(sprintf('%s, %.0f s', $what, $spent), $l, $looks[-11]) if @looks > 10 && @looks % 10 == 0;
	}
	waitpid $pid, 0;
	die "the writers did not keep up\n" if $?;
	my $n = @looks;
	my $of = sub { my ($from, $to) = map { $looks[$_] } @_; return ($to->{ms} - $from->{ms}) / ($to->{at} - $from->{at}) };    # ms a second: the rate of changes is the same, how many a tick takes is not
	$most{first} = $of->(2, 2 + $n / 6);
	$most{last} = $of->(-$n / 6 - 1, -1);
	$most{memory} = { map { my $k = $_; $k => [map { $_->{memory}{$k} / 1048576 } @looks[2, $n / 2, -1]] } keys %{ $looks[0]{memory} } };
	return \%most;
}

quiet();
my $without = load('alone', 0);
my $with = load('with a reader', 1);
exact_view($p, $_->[0]) for @views;
unlink $script;
$p->do("VACUUM FULL $_") for @{ $p->selectcol_arrayref(q{SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'tapdata'::regnamespace, 'tapdata_state'::regnamespace, 'tapdata_parts'::regnamespace)}) };
my $packed = classes(sizes());

# What views of as many rows as they read grow by, against what they read; those of few rows in MB.
my ($grown, $bases) = map { my $class = $_; [map { $_->{$class} / $packed->{$class} } $without, $with] } qw(rows bases);
my $hot = $with->{hot} > $without->{hot} ? $with->{hot} : $without->{hot};
my ($ticks) = sort { $b <=> $a } map { $_->{last} / $without->{first} } $without, $with;
my ($wal) = sort { $b <=> $a } map { $_->{wal} } $without, $with;
my ($spool) = sort { $b <=> $a } map { $_->{spool} } $without, $with;
my ($memory) = sort { $b <=> $a } map { $with->{memory}{$_}[2] - $without->{memory}{$_}[0] } keys %{ $with->{memory} };
my $holds = $grown->[0] <= 1.5 * $bases->[0] && $grown->[1] <= 1.5 * $bases->[1] && $hot <= 8 && $ticks <= 3 && $wal <= 256 && $memory <= 16;
row("tables of views at 1,000 tx/s at their largest / packed, without and with a reader that stays for half of the time", sprintf('%.1f and %.1f (what they read: %.1f and %.1f); of few rows: %.1f MB; ms of ticks a second at the end / at the start: %.1f',
		@$grown, @$bases, $hot, $ticks), '<= 1.5 times what they read grows by; <= 8 MB; <= 3', $holds,
	sprintf('%d s each, %d views; packed by VACUUM FULL: views of as many rows as they read %.1f MB, of few rows, with the catalog, %.1f MB; a feed of 10 s %.1f MB at most; WAL kept %.0f MB, spool %.1f MB; the worker that grew most grew by %.1f MB (%s)',
		$length, scalar @views, $packed->{rows}, $packed->{hot}, $with->{feed}, $wal, $spool, $memory,
		join(', ', map { my $k = $_; sprintf '%s %.1f to %.1f', $k, $without->{memory}{$k}[0], $with->{memory}{$k}[2] } sort keys %{ $with->{memory} })));
$p->disconnect;
drop_server('pg', 'bench');
