# Each query of lib/constructs.txt as an ordinary view, and live views of several forms over it, which would have to be split if it stood there itself: each is kept, in parts that name the
# ordinary view, or refused in words; exact after each of some random transactions, and after the ordinary view was replaced by one that has some of its rows, in the same transaction or another one.
# None was computed as a whole but for that replacement, or where its parts say so.
#
# TD_SEED=n repeats a run; TD_CONSTRUCTS='...' takes the queries that match, TD_OVER=n so many at random (0 = all); TD_OVER_TELL=1 prints what became of each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use List::Util qw(shuffle);
use TdProcs;
use TdBank qw(seed);
use TdViews qw(computed_whole);
use TdConstructs qw(open_constructs changes differs);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
srand $seed;
my ($rounds, $at_once) = (4, 12);
my ($env, $dbh) = open_constructs('overviews');
my %count = map { $_ => 0 } qw(kept refused parts);

sub pick { return $_[int rand @_] }
sub error_of { my ($sql, @args) = @_; return eval { $dbh->do($sql, undef, @args); 1 } ? '' : $dbh->state . ' ' . ($dbh->errstr =~ /ERROR:\s+(.*)/)[0] }

# Queries over an ordinary view, by the text of two of its columns, as equal values of many types may look different.
sub forms
{
	my ($v, $k, $l) = @_;
	return ("SELECT left($k, 1) AS k, count(*) AS n, max($l) AS m FROM $v GROUP BY 1", "SELECT count(*) AS n, count($k) AS m FROM $v", "SELECT DISTINCT $k AS k FROM $v", "SELECT $k AS k, count(*) OVER (PARTITION BY left($l, 1)) AS n FROM $v",
		"SELECT $k AS k, rank() OVER (PARTITION BY $l ORDER BY $k) AS n FROM $v", "SELECT $k AS k, $l AS l FROM $v ORDER BY 1, 2 LIMIT 4", "SELECT s FROM c.t EXCEPT ALL SELECT $k FROM $v", "SELECT $k AS k FROM $v UNION SELECT $l FROM $v", "SELECT id FROM c.t WHERE s IN (SELECT $k FROM $v)",
		"SELECT t.id, t.x > (SELECT count(*) FROM $v) AS more FROM c.t", "SELECT t.id, $k AS k FROM c.t LEFT JOIN $v v ON $l = t.s", "SELECT $k AS k, $l AS l, count(*) AS n FROM $v GROUP BY CUBE (1, 2)", "SELECT n, count(*) AS times FROM (SELECT $k AS k, count(*) AS n FROM $v GROUP BY 1) q GROUP BY n",
		"WITH q AS (SELECT $k AS k, $l AS l FROM $v) SELECT a.k, count(*) AS n FROM q a JOIN q b ON b.k = a.l GROUP BY 1", "SELECT a.k, b.s, count(*) AS n FROM (SELECT $k AS k FROM $v) a FULL JOIN c.u b ON b.s = a.k GROUP BY 1, 2", "SELECT id FROM c.u WHERE NOT EXISTS (SELECT FROM $v WHERE $k = u.s)",
		"SELECT count(DISTINCT $k) AS n, count(DISTINCT $l) AS m FROM $v", "SELECT length(to_jsonb(v)::text) AS n, count(*) AS times FROM $v v GROUP BY 1", "SELECT left($k, 1) AS k, string_agg($l, ',' ORDER BY $l) AS a FROM $v GROUP BY 1");
}

# An ordinary view of it; NULL = there is none, or its rows are open.
my $n = 0;
sub ordinary
{
	my ($sql) = @_;
	my $v = 'c.o' . ++$n;
	return if error_of("CREATE VIEW $v AS $sql") || error_of("SELECT FROM $v");
	my @columns = map { $_->[1] ? "($_->[0])::text COLLATE \"C\"" : "($_->[0])::text" } @{ $dbh->selectall_arrayref("SELECT quote_ident(attname), attcollation = 'c.any_case'::regcollation FROM pg_attribute WHERE attrelid = '$v'::regclass AND attnum > 0 AND atttypid::regtype::text NOT LIKE 'c.live%'") };
	return if !@columns;
	return { name => $v, sql => $sql, now => $sql, columns => \@columns };
}

sub inexact
{
	my ($q) = @_;
	my $error = error_of("SELECT tapdata.wait_view('$q->{view}')");
	return $error . ': ' . value('postgres', "SELECT error FROM tapdata.views WHERE view = '$q->{view}'::regclass") if $error;
	my $found = join '', map { "check_view: $_->[0] x$_->[1] $_->[2]\n" } @{ $dbh->selectall_arrayref("SELECT * FROM tapdata.check_view('$q->{view}', 4)") };
	return $found . differs($dbh, $q->{view}, $q->{query});
}

sub make
{
	my ($o) = @_;
	my @made;
	for my $query ((shuffle forms($o->{name}, pick(@{ $o->{columns} }), pick(@{ $o->{columns} })))[0 .. 3])
	{
		my $view = 'c.v' . ++$n;
		next if error_of("SELECT FROM ($query) q");
		my $error = error_of("SELECT tapdata.create_view('$view', \$1)", $query);
		diag +($error || 'kept') . " | $query | $o->{sql}" if $ENV{TD_OVER_TELL};
		if ($error) { $count{refused}++; like($error, qr/^0A000 views do not support/, "refused in words: $query | $o->{sql}") if $error !~ /^0A000 views do not support/; next }
		$count{kept}++;
		$count{parts} += value('postgres', "SELECT count(*) FROM tapdata.view p JOIN tapdata.view v ON v.id = p.part_of WHERE v.relation = '$view'::regclass");
		push @made, { view => $view, query => $query, of => $o, whole => value('postgres', "SELECT count(*) FROM tapdata.explain_view('$view') WHERE strategy = 'full' OR node LIKE '%no key%'") };
	}
	return @made;
}

# Some rows of what it was, or all of them again.
sub replace
{
	my ($o) = @_;
	my $where = pick('true', "length($o->{columns}[0]) > 1", "$o->{columns}[-1] IS NOT NULL");
	return error_of("CREATE OR REPLACE VIEW $o->{name} AS SELECT * FROM ($o->{sql}) q WHERE $where");
}

open my $in, '<', "$FindBin::Bin/lib/constructs.txt" or die;
my @queries = map { /^(?:delta|counters|keyed|top-k)\S* (?:, whole )?\| (?!open|twin)(.*)$/ && $1 !~ /LIMIT|FETCH/ ? $1 : () } map { chomp; $_ } <$in>;
@queries = grep { /$ENV{TD_CONSTRUCTS}/ } @queries if $ENV{TD_CONSTRUCTS};
@queries = shuffle(@queries);
my $some = $ENV{TD_OVER} // 60;
@queries = @queries[0 .. $some - 1] if $some && @queries > $some;

while (my @some = splice @queries, 0, $at_once)
{
	my @ordinary = map { ordinary($_) // () } @some;
	my @made = map { make($_) } @ordinary;
	for my $round (0 .. $rounds)
	{
		if ($round) { changes($dbh) for 1 .. 1 + int rand 4 }
		if ($round == $rounds)
		{
			is(join('', map { my $whole = $_->{wrong} ? '' : computed_whole($dbh, $_->{view}, 'error', $_->{whole} ? () : qw(full unknown)); $whole && "$whole: $_->{query} | $_->{of}{sql}\n" } @made), '', 'by what has changed');
			for (@ordinary) { my $error = replace($_); diag "not replaced: $error" if $error; changes($dbh) if rand() < 0.3 }
		}
		for (grep { !$_->{wrong} } @made) { $_->{wrong} = inexact($_) and fail("round $round: $_->{query} | $_->{of}{sql}\n$_->{wrong}") }
	}
	ok(!grep({ $_->{wrong} } @made), 'exact: ' . @made);
	$dbh->do("SELECT tapdata.drop_view('$_->{view}')") for reverse @made;
	$dbh->do("DROP VIEW $_->{name}") for @ordinary;
}
diag join ', ', map { "$count{$_} $_" } sort keys %count;
cmp_ok($count{kept}, '>', $count{refused}, 'most are kept') if !$ENV{TD_CONSTRUCTS};

open my $log, '<', $env->{TD_PG_LOG} or die;
is(join('', grep { /TRAP|PANIC|terminated by signal|cache lookup failed|ERROR:  XX|not closed|leak|still referenced/ } <$log>), '', 'nothing strange in the log');
finish();
done_testing();
