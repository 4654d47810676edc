# Local WAL decoded into a spool by the capture worker, against pgoutput by pg_recvlogical -f /dev/null: the same WAL, 1.43 M row
# changes with full old images (1 M updates in six transactions, 430 k deletes in one), each side from the same position.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg turns timed rounds row fresh decoder decode);

use constant { ROWS => 500_000, CHANGES => 1_430_000, IMAGES => 2_430_000 };

my $pg = pg_server('bench');
my $p = pg($pg);
decoder($pg);
$p->do($_) for ('CREATE TABLE acc (aid int PRIMARY KEY, bid int, abalance int, filler char(84))', 'ALTER TABLE acc REPLICA IDENTITY FULL',
	'CREATE PUBLICATION p FOR TABLE acc', 'INSERT INTO acc SELECT g, g / 100000, 0, \'\' FROM generate_series(1, ' . ROWS . ') g', 'VACUUM ANALYZE acc');

my $images = sub { return decode($pg, 'cap_bench', 'acc', '1,2,3,4', @_) };
$images->(0);
$p->do(q{SELECT pg_create_logical_replication_slot('base', 'pgoutput')});
$p->do('UPDATE acc SET abalance = abalance + 1');
$p->do("UPDATE acc SET abalance = abalance + 1 WHERE aid % 5 = $_") for 0 .. 4;
$p->do('DELETE FROM acc WHERE aid <= ' . (CHANGES - 2 * ROWS));
my ($end) = $p->selectrow_array('SELECT pg_current_wal_flush_lsn()');

sub pgoutput
{
	$p->do(q{SELECT pg_copy_logical_replication_slot('base', 'run')});
	my $t = timed(sub {
		system("$pg->{TD_PG_BIN}/pg_recvlogical", '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-d', 'postgres', '--slot', 'run', '--start', '-o', 'proto_version=1', '-o', 'publication_names=p', '-E', $end,
			'-f', '/dev/null', '--no-loop') == 0 or die "pg_recvlogical failed\n";
	});
	select undef, undef, undef, 0.02 while $p->selectrow_array(q{SELECT active FROM pg_replication_slots WHERE slot_name = 'run'});
	$p->do(q{SELECT pg_drop_replication_slot('run')});
	return $t;
}

fresh($p);
my $t = turns(rounds(5), capture => sub { $images->(IMAGES) }, pgoutput => \&pgoutput);
my $ratio = $t->{pgoutput} / $t->{capture};
row('decoding local WAL into the spool, against pgoutput by pg_recvlogical -f /dev/null', sprintf('%.2f of its rows/s', $ratio), '>= 1.8', $ratio >= 1.8,
	sprintf('1.43 M row changes with full old images: %.0f k/s (%.2f s, start of the worker included), pgoutput %.0f k/s (%.2f s)',
		CHANGES / $t->{capture} / 1000, $t->{capture}, CHANGES / $t->{pgoutput} / 1000, $t->{pgoutput}));
$p->disconnect;
drop_server('pg', 'bench');
