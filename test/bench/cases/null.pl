# The null connector, whose records cost next to nothing, through host and pipeline worker, against the same records made and
# applied in one loop inside one backend (null/td_bench.c): what the second process, its socket and the spool cost.
# Three kinds: a load of 3 M rows; a log of 30 transactions of 100 k row changes; one of 300 k transactions of 10.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Copy;
use TdBench qw($top pg_server drop_server pg turns timed rounds row wait_status catch_up fresh);

my $pg = pg_server('bench');
my $p = pg($pg);
my $library = "$pg->{TD_PG_DATA}/../td_bench.so";
system("make -s -C $top/test/bench/null PG_CONFIG=$pg->{TD_PG_BIN}/pg_config >&2") == 0 or die "td_bench does not build\n";
copy("$top/test/bench/null/td_bench.so", $library) or die "$library: $!";
chmod 0755, $library;
chomp(my $null = `$pg->{TD_PG_BIN}/pg_config --pkglibdir`);
$null .= '/tapdata/null.so';
$p->do('CREATE EXTENSION tapdata');
$p->do("CREATE FUNCTION bench_load(text, int, int, int) RETURNS bigint LANGUAGE c STRICT AS '$library', 'td_bench_load'");
$p->do("CREATE FUNCTION bench_stream(text, int, int, int, oid) RETURNS bigint LANGUAGE c STRICT AS '$library', 'td_bench_stream'");
$p->do('SET client_min_messages = warning');

# name => [rows, transactions, rows per transaction]
my %kind = (load => [3_000_000, 0, 1], large => [0, 30, 100_000], small => [0, 300_000, 10]);
for my $name (keys %kind)
{
	my ($rows, $n, $each) = @{ $kind{$name} };
	$p->do('SELECT tapdata.create_connection(?, ?, ?::jsonb)', undef, $name, 'null', qq({"rows": $rows, "transactions": $n, "rows_per_transaction": $each}));
}

sub drop
{
	my ($name) = @_;
	$p->do('SELECT tapdata.drop_pipeline(?, drop_tables => true)', undef, $name)
		if $p->selectrow_array('SELECT 1 FROM tapdata.pipelines WHERE name = ?', undef, $name);
	fresh($p);
	return;
}

# Through host and worker, from the call of mirror().
sub through
{
	my ($name) = @_;
	drop($name);
	my $options = $kind{$name}[1] ? '{"type": "cdc", "position": "0"}' : '{}';
	my $t = timed(sub {
		$p->do('SELECT tapdata.mirror(?, into_schema => ?, options => ?::jsonb)', undef, $name, $name, $options);
		wait_status($p, $name, 'streaming');
		catch_up($p, $name) if $kind{$name}[1];
	});
	my ($column, $expected) = $kind{$name}[1] ? ('rows_applied', $kind{$name}[1] * $kind{$name}[2]) : ('rows_loaded', $kind{$name}[0]);
	my ($found) = $p->selectrow_array("SELECT $column FROM tapdata.pipelines WHERE name = ?", undef, $name);
	die "$name: $found rows instead of $expected\n" if $found != $expected;
	return $t;
}

# Inside one backend: a new one each time, as the worker is, with the worker's own settings.
sub inside
{
	my ($name) = @_;
	my ($rows, $n, $each) = @{ $kind{$name} };
	my $found;
	my $backend = pg($pg);
	$backend->do('SET synchronous_commit = off');
	if (!$n)
	{
		fresh($p);
		my $t = timed(sub { ($found) = $backend->selectrow_array('SELECT bench_load(?, ?, ?, ?)', undef, $null, $rows, $n, $each) });
		die "$name: $found rows instead of $rows\n" if $found != $rows;
		$backend->disconnect;
		$p->do('DROP TABLE tapdata_state.load_1000000_1');
		return $t;
	}
	$p->do('DROP TABLE IF EXISTS null_inside');
	$p->do("CREATE TABLE null_inside (LIKE $name.t0 INCLUDING ALL)");
	fresh($p);
	my $t = timed(sub { ($found) = $backend->selectrow_array(q{SELECT bench_stream(?, ?, ?, ?, 'null_inside'::regclass)}, undef, $null, $rows, $n, $each) });
	$backend->disconnect;
	die "$name: $found row changes\n" if $found != $n * $each;
	return $t;
}

my @names = qw(load large small);
my $t = turns(rounds(5), map { my $name = $_; ("$name, through" => sub { through($name) }, "$name, inside" => sub { inside($name) }) } @names);
my %ratio = map { $_ => $t->{"$_, inside"} / $t->{"$_, through"} } @names;
my ($least) = sort { $a <=> $b } values %ratio;
row('null connector through host and worker, against the same records made inside', sprintf('%.2f of its rate', $least), '>= 0.7', $least >= 0.7,
	'the least of three, start of the processes included: ' . join('; ', map { sprintf '%s %.2f (%.2f s, inside %.2f s)',
		{ load => 'load of 3 M rows', large => '30 transactions of 100 k rows', small => '300 k transactions of 10' }->{$_}, $ratio{$_}, $t->{"$_, through"}, $t->{"$_, inside"} } @names));
$p->disconnect;
drop_server('pg', 'bench');
