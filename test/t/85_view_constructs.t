# Every construct of SQL in several forms, over columns of nearly every type (lib/TdConstructs.pm): each is kept, and is exact after each of some random
# transactions, or is refused in words that say which construct it is.
#
# lib/constructs.txt has a query and, before it, what is to become of it: the strategy (`, whole` where a change of some table computes all of it), or the
# error, `0A000 full:` where {"allow_full": true} admits it.  `open` before a query: what it shows for values that are equal is open. `twin`: the order of what an aggregate shows, which the view's definition fixes.
# What is kept by delta or by keys is so in its ticks, too: none was computed as a whole because the delta failed, or changes were not known.
# Exact is: check_view() finds nothing, and the table is the query's result by plain SQL, as values and as text, or that of the twin where LIMIT leaves open which rows.
#
# TD_SEED=n repeats a run; TD_CONSTRUCTS='...' takes the queries that match; TD_CONSTRUCTS_ROUNDS more transactions; TD_CONSTRUCTS_TELL=1 prints what became of each.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(computed_whole);
use TdConstructs qw(open_constructs changes differs);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
srand $seed;
my ($rounds, $at_once) = ($ENV{TD_CONSTRUCTS_ROUNDS} || 6, 45);
my ($env, $dbh) = open_constructs('constructs');

sub error_of { my ($sql, @args) = @_; return eval { $dbh->do($sql, undef, @args); 1 } ? '' : $dbh->state . ' ' . ($dbh->errstr =~ /ERROR:\s+(.*)/)[0] }

# What becomes of the query as that view.
sub verdict
{
	my ($view, $sql) = @_;
	my $error = error_of("SELECT tapdata.create_view('$view', \$1)", $sql);
	my $plan = eval { $dbh->selectall_arrayref('SELECT node, strategy, detail FROM tapdata.explain_query($1)', undef, $sql) };
	if (!$error) { return $plan ? $plan->[0][1] . (grep({ $_->[1] eq 'full' } @$plan) ? ', whole' : '') : 'kept, not explained: ' . $dbh->errstr }
	my $full = $plan && $plan->[0][1] eq 'full' && error_of("SELECT tapdata.create_view('$view', \$1, '{\"allow_full\": true}')", $sql) eq '';
	return $full ? $error =~ s/ / full: /r : $plan ? "$error, but explained" : $error;
}

# ---- each is kept or refused ----
open my $in, '<', "$FindBin::Bin/lib/constructs.txt" or die;
my (@queries, $part);
while (<$in>)
{
	chomp;
	if (/^# (.*)/) { $part = $1; next }
	my ($verdict, $open, $twin, $sql) = /^(.*?) \| (open )?(twin )?(.*)$/ or next;
	push @queries, { part => $part, verdict => $verdict, open => $open, twin => $twin, sql => $sql } if !$ENV{TD_CONSTRUCTS} || $sql =~ /$ENV{TD_CONSTRUCTS}/;
}
cmp_ok(scalar @queries, '>', 300, 'queries') if !$ENV{TD_CONSTRUCTS};

# ---- and exact ----
sub inexact
{
	my ($q) = @_;
	my $error = error_of("SELECT tapdata.wait_view('$q->{view}')");
	return $error . ': ' . value('postgres', "SELECT error FROM tapdata.views WHERE view = '$q->{view}'::regclass") if $error;
	my $found = join '', map { "check_view: $_->[0] x$_->[1] $_->[2]\n" } @{ $dbh->selectall_arrayref("SELECT * FROM tapdata.check_view('$q->{view}', 4)") };
	my $oracle = $q->{twin} || $q->{sql} =~ /LIMIT|FETCH/ ? 'SELECT * FROM ' . value('postgres', "SELECT twin FROM tapdata.views WHERE view = '$q->{view}'::regclass") : $q->{sql};
	return ($q->{open} ? '' : $found) . differs($dbh, $q->{view}, $oracle, $q->{open});
}

# A tick may compute the whole of it where that is said, or by what it costs; never because the delta failed.
sub whole_unsaid { my ($q) = @_; return computed_whole($dbh, $q->{view}, 'error', $q->{verdict} =~ /whole|full/ ? () : qw(full unknown)) }

my $n = 0;
while (my @some = splice @queries, 0, $at_once)
{
	for (@some)
	{
		$_->{view} = 'c.v' . ++$n;
		my $said = verdict($_->{view}, $_->{sql});
		diag "$said | " . ($_->{open} // '') . $_->{sql} if $ENV{TD_CONSTRUCTS_TELL};
		is($said, $_->{verdict}, "$_->{part}: " . substr($_->{sql}, 0, 150));
	}
	my @kept = grep { value('postgres', "SELECT to_regclass('$_->{view}') IS NOT NULL") } @some;
	for my $round (0 .. $rounds)
	{
		if ($round) { changes($dbh) for 1 .. 1 + int rand 6 }
		for (grep { !$_->{wrong} } @kept) { $_->{wrong} = inexact($_) and fail("round $round: $_->{sql}\n$_->{wrong}") }
	}
	ok(!grep({ $_->{wrong} } @kept), "exact: views up to v$n (" . @kept . ')');
	is(join('', map { my $whole = whole_unsaid($_); $whole && "$whole: $_->{sql}\n" } @kept), '', '... by what has changed');
	$dbh->do("SELECT tapdata.drop_view('$_->{view}')") for reverse @kept;
}

open my $log, '<', $env->{TD_PG_LOG} or die;
is(join('', grep { /TRAP|PANIC|terminated by signal|cache lookup failed|ERROR:  XX|not closed|leak|still referenced/ } <$log>), '', 'nothing strange in the log');
finish();
done_testing();
