# Local WAL decoded into a spool by the capture worker, against pgoutput by pg_recvlogical -f /dev/null: the same WAL, 1.43 M row
# changes with full old images (1 M updates in six transactions, 430 k deletes in one), each side from the same position.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Copy;
use TdBench qw($top pg_server drop_server pg turns timed rounds row fresh);

use constant { ROWS => 500_000, CHANGES => 1_430_000, IMAGES => 2_430_000 };

my $pg = pg_server('bench');
my $p = pg($pg);
my $library = "$pg->{TD_PG_DATA}/../td_capture_test";
system("make -s -C $top/test/unit/td_capture_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config >&2") == 0 or die "td_capture_test does not build\n";
copy("$top/test/unit/td_capture_test/td_capture_test.so", "$library.so") or die "$library.so: $!";
chmod 0755, "$library.so";
my @connect = ('-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-d', 'postgres');
system("$pg->{TD_PG_BIN}/psql", '-qX', @connect, '-v', 'ON_ERROR_STOP=1', '-v', "td_capture_test=$library", '-f', "$top/test/unit/td_capture_test/td_capture_test.sql") == 0
	or die "the test functions can't be made\n";

$p->do($_) for ('CREATE TABLE acc (aid int PRIMARY KEY, bid int, abalance int, filler char(84))', 'ALTER TABLE acc REPLICA IDENTITY FULL',
	'CREATE PUBLICATION p FOR TABLE acc', 'INSERT INTO acc SELECT g, g / 100000, 0, \'\' FROM generate_series(1, ' . ROWS . ') g', 'VACUUM ANALYZE acc');

# A reader in a session of its own; the slot is never confirmed, so each begins where the first did.
sub decode
{
	my ($wanted) = @_;
	my $s = pg($pg);
	my $images = 0;
	my $t = timed(sub {
		$s->do(q{SELECT cap.open(1001, 'cap_bench')});
		$s->do(q{SELECT cap.want(1, '{acc}', '{"1,2,3,4"}')});
		($images) = $s->selectrow_array('SELECT rows FROM cap.spool(600000)');
	});
	$s->do('SELECT cap.close()');
	$s->disconnect;
	die "$images images instead of $wanted\n" if $images != $wanted;
	select undef, undef, undef, 0.02 while $p->selectrow_array(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata capture'});
	return $t;
}

decode(0);
$p->do(q{SELECT pg_create_logical_replication_slot('base', 'pgoutput')});
$p->do('UPDATE acc SET abalance = abalance + 1');
$p->do("UPDATE acc SET abalance = abalance + 1 WHERE aid % 5 = $_") for 0 .. 4;
$p->do('DELETE FROM acc WHERE aid <= ' . (CHANGES - 2 * ROWS));
my ($end) = $p->selectrow_array('SELECT pg_current_wal_flush_lsn()');

sub pgoutput
{
	$p->do(q{SELECT pg_copy_logical_replication_slot('base', 'run')});
	my $t = timed(sub {
		system("$pg->{TD_PG_BIN}/pg_recvlogical", @connect, '--slot', 'run', '--start', '-o', 'proto_version=1', '-o', 'publication_names=p', '-E', $end,
			'-f', '/dev/null', '--no-loop') == 0 or die "pg_recvlogical failed\n";
	});
	select undef, undef, undef, 0.02 while $p->selectrow_array(q{SELECT active FROM pg_replication_slots WHERE slot_name = 'run'});
	$p->do(q{SELECT pg_drop_replication_slot('run')});
	return $t;
}

fresh($p);
my $t = turns(rounds(5), capture => sub { decode(IMAGES) }, pgoutput => \&pgoutput);
my $ratio = $t->{pgoutput} / $t->{capture};
row('decoding local WAL into the spool, against pgoutput by pg_recvlogical -f /dev/null', sprintf('%.2f of its rows/s', $ratio), '>= 1.8', $ratio >= 1.8,
	sprintf('1.43 M row changes with full old images: %.0f k/s (%.2f s, start of the worker included), pgoutput %.0f k/s (%.2f s)',
		CHANGES / $t->{capture} / 1000, $t->{capture}, CHANGES / $t->{pgoutput} / 1000, $t->{pgoutput}));
$p->disconnect;
drop_server('pg', 'bench');
