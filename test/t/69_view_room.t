# A change that fits into what a view worker may use of tapdata.worker_memory is not written to a file on its way, neither into the spool nor as a delta; one that does not is.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $rows = 25_000;    # 48 bytes of messages for each of its two images: 2.4 MB, of a sixth of 16 MB; in memory less than 4.8 MB, of a half
start_server('room', 'max_worker_processes = 32', 'tapdata.worker_memory = 16MB');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE t (id int PRIMARY KEY, g int, v int)', 'CREATE TABLE u (g int, v int)',
	"INSERT INTO t SELECT i, i % 10, 0 FROM generate_series(1, 4 * $rows) i",
	q{SELECT tapdata.create_view('sums', 'SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g')}, q{SELECT tapdata.create_view('others', 'SELECT g, max(v) AS m FROM u GROUP BY g')});
execute('postgres', map { "SELECT tapdata.wait_view('$_', '60 s')" } qw(sums others));

# Bytes that the view worker gave the system to write while this was taken in: asked as the server's own user, who may read that wherever this runs.
sub written { my ($pid) = worker_pids('view'); return value('postgres', "SELECT substring(pg_read_file('/proc/$pid/io') FROM 'wchar: ([0-9]+)')::bigint") }
sub writes
{
	my (@sql) = @_;
	my $before = written();
	execute('postgres', 'BEGIN', @sql, 'COMMIT', q{SELECT tapdata.wait_view('sums', '60 s')});
	my $n = written() - $before;
	is(join('', map { rows('postgres', "SELECT * FROM tapdata.check_view('$_')") } qw(sums others)), '', 'exact');
	return $n;
}

writes("UPDATE t SET v = v + 1 WHERE id <= $rows") for 1 .. 2;
my $n = writes("UPDATE t SET v = v + 1 WHERE id <= $rows");
cmp_ok($n, '<', 400_000, "what fits stays in memory ($n bytes written)");
$n = writes("UPDATE t SET v = v + 1 WHERE id <= $rows / 2", "INSERT INTO u SELECT id % 10, id FROM t LIMIT $rows");
cmp_ok($n, '<', 400_000, "of two tables as well ($n bytes)");
$n = writes("UPDATE t SET v = v + 1");
cmp_ok($n, '>', 4_000_000, "what does not is written ($n bytes)");

# ---- views that come and go: what capture told of rows for views that were is forgotten ----
sub inbox
{
	my ($pid) = worker_pids('view');
	my $sizes = sub { my $top = $ENV{TD_TOP} || "$FindBin::Bin/../.."; return map { /\[$pid\].*tapdata inbox: (\d+) total/ ? $1 : () } `$top/test/servers/pg log room` };
	my $n = () = $sizes->();
	value('postgres', 'SELECT pg_log_backend_memory_contexts(?)', $pid);
	execute('postgres', "UPDATE wide SET c1 = c1 + 1");
	ok(eventually(sub { my $m = () = $sizes->(); $m > $n }), 'memory is told');
	return ($sizes->())[-1];
}
execute('postgres', 'CREATE TABLE wide (id int PRIMARY KEY, ' . join(', ', map { "c$_ int" } 1 .. 200) . ')', 'INSERT INTO wide (id, c1) VALUES (1, 1)', 'CREATE TABLE other (id int PRIMARY KEY, ' . join(', ', map { "c$_ int" } 1 .. 60) . ')',
	q{SELECT tapdata.create_view('widest', 'SELECT * FROM wide')}, q{SELECT tapdata.wait_view('widest')});
my $first;
for my $i (1 .. 60)
{
	execute('postgres', "SELECT tapdata.create_view('comes', 'SELECT id, c$i FROM other')", q{SELECT tapdata.wait_view('comes')}, 'UPDATE wide SET c1 = c1 + 1', q{SELECT tapdata.wait_view('widest')}, q{SELECT tapdata.drop_view('comes')});
	$first = inbox() if $i == 10;
}
cmp_ok(inbox() - $first, '<', 100_000, 'nothing is left of fifty views');
is(rows('postgres', q{SELECT * FROM tapdata.check_view('widest')}), '', 'exact');

finish();
done_testing();
