# A backlog of 200 k single-row source transactions, alternately an insert and an update of a random row of the 1 M in the
# table: start_pipeline to caught up; against PostgreSQL's own logical replication draining as many between two servers,
# ENABLE to the last one visible.  Both backlogs are made while the reader is stopped.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server maria_server drop_server pg maria turns timed rounds row wait_status catch_up connection fresh);
use Time::HiRes qw(sleep time);

my $n = 200_000;
my ($pg, $from, $my) = (pg_server('bench'), pg_server('bench-pub'), maria_server('bench'));
my ($p, $f, $m) = (pg($pg), pg($from), maria($my));
make_maria();
make_publisher();

sub make_maria
{
	# how fast the backlog is made isn't measured
	$m->do("SET GLOBAL $_") for 'sync_binlog = 0', 'innodb_flush_log_at_trx_commit = 0';
	$m->do($_) for ('CREATE DATABASE bench', 'USE bench',
		'CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(40))',
		"INSERT INTO account SELECT seq, 0, concat('account ', seq) FROM seq_1_to_1000000",
		"CREATE PROCEDURE make_backlog(first BIGINT, n INT)
		BEGIN
			DECLARE i INT DEFAULT 0;
			DECLARE hit BIGINT;
			SET autocommit = 1;
			WHILE i < n DO
				INSERT INTO account VALUES (first + i, i, 'new');
				SET hit = 1 + floor(rand() * 999999);
				UPDATE account SET balance = balance + 1, note = 'changed' WHERE id = hit;
				SET i = i + 2;
			END WHILE;
		END");
	connection($p, $my);
	$p->do(q{SELECT tapdata.mirror('src', ARRAY['account'], into_schema => 'mirrored', name => 'backlog')});
	wait_status($p, 'backlog', 'streaming');
	return;
}

sub make_publisher
{
	my $table = 'CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL, note varchar(40))';
	$f->do($_) for ($table, "INSERT INTO account SELECT i, 0, 'account ' || i FROM generate_series(1, 1000000) i",
		'CREATE PUBLICATION bench FOR TABLE account',
		"CREATE PROCEDURE make_backlog(first bigint, n int) LANGUAGE plpgsql AS \$\$
		DECLARE hit bigint;
		BEGIN
			FOR i IN 0 .. n - 1 BY 2 LOOP
				INSERT INTO account VALUES (first + i, i, 'new');
				COMMIT;
				hit := 1 + floor(random() * 999999);
				UPDATE account SET balance = balance + 1, note = 'changed' WHERE id = hit;
				COMMIT;
			END LOOP;
		END \$\$");
	$f->do('SET synchronous_commit = off');
	$p->do($table);
	$p->do("CREATE SUBSCRIPTION bench CONNECTION 'host=127.0.0.1 port=$from->{PGPORT} user=postgres password=$from->{PGPASSWORD} dbname=postgres' PUBLICATION bench");
	until ($p->selectrow_array("SELECT srsubstate = 'r' FROM pg_subscription_rel")) { sleep 0.1 }
	$p->do('ALTER SUBSCRIPTION bench DISABLE');
	return;
}

sub ours
{
	my ($round) = @_;
	my $first = 1_000_000 + $round * 1_000_000;
	$p->do(q{SELECT tapdata.stop_pipeline('backlog')});
	$m->do('CALL make_backlog(?, ?)', undef, $first, $n);
	fresh($p);
	my $t = timed(sub { $p->do(q{SELECT tapdata.start_pipeline('backlog')}); catch_up($p, 'backlog') });
	my ($new) = $p->selectrow_array('SELECT count(*) FROM mirrored.account WHERE id >= ?', undef, $first);
	my ($here) = $p->selectrow_array('SELECT sum(balance) FROM mirrored.account');
	my ($there) = $m->selectrow_array('SELECT sum(balance) FROM account');
	die "$new new rows, sums $here and $there\n" if $new != $n / 2 || $here != $there;
	return $t;
}

# The subscriber's last row, read now and then: a busy reader would take a core from it.
sub theirs
{
	my ($round) = @_;
	my $first = 1_000_000 + $round * 1_000_000;
	while ($f->selectrow_array('SELECT count(*) FROM pg_stat_replication')) { sleep 0.1 }
	$f->do('CALL make_backlog(?, ?)', undef, $first, $n);
	$f->do('INSERT INTO account VALUES (?, 0, ?)', undef, $first + $n, 'last');
	fresh($p, $f);
	my $last = $p->prepare('SELECT 1 FROM account WHERE id = ?');
	my $t = timed(sub {
		$p->do('ALTER SUBSCRIPTION bench ENABLE');
		until ($p->selectrow_array($last, undef, $first + $n)) { sleep 0.01 }
	});
	$p->do('ALTER SUBSCRIPTION bench DISABLE');
	return $t;
}

my $t = turns(rounds(5), ours => \&ours, 'logical replication' => \&theirs);
my $ratio = $t->{'logical replication'} / $t->{ours};
row('backlog of 200 k single-row source transactions, against logical replication', sprintf('%.2f of its rate', $ratio), '>= 0.8', $ratio >= 0.8,
	sprintf('ours %.2f s = %.1f k tx/s, start of the pipeline included; logical replication %.2f s = %.1f k tx/s',
		$t->{ours}, $n / $t->{ours} / 1000, $t->{'logical replication'}, $n / $t->{'logical replication'} / 1000));
$p->do('DROP SUBSCRIPTION bench');
$_->disconnect for $p, $f, $m;
drop_server(@$_) for ['pg', 'bench'], ['pg', 'bench-pub'], ['mariadb', 'bench'];
