# Copies of live views that are kept by their feeds: a copy as of one tick and the changes since must be the view as of another.
package TdFeeds;
use strict;
use warnings;
use Exporter 'import';
use TdProcs;

our @EXPORT_OK = qw(at_once take_copy apply bag bags_differ replay clone);

# Code in one REPEATABLE READ transaction.
sub at_once
{
	my ($code) = @_;
	my $dbh = psql('postgres');
	$dbh->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $result = eval { $code->($dbh) };
	my $error = $@;
	my $state = $dbh->state;
	eval { $dbh->do('ROLLBACK') };
	die "$state $error" if $error;
	return $result;
}

sub bag { my ($dbh, $view) = @_; my %bag; $bag{$_}++ for @{ $dbh->selectcol_arrayref("SELECT to_jsonb(v)::text FROM $view v") }; return \%bag }
sub take_copy { my ($view) = @_; return at_once(sub { my ($dbh) = @_; { tick => scalar $dbh->selectrow_array("SELECT tapdata.view_tick('$view')"), rows => bag($dbh, $view) } }) }

# Applies what came since to a copy; what is wrong with that, '' = nothing.
sub apply
{
	my ($dbh, $view, $copy, $limit) = @_;
	my $wrong = '';
	while (1)
	{
		my $changes = $dbh->selectall_arrayref("SELECT tick, weight, \"row\"::text, at IS NOT NULL FROM tapdata.changes('$view', $copy->{tick}, " . ($limit // 'NULL') . ')');
		my $sign = -1;
		for my $change (@$changes)
		{
			my ($tick, $weight, $row, $at) = @$change;
			if ($tick < $copy->{tick} || !$at || $weight == 0) { $wrong .= "tick $tick after $copy->{tick}, weight $weight\n" }
			$sign = -1 if $tick > $copy->{tick};
			if ($weight < 0 && $sign > 0) { $wrong .= "tick $tick: goes after came\n" }
			$sign = 1 if $weight > 0;
			$copy->{tick} = $tick;
			$copy->{rows}{$row} = ($copy->{rows}{$row} // 0) + $weight;
			if ($copy->{rows}{$row} < 0) { $wrong .= "tick $tick: $copy->{rows}{$row} of $row\n" }
			delete $copy->{rows}{$row} if $copy->{rows}{$row} == 0;
		}
		return $wrong if !@$changes || !defined $limit;
	}
}

sub bags_differ { my ($feed, $view) = @_; my %all = (%$feed, %$view); return join '', map { "feed " . ($feed->{$_} // 0) . ", view " . ($view->{$_} // 0) . " of $_\n" }
	grep { ($feed->{$_} // 0) != ($view->{$_} // 0) } sort keys %all }

# The copy as of now, against the view in the same snapshot; '' = equal.
sub replay
{
	my ($view, $copy, $limit) = @_;
	return at_once(sub {
		my ($dbh) = @_;
		my $from = $copy->{tick};
		my $wrong = apply($dbh, $view, $copy, $limit);
		my $tick = $dbh->selectrow_array("SELECT tapdata.view_tick('$view')");
		$wrong .= "ends with tick $copy->{tick}, not $tick\n" if $copy->{tick} != $tick;
		$wrong .= bags_differ($copy->{rows}, bag($dbh, $view));
		return $wrong && "$view from tick $from to $tick: $wrong" });
}

sub clone { my ($copy) = @_; return { tick => $copy->{tick}, rows => { %{ $copy->{rows} } } } }

1;
