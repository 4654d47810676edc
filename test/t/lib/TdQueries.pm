# Random queries over all constructs of SQL that a live view may have, up to five deep.
#
# They give the same rows, digit for digit, whatever the plan (total orders where an order shows; keys of groups and sets
# of types in which equal is identical), and raise no error on any data.
#
# A query is a tree of pieces, so that it can be shrunk: a string; [pieces]; { list => [pieces], sep, head, min } whose
# elements may go; { any => [piece, simpler...] }.  A scope is the relations that can be named: { alias, columns =>
# [[name, type]...], order => what tells its rows apart }.
package TdQueries;
use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(random_query text shrink kinds literal pick);

sub pick { return $_[int rand @_] }
sub chance { return rand() < $_[0] }

# ---- types ----

# What a column may hold: few values, so that rows meet.  dec has a fixed scale, floats add up in any order.
my %values = (
	int => [0 .. 3], num => ['1', '1.0', '1.00', '-2.5', '0.001', '3.50', '12345678901234567890', "'NaN'", "'Infinity'"], dec => ['0.10', '1.00', '-3.25', '7.00', '12.50'],
	text => ["'x'", "'y'", "''", "'X y'", "'xyz'"], date => ["'2026-01-01'", "'2026-02-28'", "'1999-12-31'"],
	ts => ["'2026-01-01 00:00:00'", "'2026-01-01 10:30:00'", "'2024-02-29 23:59:59.5'"], tz => ["'2026-01-01 00:00:00+00'", "'2026-03-29 01:30:00+00'", "'1999-12-31 23:59:59.25+02'"],
	bool => ['true', 'false'], uuid => [map { "'0000000$_-0000-4000-8000-000000000000'" } 1 .. 4], json => [q('{"k": 1, "t": ["x"]}'), q('[1, 2]'), q('null'), q('"s"'), q('{"k": null}')],
	ints => ["'{}'", "'{1,2}'", "'{3}'", "'{1,NULL,1}'"], float => ['0.5', '0.25', '-2', '3', "'NaN'"], span => ["'1 day'", "'2 hours'", "'1 mon'", "'-3 days'"],
	bytes => [q('\x'), q('\x00'), q('\xff01')]);
my %sql_type = (int => 'int', num => 'numeric', dec => 'numeric(8,2)', text => 'text', date => 'date', ts => 'timestamp', tz => 'timestamptz', bool => 'boolean', uuid => 'uuid',
	json => 'jsonb', ints => 'int[]', float => 'float8', span => 'interval', bytes => 'bytea', doc => 'jsonb', list => 'text[]', gap => 'interval');
# A value that takes its place where equal values can look different (1.0 and 1.00, 24 hours and 1 day, numbers in jsonb).
my %canonical = (num => 'trim_scale(%s)', doc => '(%s)::text', list => '(%s)::text', gap => '(%s)::text');
my %canonical_type = (num => 'num', doc => 'text', list => 'text', gap => 'text');
my @key_types = qw(int int int text dec date bool uuid ts tz span bytes json ints float num);

sub literal { my ($t) = @_; return pick(@{ $values{$t} }) . "::$sql_type{$t}" }

# $type: an expression of it; $type:1 the same each time.  $cond, $any, $key (any key type); $F = maybe FILTER; $total = a total order.
my %templates = (
	int => ['($int + 1)', '($int % 5)', '(($int % 5) + ($int % 7))', 'coalesce($int, -1)', 'abs($int)', 'nullif($int, 1)', 'length($text)', 'cardinality($ints)', '($ints)[1]',
		'extract(day from $date)::int', '($date - $date)', 'CASE WHEN $cond THEN $int ELSE $int END', '($bool)::int', 'least($int, $int)', '$S.twice((($int) % 100)::int)'],
	num => ['($num + 1)', 'round($num, 1)', 'coalesce($num, 0)', '($dec * 2)', '(($int % 10) + 0.50)', 'trim_scale($num)', 'CASE WHEN $cond THEN $num ELSE $dec END', 'greatest($num, $dec)'],
	dec => ['coalesce($dec, 0.00)', 'round($num, 2)', 'nullif($dec, 1.00)', '($dec + 1.25)'],
	text => ['upper($text)', "(left(\$text, 3) || '-')", "coalesce(\$text, 'none')", 'left($text, 2)', 'substr(md5($text), 1, 3)', "(\$json ->> 'k')", '($int)::text', '($date)::text', '($uuid)::text',
		"encode(\$bytes, 'hex')", 'jsonb_typeof($json)', 'CASE WHEN $cond THEN $text END', '($num)::text', "concat(\$int, '/', left(\$text, 2))"],
	date => ['($date + (($int) % 3)::int)', '($ts)::date', "coalesce(\$date, '2000-01-01')", 'greatest($date, $date)'],
	ts => ["date_trunc('month', \$ts)", "(\$ts + interval '1 day')", '($date)::timestamp', 'coalesce($ts, $ts)'],
	tz => ["coalesce(\$tz, '2026-01-01 00:00+00')", 'greatest($tz, $tz)', "(\$tz + interval '1 hour')"],
	bool => ['($cond)', '($bool IS TRUE)', 'coalesce($bool, false)'], uuid => ["coalesce(\$uuid, '00000001-0000-4000-8000-000000000000')", 'nullif($uuid, $uuid)'],
	json => ["(\$json -> 'k')", "coalesce(\$json, '{}')", "jsonb_build_object('a', (\$int), 't', left(\$text, 9))", 'to_jsonb($int)'],
	ints => ["coalesce(\$ints, '{}')", '($ints || 7)', 'array_remove($ints, 1)'], float => ['($float * 2)', '($float + 1)', 'coalesce($float, 0.5)', 'abs($float)'],
	span => ["coalesce(\$span, '1 day')"], bytes => [q{($bytes || '\x01')}, q{coalesce($bytes, '\x')}], doc => ["jsonb_build_object('n', \$num, 'k', \$json)", 'to_jsonb($num)'],
	list => ['ARRAY[$text, $text]', 'ARRAY[($int)::text]'], gap => ['($ts - $ts)', "(\$span + interval '1 hour')"],
	cond => ['$int > 0', '$int = $int', '$int < 3', "\$text <> 'y'", '$num IS NULL', '$any IS NOT NULL', '$bool', 'NOT $bool', "\$date > '2000-01-01'", "\$json @> '{\"k\": 1}'", '$int IN (1, 2)',
		'$int NOT IN (1, 7)', '$int IS DISTINCT FROM $int', '1 = ANY ($ints)', "\$text LIKE 'x%'", '$ts <= $ts', '$float >= 0.5', "\$span < interval '2 days'", '$int BETWEEN 0 AND 2',
		'($int, $int) IN ((1, 1), (2, 0), (1, 2))', q{$bytes = '\x00'}, '($cond OR $cond)', 'NOT ($cond)', '($cond AND $cond)', '$dec > 0.5', '($int > 1) IS NOT FALSE', "\$text < 'xz'",
		'$uuid = $uuid', "\$tz > '2000-01-01 00:00+00'", 'CASE WHEN $cond THEN $int = 1 ELSE $int > 1 END']);

my %aggregates = (
	int => ['count(*)$F', 'count($any)$F', 'count(DISTINCT $key)$F', 'sum($int)$F', 'min($int)$F', 'max($int)$F', 'sum(DISTINCT $int)$F', 'mode() WITHIN GROUP (ORDER BY $int)$F',
		'percentile_disc(0.5) WITHIN GROUP (ORDER BY $int)$F', 'rank(1) WITHIN GROUP (ORDER BY (($int) % 1000)::int)$F', 'bit_or((($int) % 1000)::int)$F', 'bit_and((($int) % 1000)::int)$F',
		'bit_xor((($int) % 1000)::int)$F', 'regr_count($float, $int)$F', 'coalesce(sum($int), 0)', 'count(*) FILTER (WHERE $cond)', 'sum(CASE WHEN $cond THEN $int END)', 'min($int) + max($int)'],
	num => ['sum($num)$F', 'avg($num)$F', 'avg($int)$F', 'avg($dec)$F', 'stddev($dec)$F', 'var_pop($int)$F', 'variance($num)$F', 'stddev_pop($int)$F', 'avg(DISTINCT $dec)$F', 'var_samp($dec)$F',
		'round(corr($float, $int)$F::numeric, 9)', 'round(regr_slope($float, $dec)$F::numeric, 9)', 'round(covar_pop($int, $float)$F::numeric, 9)', 'round(avg($float)$F::numeric, 9)',
		'round((percentile_cont(0.5) WITHIN GROUP (ORDER BY $float)$F)::numeric, 9)', 'round(stddev($float)$F::numeric, 9)', 'sum($num * $dec)$F', 'max(trim_scale($num))$F',
		'round(cume_dist(1) WITHIN GROUP (ORDER BY (($int) % 1000)::int)$F::numeric, 9)', 'sum($int) / 2.0'],
	dec => ['sum($dec)$F', 'min($dec)$F', 'max($dec)$F', 'sum(DISTINCT $dec)$F', 'percentile_disc(0.25) WITHIN GROUP (ORDER BY $dec)$F'],
	text => ['min($text)$F', 'max($text)$F', "string_agg(left(\$text:1, 3), ',' ORDER BY \$text:1)\$F", "string_agg(DISTINCT left(\$text:1, 3), ',' ORDER BY left(\$text:1, 3))\$F",
		'mode() WITHIN GROUP (ORDER BY $text)$F', 'range_agg(int4range((($int:1) % 10)::int, (($int:1) % 10)::int + 2))$F::text', 'json_agg($int:1 ORDER BY $int:1 DESC NULLS LAST)$F::text',
		'xmlagg(xmlelement(name x, $int:1) ORDER BY $int:1)$F::text', 'json_object_agg(coalesce(left($text:1, 3), \'-\'), $int:2 ORDER BY $text:1, $int:2)$F::text'],
	date => ['min($date)$F', 'max($date)$F'], ts => ['min($ts)$F', 'max($ts)$F'], tz => ['min($tz)$F', 'max($tz)$F'], bool => ['bool_and($cond)$F', 'bool_or($cond)$F', 'every($bool)$F'],
	float => ['sum($float)$F', 'min($float)$F', 'max($float)$F'], span => ['min($span)$F', 'max($span)$F'], gap => ['sum($span)$F', 'avg($span)$F'],
	bytes => [q{string_agg($bytes:1, '\x2c' ORDER BY $bytes:1)$F}], ints => ['array_agg((($int:1) % 1000)::int ORDER BY (($int:1) % 1000)::int)$F'],
	list => ['array_agg($int:1 ORDER BY $int:1)$F::text[]', 'array_agg(DISTINCT ($key:1)::text ORDER BY ($key:1)::text)$F', 'array_agg($num:1 ORDER BY $num:1, scale($num:1))$F::text[]'],
	doc => ['jsonb_agg($key:1 ORDER BY $key:1)$F', "jsonb_object_agg(coalesce(left(\$text:1, 3), '-'), \$int:2 ORDER BY \$text:1, \$int:2)\$F", 'jsonb_agg(DISTINCT $int:1)$F', 'to_jsonb(array_agg(DISTINCT ($key:1)::text))'],
	having => ['count(*) > 1', 'sum($int) > 2', 'max($int) IS NOT NULL', 'count(DISTINCT $key) < 4', 'bool_or($cond)', 'avg($dec) > 1', 'NOT count(*) = 3', "min(\$text) < 'y'"]);

# After OVER comes $P: PARTITION BY.
my %windows = (
	int => ['row_number() OVER ($P ORDER BY $total)', 'rank() OVER ($P ORDER BY $key)', 'dense_rank() OVER ($P ORDER BY $key DESC NULLS LAST)', 'ntile(2) OVER ($P ORDER BY $total)', 'lag($int) OVER ($P ORDER BY $total)',
		'lead($int, 2, -5) OVER ($P ORDER BY $total)', 'first_value($int) OVER ($P ORDER BY $total)', 'last_value($int) OVER ($P ORDER BY $total)', 'nth_value($int, 2) OVER ($P ORDER BY $total)',
		'sum($int) OVER ($P)', 'sum($int) OVER ($P ORDER BY $key)', 'count(*) OVER ($P)', 'count(*) FILTER (WHERE $cond) OVER ($P ORDER BY $key)', 'max($int) OVER ($P)',
		'sum($int) OVER ($P ORDER BY $int RANGE BETWEEN 1 PRECEDING AND CURRENT ROW)', 'count($any) OVER ($P ORDER BY $key GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW)'],
	num => ['avg($dec) OVER ($P ORDER BY $total ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)', 'round((percent_rank() OVER ($P ORDER BY $key))::numeric, 9)', 'sum($num) OVER ($P)', 'avg($int) OVER ($P)',
		'round((cume_dist() OVER ($P ORDER BY $key))::numeric, 9)'],
	text => ['lag(left($text, 5)) OVER ($P ORDER BY $total)', 'min($text) OVER ($P)', "string_agg(left(\$text, 2), ',') OVER (\$P ORDER BY \$total)"], date => ['max($date) OVER ($P)', 'lead($date) OVER ($P ORDER BY $total)'],
	dec => ['sum($dec) OVER ($P ORDER BY $total ROWS UNBOUNDED PRECEDING)', 'max($dec) OVER ($P)'], bool => ['bool_or($cond) OVER ($P)'], float => ['sum($float) OVER ($P)'],
	list => ['(array_agg($int) OVER ($P ORDER BY $total ROWS 2 PRECEDING))::text[]']);

# ---- pieces ----

# A piece may have marks in it, which name the constructs that it stands for.
sub tag { return join '', map { "\x01$_\x02" } @_ }
sub tags_of { my %t = map { $_ => 1 } raw($_[0]) =~ /\x01([^\x02]*)\x02/g; return sort keys %t }
sub text { return raw($_[0]) =~ s/\x01[^\x02]*\x02//gr }

sub raw
{
	my ($p) = @_;
	return $p unless ref $p;
	return join '', map { raw($_) } @$p if ref $p eq 'ARRAY';
	return raw($p->{any}[0]) if $p->{any};
	my @t = grep { length } map { raw($_) } @{ $p->{list} };
	return @t ? ($p->{head} // '') . join($p->{sep}, @t) . ($p->{tail} // '') : '';
}

sub list { my ($head, $sep, $min, @list) = @_; return { list => [@list], sep => $sep, head => $head, min => $min } }

# All edits that make a piece smaller, outermost first: subs that do it and return one that undoes it.
sub edits
{
	my ($top) = @_;
	my (@edits, %seen);
	my @queue = ($top);
	while (defined(my $p = shift @queue))
	{
		next if !ref $p || $seen{$p}++;
		if (ref $p eq 'ARRAY') { push @queue, @$p; next }
		my $l = $p->{any} || $p->{list};
		if ($p->{any}) { push @edits, sub { my $was = shift @$l; return sub { unshift @$l, $was } } if @$l > 1; push @queue, $l->[0]; next }
		if (@$l > $p->{min}) { for my $i (reverse 0 .. $#$l) { push @edits, sub { my ($was) = splice @$l, $i, 1; return sub { splice @$l, $i, 0, $was } } } }
		push @queue, @$l;
	}
	return @edits;
}

# Takes away what can go while `$fails` stays true; each call of it is one try.
sub shrink
{
	my ($piece, $fails) = @_;
	my ($i, $done) = (0, 0);
	while (1)
	{
		my @edits = edits($piece);
		if ($i >= @edits) { last if !$done; ($i, $done) = (0, 0); next }
		my $before = text($piece);
		my $undo = $edits[$i]->();
		if (text($piece) ne $before && $fails->()) { $done = 1 } else { $undo->(); $i++ }
	}
	return;
}

# ---- expressions ----

my ($schema, $aliases, @sources);

sub columns_of { my ($scope, @types) = @_; my %want = map { $_ => 1 } @types; return map { my $r = $_; map { ["$r->{alias}.$_->[0]", $_->[1]] } grep { !@types || $want{ $_->[1] } } @{ $r->{columns} } } @$scope }

# The column of that type if there is one (joins by id meet best), else a value.
sub leaf { my ($scope, $type) = @_; my @c = columns_of($scope, $type) or return literal_or_null($type); return pick(@c)->[0] }
sub literal_or_null { my ($t) = @_; return $values{$t} ? literal($t) : $canonical{$t} ? "NULL::$sql_type{$t}" : 'true' }

# One of the templates, rather one whose types the scope has.
sub template
{
	my ($list, $scope) = @_;
	my %has = map { $_->[1] => 1 } columns_of($scope);
	my $t;
	for (1 .. 5) { $t = pick(@$list); last if !grep { $values{$_} && !$has{$_} } $t =~ /\$(\w+)/g }
	return $t;
}

# e: how deep expressions may still nest; d: how deep queries may.
sub expr
{
	my ($scope, $type, $e, $d) = @_;
	if ($type eq 'cond')
	{
		return { any => [subquery_condition($scope, $d), 'true'] } if ($d // 0) > 0 && chance(0.35);
		my $simple = '(' . leaf($scope, 'int') . ' > 0)';
		return $simple if $e <= 0;
		return { any => [['(', fill(template($templates{cond}, $scope), $scope, $e - 1, $d), ')'], $simple] };
	}
	my $leaf = leaf($scope, $type);
	return $leaf if $e <= 0 || chance(0.55) && $leaf !~ /::/;
	return { any => [scalar_subquery($scope, $type, $d), $leaf] } if ($d // 0) > 0 && $aggregates{$type} && chance(0.15);
	return { any => [fill(template($templates{$type}, $scope), $scope, $e - 1, $d), $leaf] };
}

# A value of some type in which equal is identical; a column where there is one.
sub key
{
	my ($scope, $type, $e) = @_;
	$type ||= (grep { columns_of($scope, $_) } map { pick(@key_types) } 1 .. 8)[0] || 'int';
	my $x = expr($scope, $type, $e // 0);
	return $canonical{$type} ? [split(/(?<=\()|(?=\))/, $canonical{$type} =~ s/%s.*//r), $x, $canonical{$type} =~ s/.*%s//r] : $x;
}

# What orders a relation's rows so that those which tie are the same.
sub total
{
	my ($scope) = @_;
	my @order;
	for my $r (@$scope) { push @order, map { ordered("$r->{alias}.$_->[0]", $_->[1]) } @{ $r->{order} } }
	return @order ? @order : ('true');
}

sub ordered
{
	my ($c, $t) = @_;
	return $t eq 'num' ? "$c, scale($c)" : $canonical{$t} ? "($c)::text" : $c;
}

sub fill
{
	my ($template, $scope, $e, $d, %given) = @_;
	my (@out, %bound);
	for my $part (split /(\$\w+(?::\d)?)/, $template)
	{
		if ($part !~ /^\$(\w+)(?::(\d))?$/) { push @out, $part if length $part; next }
		my ($what, $n) = ($1, $2);
		push @out, defined $n ? $bound{"$what$n"} //= one($what, $scope, $e, $d, \%given) : one($what, $scope, $e, $d, \%given);
	}
	return \@out;
}

sub one
{
	my ($what, $scope, $e, $d, $given) = @_;
	return $given->{$what} if defined $given->{$what};
	return [tag('user function'), $schema] if $what eq 'S';
	return key($scope, undef, $e > 0 && chance(0.2) ? 1 : 0) if $what eq 'key';
	return list('', ', ', 0, total($scope)) if $what eq 'total';
	if ($what eq 'any') { my @c = columns_of($scope); return @c ? pick(@c)->[0] : '1::int' }
	return !chance(0.2) ? '' : list('', '', 0, [tag('FILTER'), ' FILTER (WHERE ', expr($scope, 'cond', 1), ')']) if $what eq 'F';
	return expr($scope, $what, $e, $d);
}

sub aggregate
{
	my ($scope, $type) = @_;
	my $t = template($aggregates{$type}, $scope);
	my @tags = ($t =~ /DISTINCT/ ? 'aggregate DISTINCT' : (), $t =~ /WITHIN/ ? 'WITHIN GROUP' : $t =~ /ORDER BY/ ? 'aggregate ORDER BY' : (), $t =~ /FILTER/ ? 'FILTER' : ());
	return [tag(@tags), fill($t, $scope, 1, 0)];
}

# ---- subqueries in expressions ----

# inner and outer meet in an equality, mostly
sub correlation
{
	my ($inner, $outer, $equal) = @_;
	my @types = grep { columns_of($inner, $_) && columns_of($outer, $_) } qw(int int int int text date uuid dec ts bool);
	return ['(', pick(columns_of($inner))->[0], ')::text = (', pick(columns_of($outer))->[0], ')::text'] if !@types && columns_of($inner) && columns_of($outer);
	return 'true' if !@types;
	my $type = pick(@types);
	return [leaf($inner, $type), $equal || chance(0.85) ? ' = ' : pick(' < ', ' <> ', ' IS NOT DISTINCT FROM '), leaf($outer, $type)];
}

sub subquery_condition
{
	my ($scope, $d) = @_;
	my $what = pick('EXISTS', 'EXISTS', 'NOT EXISTS', 'NOT EXISTS', 'IN', 'IN', 'NOT IN', 'NOT IN', 'scalar in WHERE', 'scalar in WHERE', 'ANY or ALL');
	return [tag($what), $what, ' (', select_query($d - 1, outer => $scope, correlated => 0.9, types => ['int'], kinds => [qw(plain plain plain group distinct)])->{sql}, ')'] if $what =~ /EXISTS/;
	my $type = pick(grep { my $t = $_; columns_of($scope, $t) || $t eq 'int' } qw(int int int text dec date uuid));
	return [tag($what), '(', leaf($scope, $type), pick(' = ', ' < ', ' >= ', ' IS DISTINCT FROM '), scalar_subquery($scope, $type, $d, 1), ')'] if $what =~ /scalar/;
	my $q = select_query($d - 1, outer => $scope, correlated => 0.3, types => [$type], kinds => [qw(plain plain plain group distinct setop)])->{sql};
	my $op = $what eq 'ANY or ALL' ? pick(' = ANY', ' < ANY', ' > ALL', ' <> ALL', ' <= ALL') : " $what";
	return [tag($what), '(', leaf($scope, $type), $op, ' (', $q, '))'];
}

# One row at most: an aggregate, or the first.
sub scalar_subquery
{
	my ($scope, $type, $d, $quiet) = @_;
	my $whole = !chance(0.25) && $aggregates{$type};
	return [$quiet ? '' : tag('scalar in SELECT'), '(', select_query($d - 1, outer => $scope, correlated => 0.8, types => [$type], kinds => [$whole ? 'whole' : 'first'])->{sql}, ')'];
}

# ---- FROM ----

# A relation for FROM: { piece (with its alias), rel }.
sub relation
{
	my ($d, $ctes) = @_;
	my $alias = 'q' . ++$aliases;
	if (@$ctes && chance(0.6))
	{
		my $c = pick(@$ctes);
		return { piece => tag($c->{used}++ ? 'CTE used twice' : 'CTE') . "$c->{name} $alias", rel => { alias => $alias, columns => $c->{columns}, order => $c->{columns} } };
	}
	if ($d > 0 && chance(0.35))
	{
		my $q = select_query($d - 1, deeper => 1);
		return { piece => [tag('derived table'), '(', $q->{sql}, ") $alias"], rel => { alias => $alias, columns => $q->{columns}, order => $q->{columns} } };
	}
	my $s = pick(@sources);
	return { piece => tag(@{ $s->{tags} }) . "$s->{name} $alias", rel => { alias => $alias, columns => $s->{columns}, order => $s->{order} || $s->{columns}, id => $s->{id} } };
}

# Equality, by id when both have it or by any pair of columns of a type; now and then something more.
sub join_condition
{
	my ($scope, $rel, $only) = @_;
	my $left = pick(@$scope);
	my $eq = $left->{id} && $rel->{id} && chance(0.35) ? "$left->{alias}.id = $rel->{alias}.id" : undef;
	if (!$eq)
	{
		my @types = grep { columns_of([$left], $_) && columns_of([$rel], $_) } qw(int int int int int text date uuid dec num ts);
		return undef if !@types;
		my $t = pick(@types);
		$eq = [leaf([$left], $t), ' = ', leaf([$rel], $t)];
	}
	return list('', ' AND ', 1, $eq, !$only && chance(0.25) ? ['(', fill(template($templates{cond}, [@$scope, $rel]), [@$scope, $rel], 0), ')'] : ());
}

my @outer_join = ([' JOIN ', 'inner join'], [' JOIN ', 'inner join'], [' LEFT JOIN ', 'LEFT JOIN'], [' LEFT JOIN ', 'LEFT JOIN'], [' RIGHT JOIN ', 'RIGHT JOIN'], [' FULL JOIN ', 'FULL JOIN']);

# Returns { piece => FROM clause, scope, where => [...] }.
sub from_clause
{
	my ($d, $ctes, $outer, $wide) = @_;
	my $first = relation($d, $ctes);
	my ($n, @scope, @items, @where) = ($wide ? pick(1, 1, 1, 2, 2, 2, 3) : pick(1, 1, 1, 2), $first->{rel});
	my $commas = chance(0.35);
	for (2 .. $n)
	{
		if (!$commas && $d > 0 && chance(0.25)) { lateral_item($d, \@scope, \@items); next }
		my $r = relation($d, $ctes);
		if ($commas)
		{
			my $on = join_condition(\@scope, $r->{rel}) or next;
			push @items, [tag('inner join'), ', ', $r->{piece}];
			push @where, $on;
		}
		else
		{
			my ($join, $tag) = @{ pick(@outer_join) };
			if ($tag ne 'FULL JOIN' && chance(0.1))    # a join on the right side
			{
				my $r2 = relation(0, []);
				my $on2 = join_condition([$r->{rel}], $r2->{rel}, 1) or next;
				my $on = join_condition(\@scope, $r->{rel}) or next;
				push @items, [tag($tag), $join, '(', $r->{piece}, pick(' JOIN ', ' LEFT JOIN '), $r2->{piece}, ' ON ', $on2, ') ON ', $on];
				push @scope, $r2->{rel};
			}
			else
			{
				my $on = join_condition(\@scope, $r->{rel}, $tag eq 'FULL JOIN' && chance(0.7)) or next;
				push @items, { any => [[tag($tag), $join, $r->{piece}, ' ON ', $on], ($join eq ' JOIN ' ? () : [' JOIN ', $r->{piece}, ' ON ', $on])] };
			}
		}
		push @scope, $r->{rel};
	}
	push @where, correlation(\@scope, $outer) if $outer;
	return { piece => [' FROM ', $first->{piece}, list('', '', 0, @items)], scope => \@scope, where => \@where };
}

sub lateral_item
{
	my ($d, $scope, $items) = @_;
	my $alias = 'q' . ++$aliases;
	my @srf = (
		(map { [int => "unnest($_->[0])"] } columns_of($scope, 'ints')),
		(map { [int => "generate_series(1, least($_->[0], 3)::int)"] } columns_of($scope, 'int')),
		(map { [doc => "jsonb_array_elements(CASE WHEN jsonb_typeof($_->[0]) = 'array' THEN $_->[0] ELSE '[]' END)"], [text => "jsonb_object_keys(CASE WHEN jsonb_typeof($_->[0]) = 'object' THEN $_->[0] ELSE '{}' END)"] } columns_of($scope, 'json')));
	my $outer = chance(0.5);
	if (@srf && chance(0.4))
	{
		my ($type, $call) = @{ pick(@srf) };
		my $ordinality = chance(0.3);
		my @columns = (['c1', $type], $ordinality ? ['c2', 'int'] : ());
		push @$items, [tag('function in FROM'), $outer ? ' LEFT JOIN ' : ' CROSS JOIN ', $call, $ordinality ? " WITH ORDINALITY AS $alias (c1, c2)" : " AS $alias (c1)", $outer ? ' ON true' : ''];
		push @$scope, { alias => $alias, columns => \@columns, order => \@columns };
		return;
	}
	my $q = select_query($d - 1, outer => $scope, correlated => 0.9, kinds => [qw(plain whole topk topk group)], deeper => 1);
	push @$items, [tag('LATERAL'), $outer ? ' LEFT JOIN LATERAL (' : ' CROSS JOIN LATERAL (', $q->{sql}, ") $alias", $outer ? ' ON true' : ''];
	push @$scope, { alias => $alias, columns => $q->{columns}, order => $q->{columns} };
	return;
}

# ---- queries ----

# kind -> how it is made; which kinds come how often
my %make = (plain => \&plain, distinct => \&plain, topk => \&plain, first => \&plain, srf => \&plain, distinct_on => \&distinct_on, group => \&group, sets => \&group, whole => \&group, window => \&window, setop => \&setop,
	document => \&document);
my @often = (qw(plain plain plain group group group whole distinct distinct_on sets window window setop setop topk srf document));
sub kinds { return qw(plain group distinct sets whole distinct_on window setop topk srf document recursive) }

my @set_operations = ('UNION', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT ALL');

# { sql, columns => [[name, type]...] }.  types: those its columns must have (and its only ones).
sub select_query
{
	my ($d, %o) = @_;
	my $outer = $o{outer} && chance($o{correlated}) ? $o{outer} : undef;
	my @kinds = grep { $d > 0 || !/^(setop|document)$/ } @{ $o{kinds} || \@often };
	my $kind = @kinds ? pick(@kinds) : 'plain';
	my @types = $o{types} ? @{ $o{types} } : map { pick(qw(int int int text dec num date bool), keys %sql_type) } 1 .. pick(1, 2, 2, 3, 4);
	my (@with, @ctes);
	if ($d > 1 && !$outer && chance(0.2))
	{
		for (1 .. pick(1, 1, 2))
		{
			my $q = select_query($d - 1, deeper => 1);
			my $name = 'w' . ++$aliases;
			push @ctes, { name => $name, columns => $q->{columns} };
			push @with, ["$name AS ", pick('', '', 'MATERIALIZED ', 'NOT MATERIALIZED '), '(', $q->{sql}, ')'];
		}
	}
	my $q = $make{$kind}->($kind, $d, \@types, $outer, \@ctes, \%o);
	$q->{sql} = [list('WITH ', ', ', 0, @with), @with ? ' ' : (), $q->{sql}] if @with;
	return $q;
}

# WHERE of the conditions that tie relations together, and some more
sub where
{
	my ($f, $d) = @_;
	return list(' WHERE ', ' AND ', 0, @{ $f->{where} }, map { expr($f->{scope}, 'cond', 1, $d) } 1 .. pick(0, 0, 1, 1, 2));
}

# The first rows by an order that is total; a permutation of it is as good.
sub limit
{
	my (@order) = @_;
	$order[0] .= pick('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST');
	return [tag('top-k'), ' ORDER BY ', join(', ', @order), ' LIMIT ', pick(1, 2, 3, 5), chance(0.15) ? ' OFFSET 1' : ''];
}

# The types asked for; if they are free, those that the scope has.
sub types_for { my ($types, $scope, $o) = @_; my %has = map { $_->[1] => 1 } columns_of($scope); return $o->{types} || !%has ? @$types : map { $has{$_} || chance(0.15) ? $_ : pick(sort keys %has) } @$types }

sub targets { my $i = 0; return list(' ', ', ', 1, map { $i++; [$_, " AS c$i"] } @_) }
sub named { my $i = 0; return [map { $i++; ["c$i", $_] } @_] }

sub plain
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my $f = from_clause($d, $ctes, $outer, 1);
	my (@targets, @types);
	for my $t (types_for($types, $f->{scope}, $o))
	{
		my $keyed = $kind eq 'distinct' || $o->{canonical};
		push @targets, $keyed ? key($f->{scope}, $t, 1) : expr($f->{scope}, $t, 1, $kind eq 'first' ? 0 : $d);
		push @types, $keyed ? $canonical_type{$t} // $t : $t;
	}
	if ($kind eq 'srf' && !$o->{types})
	{
		my @arrays = columns_of($f->{scope}, 'ints');
		push @targets, tag('set-returning in SELECT') . (@arrays && chance(0.6) ? 'unnest(' . pick(@arrays)->[0] . ')' : 'generate_series(1, least(' . leaf($f->{scope}, 'int') . ', 3)::int)');
		push @types, 'int';
	}
	my $tail = '';
	if ($kind eq 'first') { $tail = [tag('first row'), ' ORDER BY ', join(', ', total($f->{scope})), ' LIMIT 1'] }
	elsif ($kind eq 'topk') { $tail = limit(total($f->{scope})) }
	my $distinct = '';
	if ($kind eq 'distinct') { $distinct = { any => [tag('DISTINCT') . ' DISTINCT', ''] }; $tail = limit(map { "c$_" } 1 .. @types) if chance(0.1) }
	return { sql => ['SELECT', $distinct, targets(@targets), $f->{piece}, where($f, $d), $tail], columns => named(@types) };
}

sub distinct_on
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my $f = from_clause($d, $ctes, $outer, 1);
	my @keys = map { raw(key($f->{scope})) } 1 .. pick(1, 1, 2);
	my @asked = types_for($types, $f->{scope}, $o);
	my @targets = map { $o->{canonical} ? key($f->{scope}, $_, 1) : expr($f->{scope}, $_, 1) } @asked;
	my @types = map { $o->{canonical} ? $canonical_type{$_} // $_ : $_ } @asked;
	if (!$o->{types} && chance(0.8)) { unshift @targets, $keys[0]; unshift @types, 'other' }
	return { sql => [tag('DISTINCT ON'), 'SELECT DISTINCT ON (', join(', ', @keys), ')', targets(@targets), $f->{piece}, where($f, $d), ' ORDER BY ', join(', ', @keys, total($f->{scope}))],
		columns => [grep { $_->[1] ne 'other' } @{ named(@types) }] };
}

# GROUP BY, GROUPING SETS, or all rows one group.
sub group
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my $f = from_clause($d, $ctes, $outer, 1);
	my (@keys, @key_types, @targets, @types);
	for (1 .. ($kind eq 'whole' ? 0 : $kind eq 'sets' ? 2 : pick(1, 1, 2)))
	{
		my @c = map { [$_->[0], $_->[1]] } grep { my $t = $_->[1]; !$canonical{$t} } columns_of($f->{scope});
		my $c = @c ? pick(@c) : ['(1::int + 0)', 'int'];
		if (chance(0.25) && $kind ne 'sets') { my $t = pick(qw(int text date num)); $c = [key($f->{scope}, $t, 1), $t]; $c->[0] = ['coalesce(', $c->[0], ')'] if text($c->[0]) =~ /^[\w']+::|^'/ }
		push @keys, $c->[0];
		push @key_types, $c->[1];
	}
	my @tags = $kind eq 'whole' ? 'aggregates without GROUP BY' : 'GROUP BY';
	for my $t (types_for($types, $f->{scope}, $o))
	{
		my ($i) = grep { $key_types[$_] eq $t } 0 .. $#keys;
		my $x = defined $i && chance(0.5) ? $keys[$i] : $aggregates{$t} ? aggregate($f->{scope}, $t) : defined $i ? $keys[$i] : literal_or_null($t);
		$x = { any => [[sprintf('%s(', pick('abs', 'trim_scale')), $x, ')'], $x] } if $t eq 'num' && chance(0.3);
		my $keyed = $o->{canonical} && $canonical{$t};
		push @targets, $keyed ? [$canonical{$t} =~ s/%s.*//r, $x, $canonical{$t} =~ s/.*%s//r] : $x;
		push @types, $keyed ? $canonical_type{$t} : $t;
	}
	if (!$o->{types})
	{
		for my $i (0 .. $#keys) { next if chance(0.15); unshift @targets, $keys[$i]; unshift @types, $key_types[$i] }
		my @key_scope = grep { !ref $keys[$_] && $keys[$_] =~ /^(q\d+)\.\w+$/ } 0 .. $#keys;
		if ($d > 0 && @key_scope && $kind eq 'group' && chance(0.2)) { push @targets, scalar_subquery(fake_scope(\@keys, \@key_types, @key_scope), 'int', $d); push @types, 'int' }
		if (@keys == 2 && $kind eq 'group' && chance(0.1)) { push @targets, [tag('window over groups'), 'rank() OVER (PARTITION BY ', $keys[0], ' ORDER BY count(*), ', $keys[1], ')']; push @types, 'int' }
	}
	my ($by, $tail) = ('', '');
	if ($kind eq 'sets')
	{
		my $how = pick('GROUPING SETS', 'ROLLUP', 'CUBE');
		push @tags, $how;
		$by = $how eq 'GROUPING SETS' ? [' GROUP BY GROUPING SETS (', list('', ', ', 1, ['(', $keys[0], ')'], ['(', $keys[1], ')'], '()'), ')'] : [" GROUP BY $how (", $keys[0], ', ', $keys[1], ')'];
		if (!$o->{types} && chance(0.5)) { push @targets, [tag('GROUPING()'), 'GROUPING(', $keys[0], ', ', $keys[1], ')']; push @types, 'int' }
	}
	elsif (@keys) { $by = list(' GROUP BY ', ', ', 0, @keys) }
	my @having;
	if (chance(0.25)) { push @having, [tag('HAVING'), fill(template($aggregates{having}, $f->{scope}), $f->{scope}, 1)] }
	if ($d > 0 && chance(0.1)) { push @having, [tag('scalar in HAVING'), 'count(*) > ', scalar_subquery([], 'int', $d, 1)] }
	$tail = limit(map { ordered("c$_", $types[$_ - 1]) } 1 .. @types) if @keys && !$o->{types} && $d > 0 && chance(0.05) && !grep { $canonical{$_} } @types;
	return { sql => [tag(@tags), 'SELECT', targets(@targets), $f->{piece}, where($f, $d), $by, list(' HAVING ', ' AND ', 0, @having), $tail], columns => named(@types) };
}

# Group keys as what a subquery may see of the outer query.
sub fake_scope
{
	my ($keys, $types, @which) = @_;
	return [map { my ($alias, $name) = split /\./, $keys->[$_]; { alias => $alias, columns => [[$name, $types->[$_]]], order => [] } } @which];
}

sub window
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my $f = from_clause($d, $ctes, $outer, 1);
	my $all = !$o->{deeper} && chance(0.08);
	my $key = raw(key($f->{scope}));
	my @partition = $all ? '' : ("PARTITION BY $key", "PARTITION BY $key", "PARTITION BY $key, " . raw(key($f->{scope})));
	my (@targets, @types);
	for my $t (types_for($types, $f->{scope}, $o))
	{
		my $w = $windows{$t} && (@targets == 0 || chance(0.6));
		my $x = $w ? fill(template($windows{$t}, $f->{scope}), $f->{scope}, 1, 0, P => pick(@partition)) : expr($f->{scope}, $t, 1);
		my $keyed = $o->{canonical} && $canonical{$t};
		push @targets, $keyed ? [$canonical{$t} =~ s/%s.*//r, $x, $canonical{$t} =~ s/.*%s//r] : $x;
		push @types, $keyed ? $canonical_type{$t} : $t;
	}
	if (!$o->{types}) { push @targets, fill(pick(@{ $windows{int} }), $f->{scope}, 1, 0, P => $partition[0]); push @types, 'int' }
	return { sql => [tag($all ? 'window without PARTITION BY' : 'window'), 'SELECT', targets(@targets), $f->{piece}, where($f, $d)], columns => named(@types) };
}

sub setop
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my @types = $o->{types} ? @$types : map { pick(@key_types) } 1 .. pick(1, 2, 2, 3);
	my @branch = map { select_query($d - 1, types => \@types, canonical => 1, kinds => [qw(plain plain plain group distinct window setop)], outer => $outer, correlated => 1)->{sql} } 1 .. 2;
	my $op = pick(@set_operations);
	my $tail = !$o->{types} && chance(0.08) ? limit(map { "c$_" } 1 .. @types) : '';
	return { sql => { any => [[tag($op), '(', $branch[0], ") $op (", $branch[1], ')', $tail], @branch] }, columns => named(@types) };
}

# Rows with their rows inside, as documents or arrays.
sub document
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my $top = relation(0, []);
	my @c = map { [$_->[0], $_->[1]] } @{ $top->{rel}{columns} };
	my (@targets, @types);
	for my $c (@c > 3 ? @c[0 .. 2] : @c) { push @targets, "$top->{rel}{alias}.$c->[0]"; push @types, $c->[1] }
	push @targets, items([$top->{rel}], $d);
	push @types, 'list';
	return { sql => [tag('nested document'), 'SELECT', targets(@targets), ' FROM ', $top->{piece}, $outer ? [' WHERE ', correlation([$top->{rel}], $outer)] : ''], columns => named(@types) } if !$o->{types};
	return plain('plain', $d, $types, $outer, $ctes, $o);
}

sub items
{
	my ($outer, $d) = @_;
	my $r = relation(0, []);
	my @scope = ($r->{rel});
	my $fields = list('', ', ', 0, (map { "'$_->[0]', $r->{rel}{alias}.$_->[0]" } grep { $_->[1] ne 'ints' } @{ $r->{rel}{columns} }[0 .. (@{ $r->{rel}{columns} } > 2 ? 2 : 0)]),
		$d > 1 && chance(0.7) ? ["'items', ", items(\@scope, $d - 1)] : ());
	my $tail = [' FROM ', $r->{piece}, ' WHERE ', correlation(\@scope, $outer, 1)];
	my $order = join ', ', total(\@scope);
	return [tag('ARRAY(SELECT)'), 'ARRAY(SELECT jsonb_build_object(', $fields, ')::text', $tail, " ORDER BY $order)"] if chance(0.2);
	return ["(SELECT jsonb_agg(to_jsonb($r->{rel}{alias}) ORDER BY $order)::text", $tail, ')'] if chance(0.2);
	return ['(SELECT jsonb_agg(jsonb_build_object(', $fields, ") ORDER BY $order)::text", $tail, ')'];
}

sub recursive
{
	my ($from, $to) = map { my $s = $_; $s } map { pick(grep { $_->{id} } @sources) } 1 .. 2;
	return { sql => tag('WITH RECURSIVE') . "WITH RECURSIVE r (c1, c2) AS (SELECT f.id, f.a FROM $from->{name} f WHERE f.a > 0 UNION SELECT t.id, t.a FROM r JOIN $to->{name} t ON t.a = r.c1 % 4) SELECT c1, c2 FROM r",
		columns => [['c1', 'int'], ['c2', 'int']] };
}

# How many SELECTs stand in one another.
sub nesting
{
	my ($sql) = @_;
	my ($most, $now, @open) = (0, 0);
	while ($sql =~ /(\()|(\))|\bSELECT\b/g)
	{
		if ($1) { push @open, $now }
		elsif ($2) { $now = pop @open }
		else { $now = (@open ? $open[-1] : 0) + 1; $most = $now if $now > $most }
	}
	return $most;
}

# A query of `kind` (undef = any) over `sources`: [{ name, columns, order, id, tags }].  Returns { sql, columns, tags => [...] }.
sub random_query
{
	my ($in, $kind, $d, @from) = @_;
	($schema, $aliases) = ($in, 0);
	@sources = @from;
	my $q = ($kind // '') eq 'recursive' ? recursive() : select_query($d, kinds => $kind ? [$kind] : undef);
	my $sql = text($q->{sql});
	$q->{tags} = [tags_of($q->{sql}), $sql =~ /GROUP BY.*\b(?:FROM|JOIN) \(SELECT.*GROUP BY/s ? 'aggregate over aggregate' : (), nesting($sql) >= 4 ? 'four deep and more' : ()];
	return $q;
}

1;
