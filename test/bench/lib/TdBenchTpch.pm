# What the cases over TPC-H tables share: the tables with the indexes that explain_query wants, and views that follow batches of changes.
package TdBenchTpch;
use strict;
use warnings;
use Exporter 'import';
use TdBench qw(pg_server pg timed quiet say_now live_view exact_view fresh);
use TdTpch qw(make_tpch tpch_queries tpch_batch);
use Time::HiRes qw(time);

our @EXPORT_OK = qw(tpch_server tpch_memory tpch_tables try_view follow);

my $buffers = 3;    # GB
my ($reserved, $before, $huge) = '/proc/sys/vm/nr_hugepages';

# A server for tables of some GB: they are in memory for views and queries alike, and that memory in huge pages if the kernel gives them to root, as PostgreSQL's manual
# wants it for such a size.  With pages of 4 kB each probe into a large table misses the TLB several times, and a new process takes a page fault for each page that it comes to.
sub tpch_server
{
	my $wanted = int $buffers * 1024 * 1.08 / 2;
	if (-w $reserved) { $before = pages(); pages($before + $wanted); $huge = pages() >= $before + $wanted }
	return pg_server('bench', "shared_buffers = ${buffers}GB", 'work_mem = 64MB', 'effective_cache_size = 12GB', 'jit = off', 'max_worker_processes = 32');
}

# What RESULTS.md says of it.
sub tpch_memory { return "shared_buffers = $buffers GB in pages of " . ($huge ? '2 MB' : '4 kB') }

# How many huge pages are reserved; sets that.
sub pages
{
	open my $f, @_ ? '>' : '<', $reserved or die "$reserved: $!";
	if (@_) { print $f "$_[0]\n"; close $f or die "$reserved: $!"; return }
	return 0 + readline $f;
}

END { pages($before) if defined $before }

# The schema with primary keys and what explain_query wants for these queries, and nothing else.
sub tpch_tables
{
	my ($p, $schema, $sf, $seed, @names) = @_;
	my $t;
	say_now(sprintf 'TPC-H at SF %s filled in %.1f s', $sf, timed(sub { $t = make_tpch($p, $schema, $sf, $seed, bare => 1) }));
	$t->{queries} = { map { $_->[0] => "$_->[1] $_->[2]" } tpch_queries($schema, $sf) };
	$t->{indexes} = wanted_indexes($p, @{ $t->{queries} }{@names});
	$p->do('VACUUM ANALYZE');
	fresh($p);
	return $t;
}

# Made as explain_query says, and named: what is wanted by queries that are refused is not known.
sub wanted_indexes
{
	my ($p, @queries) = @_;
	my %made;
	for my $query (@queries)
	{
		my $rows = eval { $p->selectcol_arrayref(q{SELECT detail FROM tapdata.explain_query($1) WHERE strategy = 'wanted'}, undef, $query) };
		if (!$rows) { die $@ if $p->state ne '0A000'; next }
		for (map { /(CREATE INDEX ON (.*));/ ? [$1, $2] : () } @$rows)
		{
			next if $made{ $_->[1] }++;
			say_now(sprintf '%s: %.1f s', $_->[0], timed(sub { $p->do($_->[0]) }));
		}
	}
	return [map { s/^\w+\.//r } sort keys %made];
}

# A live view of a query; '' or the message of its refusal.
sub try_view
{
	my ($p, $name, $query) = @_;
	return '' if eval { live_view($p, $name, $query); 1 };
	my ($state, $said) = ($p->state, $@);
	die $said if $state ne '0A000';
	return $said =~ /ERROR:\s+(.*)/ ? $1 : $said;
}

# Batches of changes to the tables of each side { t, view } in turns, in one transaction each, and what `after` does; gives for each side the
# seconds from the commit's OK to the view that has it.  The first batch is not measured: it makes the plans.  In a round all sides draw the same numbers.
sub follow
{
	my ($p, $rounds, $after, @sides) = @_;
	my @found;
	for my $round (0 .. $rounds)
	{
		my $seed = int rand 1_000_000_000;
		for my $i (0 .. $#sides)
		{
			my ($t, $view) = @{ $sides[$i] }{qw(t view)};
			quiet() if $round;
			srand $seed;
			$p->begin_work;
			$p->do($_) for tpch_batch($t);
			$p->commit;
			my $took = timed(sub { $p->do(qq{SELECT tapdata.wait_view('$view', '600 s')}) });
			push @{ $found[$i] }, $took if $round;
			$after->($i) if $after && $round;
		}
	}
	exact_view($p, $_->{view}) for @sides;
	return @found;
}

1;
