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
use TdTypes qw(%values %sql_type %canonical %canonical_type @key_types %templates %aggregates %windows);

our @EXPORT_OK = qw(random_query text shrink kinds literal sql_type in_schema refuses pick);

my ($schema, $aliases, @sources);
my %refused;    # constructs that are not asked for, as create_view would refuse them

sub in_schema { ($schema) = @_; return }
sub refuses { my ($what) = @_; $refused{$what} = 1; return }

sub pick { return $_[int rand @_] }
sub chance { return rand() < $_[0] }

sub literal { my ($t) = @_; return pick(@{ $values{$t} }) . '::' . sql_type($t) }
sub sql_type { my ($t) = @_; return $sql_type{$t} =~ s/\$S/$schema/r }

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

sub columns_of { my ($scope, @types) = @_; my %want = map { $_ => 1 } @types; return map { my $r = $_; map { ["$r->{alias}.$_->[0]", $_->[1]] } grep { !@types || $want{ $_->[1] } } @{ $r->{columns} } } @$scope }

# The column of that type if there is one (joins by id meet best), else a value.
sub leaf { my ($scope, $type) = @_; my @c = columns_of($scope, $type) or return literal_or_null($type); return pick(@c)->[0] }
sub literal_or_null { my ($t) = @_; return $values{$t} ? literal($t) : $canonical{$t} ? 'NULL::' . sql_type($t) : 'true' }

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
	return $schema if $what eq 'S';
	return [tag('user function'), "$schema.twice"] if $what eq 'fn';
	return key($scope, undef, $e > 0 && chance(0.2) ? 1 : 0) if $what eq 'key';
	return list('', ', ', 0, total($scope)) if $what eq 'total';
	if ($what eq 'row') { my @r = grep { !$_->{no_row} } @$scope; return @r ? [tag('whole row'), pick(@r)->{alias}] : 'ROW(1)' }
	return leaf($scope, 'text') if $what eq 'textcol';
	if ($what eq 'any') { my @c = columns_of($scope); return @c ? pick(@c)->[0] : '1::int' }
	return !chance(0.2) ? '' : list('', '', 0, [tag('FILTER'), ' FILTER (WHERE ', expr($scope, 'cond', 1), ')']) if $what eq 'F';
	return expr($scope, $what, $e, $d);
}

sub aggregate
{
	my ($scope, $type, $d) = @_;
	my $t = template($aggregates{$type}, $scope);
	my @tags = ($t =~ /DISTINCT/ ? 'aggregate DISTINCT' : (), $t =~ /WITHIN/ ? 'WITHIN GROUP' : $t =~ /ORDER BY/ ? 'aggregate ORDER BY' : (), $t =~ /FILTER/ ? 'FILTER' : ());
	return [tag(@tags), fill($t, $scope, 1, ($d // 0) > 0 && chance(0.15) ? 1 : 0)];
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
	my $what = pick('EXISTS', 'EXISTS', 'NOT EXISTS', 'NOT EXISTS', 'IN', 'IN', 'NOT IN', 'NOT IN', 'scalar in WHERE', 'scalar in WHERE', 'ANY or ALL', 'row IN', 'ANY (ARRAY)');
	return [tag($what), $what, ' (', select_query($d - 1, outer => $scope, correlated => 0.9, types => ['int'], kinds => [qw(plain plain plain group distinct)])->{sql}, ')'] if $what =~ /EXISTS/;
	my $type = pick(grep { my $t = $_; columns_of($scope, $t) || $t eq 'int' } qw(int int int text dec date uuid));
	if ($what eq 'row IN')
	{
		my $q = select_query($d - 1, outer => $scope, correlated => 0.3, types => [$type, 'int'], kinds => [qw(plain plain plain group distinct)])->{sql};
		return [tag($what), '((', leaf($scope, $type), ', ', leaf($scope, 'int'), pick(') IN (', ') NOT IN (', ') = ANY ('), $q, '))'];
	}
	if ($what =~ /ARRAY/)
	{
		my $q = select_query($d - 1, outer => $scope, correlated => 0.7, types => [$type], kinds => [qw(plain plain distinct)])->{sql};
		return [tag('ANY or ALL'), '(', leaf($scope, $type), pick(' = ANY', ' <> ALL'), ' (ARRAY(', $q, ')))'];
	}
	return [tag($what), '(', leaf($scope, $type), pick(' = ', ' < ', ' >= ', ' IS DISTINCT FROM '), scalar_subquery($scope, $type, $d, 1), ')'] if $what =~ /scalar/;
	my $ordered = chance(0.12);
	my $q = select_query($d - 1, outer => $scope, correlated => 0.3, types => [$type], kinds => [$ordered ? qw(plain plain group) : qw(plain plain plain group distinct setop)])->{sql};
	$q = [$q, tag('ORDER BY in IN'), ' ORDER BY 1'] if $ordered;
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
	return derived($d) if $d > 0 && chance(0.35);
	if ($d > 0 && chance(0.02)) { return { piece => tag('function alone in FROM') . "generate_series(0, 3) $alias (c1)", rel => { alias => $alias, columns => named('int'), order => named('int') } } }
	if ($d > 0 && chance(0.04)) { return { piece => tag('VALUES') . "(VALUES (1, 'x', NULL::date), (2, 'y', '2026-01-01'), (NULL, 'x', NULL)) $alias (c1, c2, c3)", rel => { alias => $alias, columns => named(qw(int text date)), order => named(qw(int text date)) } } }
	my $s = pick(@sources);
	return { piece => tag(@{ $s->{tags} }) . "$s->{name} $alias", rel => { alias => $alias, columns => $s->{columns}, order => $s->{order} || $s->{columns}, keyed => $s->{order} && 1, id => $s->{id} } };
}

sub derived
{
	my ($d, $kinds) = @_;
	my $alias = 'q' . ++$aliases;
	my $q = select_query($d - 1, deeper => 1, kinds => $kinds);
	return { piece => [tag('derived table'), '(', $q->{sql}, ") $alias"], rel => { alias => $alias, columns => $q->{columns}, order => $q->{columns} } };
}

# Equality, by id when both have it or by any pair of columns of a type; now and then something more.
sub join_condition
{
	my ($scope, $rel, $only, $d) = @_;
	my $left = pick(@$scope);
	my $eq = $left->{id} && $rel->{id} && chance(0.35) ? "$left->{alias}.id = $rel->{alias}.id" : undef;
	if (!$eq)
	{
		my @types = grep { columns_of([$left], $_) && columns_of([$rel], $_) } qw(int int int int int text date uuid dec num ts);
		return undef if !@types;
		my $t = pick(@types);
		$eq = [leaf([$left], $t), ' = ', leaf([$rel], $t)];
	}
	return list('', ' AND ', 1, $eq, [tag('subquery in ON'), subquery_condition([@$scope, $rel], $d)]) if !$only && ($d // 0) > 0 && chance(0.12);
	return list('', ' AND ', 1, $eq, !$only && chance(0.25) ? ['(', fill(template($templates{cond}, [@$scope, $rel]), [@$scope, $rel], 0), ')'] : ());
}

# Are there columns of it that are not told of?  Those of c1, c2 ... whose type may be any.
sub has_more { my ($rel) = @_; my @n = sort { $a <=> $b } map { $_->[0] =~ /^c(\d+)$/ ? $1 : () } @{ $rel->{columns} }; return @n && $n[-1] != @n }

# A join of tables under a name of its own, which hides theirs: columns are named by it, those that both have not at all.  It is made only if there is one left.
sub aliased
{
	my ($from, @scope) = @_;
	my $alias = 'q' . ++$aliases;
	my (%n, @columns);
	return ($from, @scope) if grep { has_more($_) } @scope;
	$n{ $_->[0] }++ for map { @{ $_->{columns} } } @scope;
	$n{$1}-- if raw($from) =~ /\bUSING \((\w+)\)/;
	for my $c (map { @{ $_->{columns} } } @scope) { push @columns, $c if $n{ $c->[0] } == 1 && !grep { $_->[0] eq $c->[0] } @columns }
	return ($from, @scope) if !@columns;
	return (['(', $from, ') ', tag('alias of a join'), $alias], { alias => $alias, no_row => 1, columns => \@columns, order => \@columns });
}

my @outer_join = ([' JOIN ', 'inner join'], [' JOIN ', 'inner join'], [' LEFT JOIN ', 'LEFT JOIN'], [' LEFT JOIN ', 'LEFT JOIN'], [' RIGHT JOIN ', 'RIGHT JOIN'], [' FULL JOIN ', 'FULL JOIN']);

# Returns { piece => FROM clause, scope, where => [...] }.
sub from_clause
{
	my ($d, $ctes, $outer, $wide, $first_kinds) = @_;
	my $first = $first_kinds && $d > 0 ? derived($d, $first_kinds) : relation($d, $ctes);
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
				my @same = $n == 2 ? grep { my $c = $_; grep { $_->[0] eq $c->[0] && $_->[1] eq $c->[1] && !$canonical{ $c->[1] } } @{ $r->{rel}{columns} } } @{ $scope[0]{columns} } : ();
				if (@same && chance(0.2))
				{
					push @items, [tag($tag, 'USING'), $join, $r->{piece}, ' USING (', pick(@same)->[0], ')'];
					push @scope, $r->{rel};
					next;
				}
				my $on = join_condition(\@scope, $r->{rel}, $tag eq 'FULL JOIN' && chance(0.7), $tag eq 'FULL JOIN' ? 0 : $d) or next;
				push @items, { any => [[tag($tag), $join, $r->{piece}, ' ON ', $on], ($join eq ' JOIN ' ? () : [' JOIN ', $r->{piece}, ' ON ', $on])] };
			}
		}
		push @scope, $r->{rel};
	}
	my $from = [$first->{piece}, list('', '', 0, @items)];
	($from, @scope) = aliased($from, @scope) if @scope > 1 && !$commas && chance(0.3) && !grep({ !exists $_->{id} } @scope);
	push @where, correlation(\@scope, $outer) if $outer;
	return { piece => [' FROM ', $from], scope => \@scope, where => \@where, outer => $outer && chance(0.3) ? $outer : [] };
}

sub lateral_item
{
	my ($d, $scope, $items) = @_;
	my $alias = 'q' . ++$aliases;
	my @srf = (
		(map { [int => "unnest($_->[0])"] } columns_of($scope, 'ints')),
		(map { [int => "generate_series(1, least($_->[0], 3)::int)"] } columns_of($scope, 'int')),
		(map { [doc => "jsonb_array_elements(CASE WHEN jsonb_typeof($_->[0]) = 'array' THEN $_->[0] ELSE '[]' END)"], [text => "jsonb_object_keys(CASE WHEN jsonb_typeof($_->[0]) = 'object' THEN $_->[0] ELSE '{}' END)"] } columns_of($scope, 'json')));
	my @pairs = ((map { [[qw(text text)], "jsonb_each_text(CASE WHEN jsonb_typeof($_->[0]) = 'object' THEN $_->[0] ELSE '{}' END)"] } columns_of($scope, 'json')),
		(map { my $l = $_->[0]; map { [[qw(int text)], "unnest($l, $_->[0])"] } columns_of($scope, 'texts') } columns_of($scope, 'ints')), (map { [['text'], "string_to_table(left($_->[0], 5), 'x')"] } columns_of($scope, 'text')));
	my $outer = chance(0.5);
	if (@pairs && chance(0.15))
	{
		my ($types, $call) = @{ pick(@pairs) };
		push @$items, [tag('function in FROM'), $outer ? ' LEFT JOIN LATERAL ' : ' CROSS JOIN LATERAL ', $call, " AS $alias (", join(', ', map { $_->[0] } @{ named(@$types) }), ')', $outer ? ' ON true' : ''];
		push @$scope, { alias => $alias, columns => named(@$types), order => named(@$types) };
		return;
	}
	if (@srf && chance(0.4))
	{
		my ($type, $call) = @{ pick(@srf) };
		my $ordinality = chance(0.3);
		my @columns = (['c1', $type], $ordinality ? ['c2', 'int'] : ());
		push @$items, [tag('function in FROM'), $outer ? ' LEFT JOIN ' : ' CROSS JOIN ', $call, $ordinality ? " WITH ORDINALITY AS $alias (c1, c2)" : " AS $alias (c1)", $outer ? ' ON true' : ''];
		push @$scope, { alias => $alias, columns => \@columns, order => \@columns };
		return;
	}
	my $q = select_query($d - 1, outer => $scope, correlated => 0.9, kinds => [qw(plain whole group), $refused{'top-k'} ? () : qw(topk topk)], deeper => 1);
	push @$items, [tag('LATERAL'), $outer ? ' LEFT JOIN LATERAL (' : ' CROSS JOIN LATERAL (', $q->{sql}, ") $alias", $outer ? ' ON true' : ''];
	push @$scope, { alias => $alias, columns => $q->{columns}, order => $q->{columns} };
	return;
}

# ---- queries ----

# kind -> how it is made; which kinds come how often
my %make = (plain => \&plain, distinct => \&plain, topk => \&plain, first => \&plain, srf => \&plain, distinct_on => \&distinct_on, group => \&group, sets => \&group, whole => \&group, window => \&window, setop => \&setop,
	document => \&document, cte => \&group, aggagg => \&group, nested => \&plain);
my @often = (qw(plain plain plain group group group whole distinct distinct_on sets window window setop setop topk srf document));
sub kinds { return qw(plain group distinct sets whole distinct_on window setop topk srf document recursive cte aggagg sets nested) }

my @set_operations = ('UNION', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT ALL');

# { sql, columns => [[name, type]...] }.  types: those its columns must have (and its only ones).
sub select_query
{
	my ($d, %o) = @_;
	my $outer = $o{outer} && chance($o{correlated}) ? $o{outer} : undef;
	my @kinds = grep { ($d > 0 || !/^(setop|document)$/) && !($_ eq 'topk' && $refused{'top-k'} && !$o{asked}) } @{ $o{kinds} || \@often };
	my $kind = @kinds ? pick(@kinds) : 'plain';
	my @types = $o{types} ? @{ $o{types} } : map { pick(qw(int int int text dec num date bool), keys %sql_type) } 1 .. pick(1, 2, 2, 3, 4);
	my (@with, @ctes);
	if ($d > 1 && chance($kind eq 'cte' ? 1 : $outer ? 0.08 : 0.2))
	{
		for (1 .. pick(1, 1, 2))
		{
			my $q = select_query($d - 1, deeper => 1, outer => $outer, correlated => 0.5);
			my $name = 'w' . ++$aliases;
			push @ctes, { name => $name, columns => $q->{columns} };
			push @with, ["$name AS ", pick('', '', tag('MATERIALIZED') . 'MATERIALIZED ', 'NOT MATERIALIZED '), '(', $q->{sql}, ')'];
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
	return list(' WHERE ', ' AND ', 0, @{ $f->{where} }, map { expr([@{ $f->{scope} }, @{ $f->{outer} }], 'cond', 1, $d) } 1 .. pick(0, 0, 1, 1, 2));
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
	my $f = from_clause($d, $ctes, $outer, 1, $kind eq 'nested' && [qw(group distinct window setop sets distinct_on srf whole)]);
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
	my $idle = chance(0.04) ? [tag('WINDOW without use'), ' WINDOW idle AS (PARTITION BY ', raw(key($f->{scope})), ')'] : '';
	my $distinct = '';
	if ($kind eq 'distinct') { $distinct = { any => [tag('DISTINCT') . ' DISTINCT', ''] }; $tail = limit(map { "c$_" } 1 .. @types) if chance(0.1) && !$refused{'top-k'} }
	return { sql => ['SELECT', $distinct, targets(@targets), $f->{piece}, where($f, $d), list('', '', 0, $idle), $tail], columns => named(@types) };
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
	my $f = from_clause($d, $ctes, $outer, 1, $kind eq 'aggagg' && [qw(group group group whole sets)]);
	my (@keys, @key_types, @targets, @types, @having);
	for (1 .. ($kind eq 'whole' ? 0 : $kind eq 'sets' ? pick(2, 2, 3) : pick(1, 1, 2)))
	{
		my @c = map { [$_->[0], $_->[1]] } grep { my $t = $_->[1]; !$canonical{$t} } columns_of($f->{scope});
		my $c = @c ? pick(@c) : ['(1::int + 0)', 'int'];
		if (chance(0.25) && $kind ne 'sets') { my $t = pick(qw(int text date num)); $c = [key($f->{scope}, $t, 1), $t]; $c->[0] = ['coalesce(', $c->[0], ')'] if text($c->[0]) =~ /^[\w']+::|^'/ }
		push @keys, $c->[0];
		push @key_types, $c->[1];
	}
	my $srf = !$o->{types} && @keys && chance($kind eq 'sets' ? 0.1 : 0.08);
	if ($srf)
	{
		my @arrays = columns_of($f->{scope}, 'ints');
		$keys[0] = tag('set-returning in GROUP BY') . (@arrays && chance(0.6) ? 'unnest(' . pick(@arrays)->[0] . ')' : 'generate_series(1, least(' . leaf($f->{scope}, 'int') . ', 3)::int)');
		$key_types[0] = 'int';
	}
	my @tags = $kind eq 'whole' ? 'aggregates without GROUP BY' : 'GROUP BY';
	for my $t (types_for($types, $f->{scope}, $o))
	{
		my ($i) = grep { $key_types[$_] eq $t } 0 .. $#keys;
		my $x = defined $i && chance(0.5) ? $keys[$i] : $aggregates{$t} ? aggregate($f->{scope}, $t, $d) : defined $i ? $keys[$i] : literal_or_null($t);
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
		if (@keys == 2 && $kind =~ /^(group|sets)$/ && !$srf && chance(0.1)) { push @targets, [tag('window over groups'), pick('rank()', 'sum(count(*))', 'max(count(*))', 'lag(count(*))'), ' OVER (PARTITION BY ', $keys[0], ' ORDER BY count(*), ', $keys[1], $kind eq 'sets' ? (', GROUPING(', $keys[0], ', ', $keys[1], ')') : (), ')']; push @types, 'int' }
		if (@key_scope && $d > 0 && chance(0.12)) { push @having, [tag('subquery in HAVING'), subquery_condition(fake_scope(\@keys, \@key_types, @key_scope), $d)] }
	}
	my ($by, $tail) = ('', '');
	if ($kind eq 'sets')
	{
		my $how = pick('GROUPING SETS', 'ROLLUP', 'CUBE');
		push @tags, $how;
		my $common = @keys == 3 && chance(0.5);
		my @in = $common ? @keys[1, 2] : @keys;
		if ($how eq 'GROUPING SETS' && @in == 3) { $by = ['GROUPING SETS (', list('', ', ', 1, ['(', $in[0], ', ', $in[1], ', ', $in[2], ')'], ['(', $in[1], ', ', $in[0], ')'], ['(', $in[2], ')'], chance(0.5) ? '()' : '(), ()'), ')'] }
		elsif ($how eq 'GROUPING SETS') { $by = ['GROUPING SETS (', chance(0.6) ? list('', ', ', 1, ['(', $in[0], ', ', $in[1], ')'], ['(', $in[0], ')']) : list('', ', ', 1, ['(', $in[0], ')'], ['(', $in[1], ')'], '()'), ')'] }
		else { $by = ["$how (", $in[0], ', ', $in[1], @in == 3 ? (', ', $in[2]) : (), ')'] }
		push @having, [tag('HAVING', 'GROUPING()'), 'GROUPING(', $in[1], ') ', pick('=', '<='), ' ', pick('0', 'count(*)')] if chance(0.15);
		$by = [pick(' GROUP BY ', ' GROUP BY ', ' GROUP BY DISTINCT '), $common ? [$keys[0], ', '] : (), $by];
		if (!$o->{types} && !$srf && chance(0.5)) { push @targets, [tag('GROUPING()'), 'GROUPING(', $keys[0], ', ', $keys[1], ')']; push @types, 'int' }
	}
	elsif (@keys) { $by = list(' GROUP BY ', ', ', 0, @keys) }
	if (chance(0.25)) { push @having, [tag('HAVING'), fill(template($aggregates{having}, $f->{scope}), $f->{scope}, 1)] }
	if ($d > 0 && chance(0.1)) { push @having, [tag('scalar in HAVING'), 'count(*) > ', scalar_subquery([], 'int', $d, 1)] }
	$tail = limit(map { ordered("c$_", $types[$_ - 1]) } 1 .. @types) if @keys && !$o->{types} && $d > 0 && chance(0.05) && !$refused{'top-k'} && !grep { $canonical{$_} } @types;
	my $distinct = !(grep { $canonical{$_} } @types) && chance(0.06) ? [tag('DISTINCT over groups'), ' DISTINCT'] : '';
	return { sql => [tag(@tags), 'SELECT', $distinct, targets(@targets), $f->{piece}, where($f, $d), $by, list(' HAVING ', ' AND ', 0, @having), $tail], columns => named(@types) };
}

# Group keys as what a subquery may see of the outer query.
sub fake_scope
{
	my ($keys, $types, @which) = @_;
	return [map { my ($alias, $name) = split /\./, $keys->[$_]; { alias => $alias, no_row => 1, columns => [[$name, $types->[$_]]], order => [] } } @which];
}

sub window
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my $f = from_clause($d, $ctes, $outer, 1);
	my $all = !$o->{deeper} && chance(0.08);
	my $key = raw(key($f->{scope}));
	my @partition = $all ? '' : "PARTITION BY $key";
	push @partition, "PARTITION BY $key", "PARTITION BY $key, " . raw(key($f->{scope})) if !$all && !grep { !$_->{keyed} } @{ $f->{scope} };    # rows that are alike come in one order, for all windows
	my (@targets, @types);
	for my $t (types_for($types, $f->{scope}, $o))
	{
		my $w = $windows{$t} && (@targets == 0 || chance(0.6));
		my $x = $w ? windowed($t, $f->{scope}, pick(@partition)) : expr($f->{scope}, $t, 1);
		my $keyed = $o->{canonical} && $canonical{$t};
		push @targets, $keyed ? [$canonical{$t} =~ s/%s.*//r, $x, $canonical{$t} =~ s/.*%s//r] : $x;
		push @types, $keyed ? $canonical_type{$t} : $t;
	}
	if (!$o->{types}) { push @targets, windowed('int', $f->{scope}, $partition[0]); push @types, 'int' }
	my $distinct = !(grep { $canonical{$_} } @types) && chance(0.06) ? [tag('DISTINCT over windows'), ' DISTINCT'] : '';
	return { sql => [tag($all ? 'window without PARTITION BY' : 'window'), 'SELECT', $distinct, targets(@targets), $f->{piece}, where($f, $d)], columns => named(@types) };
}

sub windowed
{
	my ($type, $scope, $partition) = @_;
	my $t = template($windows{$type}, $scope);
	return [$t =~ /ROWS|RANGE|GROUPS/ ? tag('window frame') : '', $t =~ /EXCLUDE/ ? tag('EXCLUDE') : '', fill($t, $scope, 1, 0, P => $partition)];
}

sub setop
{
	my ($kind, $d, $types, $outer, $ctes, $o) = @_;
	my @types = $o->{types} ? @$types : map { pick(@key_types) } 1 .. pick(1, 2, 2, 3);
	my @branch = map { select_query($d - 1, types => \@types, canonical => 1, kinds => [qw(plain plain plain group distinct window setop)], outer => $outer, correlated => 1)->{sql} } 1 .. 2;
	my $op = pick(@set_operations);
	my $tail = !$o->{types} && chance(0.08) && !$refused{'top-k'} ? limit(map { "c$_" } 1 .. @types) : '';
	return { sql => { any => [[tag($op), '(', $branch[0], ") $op (", $branch[1], ')', $tail], @branch] }, columns => named(map { $canonical_type{$_} // $_ } @types) };
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
	$sql =~ s/'[^']*'//g;
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
	my $q = ($kind // '') eq 'recursive' ? recursive() : select_query($kind && $kind =~ /cte/ ? $d + 2 : $kind && $kind =~ /aggagg|nested|setop/ ? $d + 1 : $d, kinds => $kind ? [$kind] : undef, asked => 1);
	my $sql = text($q->{sql});
	$q->{tags} = [tags_of($q->{sql}), $sql =~ /GROUP BY.*\b(?:FROM|JOIN) \(SELECT.*GROUP BY/s ? 'aggregate over aggregate' : (), nesting($sql) >= 4 ? 'four deep and more' : ()];
	return $q;
}

1;
