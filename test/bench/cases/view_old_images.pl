# Updates of a narrow column of rows with a document of 48 kB out of line, which does not compress: four pgbench clients that saturate the machine
# (synchronous_commit = off), with a view over the narrow columns whose old rows are logged (REPLICA IDENTITY FULL), with one whose old rows are kept, and
# without; in turns on one server.  WAL is what the server wrote, that of the view's own tables as well.  The view is exact after each turn.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row turns fresh pgbench_run live_view exact_view);

my $seconds = $ENV{TD_BENCH_SECONDS} || 15;
my $pg = pg_server('bench', 'synchronous_commit = off', 'max_worker_processes = 16');
my $p = pg($pg);
my $query = 'SELECT kind, count(*) AS n, sum(seen) AS seen FROM documents GROUP BY kind';
$p->do($_) for 'CREATE EXTENSION tapdata', 'CREATE TABLE documents (id int PRIMARY KEY, kind int NOT NULL, seen int NOT NULL, body bytea NOT NULL)', 'ALTER TABLE documents ALTER body SET STORAGE EXTERNAL',
	q{INSERT INTO documents SELECT i, i % 100, 0, (SELECT string_agg(decode(md5(i || '/' || j), 'hex'), '') FROM generate_series(1, 3072) j) FROM generate_series(1, 2000) i}, 'VACUUM ANALYZE documents';
my $script = "$pg->{PGHOST}/update.sql";
open my $f, '>', $script or die "$script: $!";
print $f "\\set id random(1, 2000)\nUPDATE documents SET seen = seen + 1 WHERE id = :id;\n";
close $f;

my (%tps, %wal);
my @sides = qw(without logged kept);
for my $round (1 .. rounds(5))
{
	for my $side ($round % 2 ? @sides : reverse @sides)
	{
		live_view($p, 'kinds', $query, qq({"old_images": "$side"})) if $side ne 'without';
		fresh($p);
		my ($from, $to);
		my $found = turns(1, $side => sub {
			($from) = $p->selectrow_array('SELECT pg_current_wal_insert_lsn()');
			my ($tps) = pgbench_run($pg, $seconds, "-f '$script'");
			$p->do(q{SELECT tapdata.wait_view('kinds', '300 s')}) if $side ne 'without';
			($to) = $p->selectrow_array('SELECT pg_current_wal_insert_lsn()');
			return $tps });
		push @{ $tps{$side} }, $found->{$side};
		push @{ $wal{$side} }, $p->selectrow_array('SELECT ($1::pg_lsn - $2::pg_lsn)::float8', undef, $to, $from) / ($found->{$side} * $seconds);
		next if $side eq 'without';
		exact_view($p, 'kinds');
		$p->do(q{SELECT tapdata.drop_view('kinds')});
	}
}
my %t = map { $_ => TdBench::median(@{ $tps{$_} }) } @sides;
my %w = map { $_ => TdBench::median(@{ $wal{$_} }) } @sides;
row('TPS of updates beside a document of 48 kB: a view whose old rows are kept / logged', sprintf('%.1f', $t{kept} / $t{logged}), '>= 2', $t{kept} / $t{logged} >= 2,
	sprintf('4 clients, %d s each, without / kept / logged: %.0f / %.0f / %.0f TPS, %.0f / %.0f / %.0f bytes of WAL for each update', $seconds, @t{qw(without kept logged)}, @w{qw(without kept logged)}));
$p->disconnect;
drop_server('pg', 'bench');
