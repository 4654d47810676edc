# A standard workload as live views: what is refused, by name; whether all is exact after each change.
package TdWorkload;
use strict;
use warnings;
use Exporter 'import';
use TdFuzz qw(create_view);
use TdViews qw(inexact unequal computed_whole wait_views);

our @EXPORT_OK = qw(make_workload digests wrong by_whole report);

# Each of [name, query, ORDER BY ... LIMIT or ''] as a view; one whose end is refused is made without it, as <name>_all.
# Returns { schema, names, queries, refused => { name => reason } }; failed: errors that are no refusals.
sub make_workload
{
	my ($dbh, $schema, @queries) = @_;
	my %w = (schema => $schema, names => [], queries => [], refused => {}, failed => '', plain => { map { $_->[0] => $_->[1] } @queries });
	for (@queries)
	{
		my ($name, $query, $end) = @$_;
		for my $try ([$name, "$query " . ($end // '')], $end ? ["${name}_all", $query] : ())
		{
			my $said = create_view($dbh, "$schema.$try->[0]", $try->[1]);
			if (!$said) { push @{ $w{names} }, $try->[0]; push @{ $w{queries} }, $try->[1]; last }
			if ($said =~ /^refused: (?:\w+ ERROR:\s+)?(.*)/) { $w{refused}{ $try->[0] } = $1 }
			else { $w{failed} .= "$try->[0]: $said\n$try->[1]\n" }
		}
	}
	return \%w;
}

# What each query itself, without its end, gives now: name -> digest, '' = no row
sub digests
{
	my ($dbh, $w) = @_;
	return { map { $_ => $dbh->selectrow_array("SELECT md5(string_agg(w::text, E'\\n' ORDER BY w::text COLLATE \"C\")) FROM ($w->{plain}{$_}) w") // '' } keys %{ $w->{plain} } };
}

# What is wrong with the views, by plain SQL (the writers have stopped), '' = nothing
sub wrong
{
	my ($dbh, $w) = @_;
	my $found = eval { wait_views($dbh, $w->{schema}, @{ $w->{names} }); unequal($dbh, $w->{schema}, $w->{names}, $w->{queries}, 1) } // "error: $@";
	return $found . join '', map { "$_->[0]: $_->[1]: $_->[2]\n" } @{ $dbh->selectall_arrayref("SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact") };
}

# Views that a tick has computed whole though what has changed was known, and not for what it costs; '' = none
sub by_whole { my ($dbh, $w) = @_; return join '', map { my $n = computed_whole($dbh, "$w->{schema}.$_", qw(full error unknown ddl)); $n && "$_: $n\n" } @{ $w->{names} } }

sub report
{
	my ($w) = @_;
	main::diag(sprintf '%d views, refused: %d', scalar @{ $w->{names} }, scalar keys %{ $w->{refused} });
	main::diag("refused: $_: $w->{refused}{$_}") for sort keys %{ $w->{refused} };
	return;
}

1;
