# What the pages for users say runs: every ```sql block of docs/*.md and of the README's chapters on views (with this server's address), page by page, each in a fresh
# database, in order, in one session.  A line that says `-- error: <SQLSTATE>` must fail so, and no other may; `--> a | b` and `--> no rows` are the
# line's last row, and all that it gives.  What a ```text block shows must be printed, spaces and numbers of parts aside.  Rows of tables with a query
# and a strategy (or an alternative) are asked of explain_query.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp qw(tempdir);
use Test::More;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $pg = start_server('docs', 'max_worker_processes = 32');

# What stands before a page: the extension, and what a page takes for granted.
my %given = ('docs/from_pg_ivm.md' => [
	'CREATE SCHEMA pgivm', 'CREATE TABLE pgivm.pg_ivm_immv (immvrelid regclass, viewdef text, ispopulated boolean, lastivmupdate xid8)',
	q{CREATE FUNCTION pgivm.get_immv_def(immv regclass) RETURNS text LANGUAGE sql AS 'SELECT viewdef FROM pgivm.pg_ivm_immv WHERE immvrelid = immv'},
	'CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, amount numeric NOT NULL)', 'INSERT INTO orders SELECT i, i % 10, i FROM generate_series(1, 100) i',
	'CREATE TABLE customer_totals AS SELECT customer_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer_id',
	q{INSERT INTO pgivm.pg_ivm_immv VALUES ('customer_totals', 'SELECT customer_id, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer_id', true)} ],
	'docs/testing.md' => ['CREATE EXTENSION pgtap']);
my @pages = (['README.md', qr/^### (Live views|Changes of a view|A view, mirrored elsewhere)$/], map { [s{^\Q$top\E/}{}r, undef] } sort glob "$top/docs/*.md");

# The page as a script whose lines are the page's own (those of other blocks empty), which prints `@line` after each line that ends a statement;
# the errors and rows that it announces, and the outputs that it shows.
sub script_of
{
	my ($page, $chapters, $db) = @_;
	my ($block, $wanted, $quoted, %error, %row, @sql, @shown) = ('', !$chapters, 0);
	open my $in, '<', "$top/$page" or die "$page: $!";
	while (my $line = <$in>)
	{
		if ($line =~ /^```(\w*)/) { $block = $block ? '' : $1 || 'other'; push @sql, "\n"; next }
		$wanted = $line =~ $chapters if $chapters && !$block && $line =~ /^#+ /;
		push @shown, $line if $block eq 'text' && $wanted;
		if ($block ne 'sql' || !$wanted) { push @sql, "\n"; next }
		$line =~ s/"port": 5432, "dbname": "postgres"/"port": $pg->{PGPORT}, "dbname": "$db"/;
		$quoted ^= 1 if (() = $line =~ /\$\$/g) % 2;
		$error{$.} = $1 if $line =~ /-- error: (\w{5})/;
		$row{$.} = plain($1) if $line =~ /--> ([^;\n]*)/;
		push @sql, $quoted ? $line : $line =~ s/;[ \t]*(--.*)?$/; \\echo \@$./r;
	}
	return (join('', @sql, "\\echo that was all\n"), \%error, \%row, \@shown);
}

sub plain { my ($text) = @_; return $text =~ s/\bv\d+_/vN_/gr =~ s/ *\| */|/gr =~ s/^ +| +$//gmr }

# What psql says, which errors it met and what it printed, both by line.
sub run_page
{
	my ($db, $script) = @_;
	my $file = "$pg->{PGHOST}/$db.sql";
	open my $out, '>', $file or die "$file: $!";
	print $out $script;
	close $out;
	local $ENV{PGOPTIONS} = '-c client_min_messages=error';
	my $said = `'$pg->{TD_PG_BIN}/psql' -XAtq -v VERBOSITY=verbose -h '$pg->{PGHOST}' -p $pg->{PGPORT} -U postgres -d $db -f '$file' 2>&1`;
	unlink $file;
	my (%failed, %printed);
	my @lines;
	for (split /\n/, $said)
	{
		$failed{$1} = $2 if /^psql:.*?\.sql:(\d+): (?:ERROR|FATAL|PANIC): +(\w{5})/;
		if (/^@(\d+)$/) { $printed{$1} = [@lines]; @lines = () }
		else { push @lines, plain($_) }
	}
	return ($said, \%failed, \%printed);
}

# | construct | `query` | `strategy [+ parts]` | ... and | construct | `query` | what else |
sub check_tables
{
	my ($page, $db) = @_;
	my ($kind, $n) = ('', 0);
	open my $in, '<', "$top/$page" or die "$page: $!";
	while (<$in>)
	{
		$kind = 'full' if /^With `\{"allow_full"/;
		$kind = 'none' if /^Refused in any case/;
		my ($query, $says) = /^\| [^|]* \| `((?:SELECT|WITH) [^`]*)` \| ([^|]*) \|/ or next;
		my ($strategy, $parts) = $says =~ /^`(\w[\w-]*)( \+ parts)?`$/ ? ($1, $2) : ($kind, undef);
		my $rows = eval { psql($db)->selectall_arrayref('SELECT node, strategy FROM tapdata.explain_query(?)', undef, $query) };
		my $is = $rows ? $rows->[0][1] . ((grep { $_->[0] =~ /^\s*part \d+$/ } @$rows) ? ' + parts' : '') : psql($db)->state eq '0A000' ? 'none' : $@;
		is($is, $strategy . ($parts // ''), "$page line $.: $query");
		$n++;
	}
	return $n;
}

for (@pages)
{
	my ($page, $chapters) = @$_;
	my $db = lc $page =~ s/\W+/_/gr;
	my ($script, $errors, $rows, $shown) = script_of($page, $chapters, $db);
	execute('postgres', "CREATE DATABASE $db");
	execute($db, 'CREATE EXTENSION tapdata', @{ $given{$page} // [] });
	my ($said, $failed, $printed) = run_page($db, $script);
	like($said, qr/\S.*that was all$/s, "$page was run to its end");
	is_deeply($failed, $errors, "$page: every statement runs, and fails where it says so") or diag $said;
	is_deeply({ map { $_ => @{ $printed->{$_} } ? $printed->{$_}[-1] : 'no rows' } keys %$rows }, $rows, "$page: the rows are those that it says") or diag $said;
	my $all = plain($said);
	is(join('', grep { index($all, plain($_)) < 0 } @$shown), '', "$page shows what is printed") or diag $said;
	if ($page eq 'docs/views.md')
	{
		tables_db($script);
		cmp_ok(check_tables($page, 'views_tables'), '>=', 45, 'constructs were asked for');
	}
	is(value($db, 'SELECT count(*) FROM tapdata.views WHERE error IS NOT NULL'), 0, "$page leaves no view in error");
	psql($db)->disconnect;
	execute('postgres', "DROP DATABASE $db WITH (FORCE)");
}

# What the tables of docs/views.md are about: its first block, without what comes later.
sub tables_db
{
	my ($script) = @_;
	my ($first) = $script =~ /\A\n*(\S.*?\n)\n/s;
	$first =~ s/ \\echo \@\d+$//gm;
	execute('postgres', 'CREATE DATABASE views_tables');
	execute('views_tables', 'CREATE EXTENSION tapdata');
	psql('views_tables')->do($first);
	return;
}

# ---- what the README says of installing elsewhere ----
{
	my $stage = tempdir(CLEANUP => 1);
	is(system("make -s -C '$top' install DESTDIR='$stage' PG_CONFIG='$pg->{TD_PG_BIN}/pg_config' > '$stage/log' 2>&1"), 0, 'make install DESTDIR=...');
	ok(`find '$stage' -path '*$_'`, "... has $_") for qw(lib/tapdata.so extension/tapdata.control tapdata/tapdata-host);
	open my $readme, '<', "$top/README.md" or die "README.md: $!";
	my @calls = map { m{^    test/servers/pg (\w+) mine} ? $1 : () } <$readme>;
	is("@calls", 'start psql drop', 'a private server');
	is(`'$top/test/servers/pg' psql docs -AtX -c 'SELECT 1'`, "1\n", '... as this one is');
}

finish();
done_testing();
