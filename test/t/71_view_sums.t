# One snapshot for all views: two views over two tables whose sums are constant together; every read of both in one
# snapshot sees the constant.  Then the bank: the same through a live mirror of a real MariaDB.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(:DEFAULT servers my_connect pg_connect make_bank start_writers stop_writers start_reader stop_reader expected_total connect_source seed);
use POSIX ();
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TD_BANK_SECONDS} || 8;
diag 'seed ' . seed();
my ($pg, $my) = servers('sums', 'max_worker_processes = 32');
my $p = pg_connect($pg);
$p->do('DROP EXTENSION IF EXISTS tapdata CASCADE');
$p->do('CREATE EXTENSION tapdata');
$p->do("DROP SCHEMA IF EXISTS $_ CASCADE") for qw(bank local);

# Reads the total through `$sql` until it is stopped; counts what is not `expect`.
sub watch
{
	my ($sql, $expect) = @_;
	pipe(my $out, my $in) or die "pipe: $!";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my ($stop, $reads, $wrong, %seen) = (0, 0, 0);
		$SIG{TERM} = sub { $stop = 1 };
		my $dbh = pg_connect($pg);
		until ($stop)
		{
			my ($total, $mark) = $dbh->selectrow_array($sql);
			$reads++;
			$wrong++ if ($total // 'null') ne $expect;
			$seen{ $mark // '' } = 1;
			sleep 0.001;
		}
		syswrite $in, "$reads $wrong " . keys(%seen) . "\n";
		POSIX::_exit(0);
	}
	close $in;
	return { pid => $pid, out => $out };
}

sub verdict { my ($w) = @_; kill 'TERM', $w->{pid}; my $l = readline $w->{out}; waitpid $w->{pid}, 0; return split ' ', $l // '0 -1 0' }

# ---- local tables: money moves between two tables, within a transaction ----
$p->do($_) for ('CREATE SCHEMA local',
	'CREATE TABLE local.left_side (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL)',
	'CREATE TABLE local.right_side (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL)',
	'INSERT INTO local.left_side SELECT i, i % 10, 1000 FROM generate_series(1, 500) i', 'INSERT INTO local.right_side SELECT i, i % 10, 1000 FROM generate_series(1, 500) i');
for my $side (qw(left right))
{
	$p->do('SELECT tapdata.create_view($1, $2)', undef, "local.${side}_branches",
		"SELECT branch, sum(balance) AS total, count(*) AS accounts, max(balance) AS most FROM local.${side}_side GROUP BY branch");
	$p->do("SELECT tapdata.wait_view('local.${side}_branches')");
}
$p->do('SELECT tapdata.create_view($1, $2)', undef, 'local.grand', 'SELECT sum(total) AS total FROM local.left_branches');
$p->do(q{SELECT tapdata.wait_view('local.grand')});

my @movers;
for my $writer (1 .. 4)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my $stop = 0;
		$SIG{TERM} = sub { $stop = 1 };
		srand $$;
		my $dbh = pg_connect($pg);
		until ($stop)
		{
			my ($from, $to) = rand() < 0.5 ? qw(left right) : qw(right left);
			eval {
				$dbh->begin_work;
				$dbh->do("UPDATE local.${from}_side SET balance = balance - 7 WHERE id = ?", undef, 1 + int rand 500);
				$dbh->do("UPDATE local.${to}_side SET balance = balance + 7 WHERE id = ?", undef, 1 + int rand 500);
				rand() < 0.1 ? $dbh->rollback : $dbh->commit;
				1 } or eval { $dbh->rollback };
		}
		POSIX::_exit(0);
	}
	push @movers, $pid;
}
my $both = watch('SELECT (SELECT sum(total) FROM local.left_branches) + (SELECT sum(total) FROM local.right_branches), (SELECT sum(total) FROM local.left_branches)', 1_000_000);
my $over = watch('SELECT (SELECT sum(total) FROM local.left_branches) - (SELECT total FROM local.grand), (SELECT total FROM local.grand)', 0);
sleep $seconds;
for (['two views', $both], ['a view and the view over it', $over])
{
	my ($reads, $wrong, $seen) = verdict($_->[1]);
	is($wrong, 0, "$_->[0]: the constant in each of $reads reads");
	cmp_ok($seen, '>', 20, "$_->[0]: which saw $seen different states");
}
kill 'TERM', @movers;
waitpid $_, 0 for @movers;
$p->do("SELECT tapdata.wait_view('local.$_')") for qw(left_branches right_branches grand);
is($p->selectrow_array("SELECT count(*) FROM tapdata.check_view('local.$_')"), 0, "$_ is exact") for qw(left_branches right_branches grand);

# ---- the bank, mirrored from MariaDB and read through views ----
make_bank($my, 1000);
connect_source($p, $my, 'bank');
my @writers = start_writers($my, 4);
$p->do(q{SELECT tapdata.mirror('bank')});
$p->do(q{SELECT tapdata.wait_pipeline('bank', '120 s')});
for my $t (qw(savings giro))
{
	$p->do('SELECT tapdata.create_view($1, $2)', undef, "local.$t", "SELECT id % 7 AS part, sum(balance) AS total, count(*) AS n FROM bank.$t GROUP BY id % 7");
	$p->do("SELECT tapdata.wait_view('local.$t')");
}
my $bank = watch('SELECT (SELECT sum(total) FROM local.savings) + (SELECT sum(total) FROM local.giro), (SELECT sum(total) FROM local.giro)', expected_total());
sleep $seconds;
ok(stop_writers(@writers), 'the writers on MariaDB ended well');
my ($reads, $wrong, $seen) = verdict($bank);
is($wrong, 0, "the bank through views over its mirror: the total in each of $reads reads");
cmp_ok($seen, '>', 20, "which saw $seen different states");
$p->do(q{SELECT tapdata.wait_pipeline('bank', '60 s')});
$p->do("SELECT tapdata.wait_view('local.$_')") for qw(savings giro);
is($p->selectrow_array("SELECT count(*) FROM tapdata.check_view('local.$_')"), 0, "$_ is exact") for qw(savings giro);
my $source = my_connect($my, 'bank')->selectall_arrayref('SELECT id % 7, sum(balance), count(*) FROM savings GROUP BY 1 ORDER BY 1');
is_deeply($p->selectall_arrayref('SELECT part, total, n FROM local.savings ORDER BY 1'), $source, 'as MariaDB itself counts it');
$p->disconnect;
TdBank::drop_servers('sums');
done_testing();
