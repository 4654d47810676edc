# Positions in a feed, and databases that have a past in common: a dump that is restored twice, a template, a copy of a copy.  Each goes on with numbers
# of its own: what was before the copy is read everywhere, what came after it only where it happened; elsewhere it is an error, never a gap.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdExact;

my $pg = start_server('histories', 'max_worker_processes = 64', 'max_replication_slots = 40', 'max_wal_senders = 40');
my $dump = "$pg->{PGHOST}/dump";
sub program { my ($name, @args) = @_; local @ENV{qw(PGHOST PGPORT PGUSER)} = @$pg{qw(PGHOST PGPORT PGUSER)}; return system("$pg->{TD_PG_BIN}/$name", @args) == 0 }
sub restored { my ($db) = @_; execute('postgres', "CREATE DATABASE $db"); return program('pg_restore', '--exit-on-error', '-d', $db, $dump) }

# Nobody may be connected to the other one.
sub copy_of_files { my ($db, $of) = @_; TdProcs::close_all(); ok(eventually(sub { try_do(psql('postgres'), "CREATE DATABASE $db TEMPLATE $of") eq '' }), "CREATE DATABASE $db TEMPLATE $of"); return }

# n ticks of every view with a feed; the tick after each.
sub ticks
{
	my ($db, $n) = @_;
	my @after;
	for (1 .. $n) { execute($db, 'INSERT INTO t (g, v) SELECT i, i FROM generate_series(1, 3) i', "SELECT tapdata.wait_view('v')"); push @after, tick($db) }
	return @after;
}
sub tick { my ($db, $view) = @_; return value($db, 'SELECT tapdata.view_tick(?)', $view // 'v') }
sub foreign { my ($db, @ticks) = @_; return grep { try_do(psql($db), "SELECT * FROM tapdata.changes('v', $_)") !~ /^55000 .*has had no tick $_.*view_tick/s } @ticks }

execute('postgres', 'CREATE DATABASE src');
execute('src', 'CREATE EXTENSION tapdata', 'CREATE TABLE t (id serial PRIMARY KEY, g int, v int)', q{SELECT tapdata.create_view('v', 'SELECT g, count(*) AS n FROM t GROUP BY g', '{"changes": true}')},
	q{SELECT tapdata.create_view('late', 'SELECT g, max(id) AS n FROM t GROUP BY g')}, q{SELECT tapdata.wait_view('v')}, q{SELECT tapdata.wait_view('late')});
my @common = ticks('src', 5);
is("@common", '1 2 3 4 5', 'numbers of a database that is nobody\'s copy are small');
my $held = take_copy('src', 'v');

# ---- somebody mirrors it ----
execute('src', "CREATE ROLE reader LOGIN PASSWORD 'secret'", 'GRANT SELECT ON v TO reader');
execute('postgres', 'CREATE DATABASE sink');
execute('sink', 'CREATE EXTENSION tapdata', qq{SELECT tapdata.create_connection('far', 'tapdata', '{"host": "127.0.0.1", "port": $pg->{PGPORT}, "dbname": "src"}', '{"user": "reader", "password": "secret"}')},
	q{SELECT tapdata.mirror('far', '{v}')}, q{SELECT tapdata.wait_pipeline('far')});

# ---- copies, and all go on ----
ok(program('pg_dump', '-Fc', '-f', $dump, 'src'), 'pg_dump');
execute('sink', q{SELECT tapdata.stop_pipeline('far')});
copy_of_files('templated', 'src');
execute('sink', q{SELECT tapdata.start_pipeline('far')});
my %after = (src => [ ticks('src', 4) ]);
is("@{$after{src}}", '6 7 8 9', 'the original goes on as before');
my $ahead = take_copy('src', 'v');
execute('sink', q{SELECT tapdata.wait_pipeline('far')});
ok(restored($_), "pg_restore $_") for qw(one two);
for my $db (qw(one two templated))
{
	execute($db, 'SELECT tapdata.adopt_database()', q{SELECT tapdata.wait_view('v')});
	is(tick($db), 5, "$db: adopted, its rows are at the tick of the dump");
	is(join(' ', foreign($db, 6 .. 9)), '', "$db: ticks that only the original had, before it ticks itself");
	$after{$db} = [ ticks($db, 6) ];
	is(join(' ', foreign($db, 6 .. 11)), '', "$db: and after it has ticked further than the original");
	my $mine = { %$held };
	is(apply_changes($db, 'v', $mine), '', "$db: who stands at a tick of before the copy goes on there");
	is($mine->{tick}, $after{$db}[-1], "$db: with its numbers");
	my @steps = map { $after{$db}[$_] - $after{$db}[ $_ - 1 ] } 1 .. 5;
	is("@steps", '1 1 1 1 1', "$db: which grow by one");
	is(rows($db, 'SELECT status, exact FROM tapdata.views ORDER BY 1'), "streaming|1\nstreaming|1", "$db: exact");
	is(value($db, q{SELECT count(*) FROM tapdata.check_view('v')}), 0, "$db: as check_view says");
}
my @dbs = sort keys %after;
for my $here (@dbs) { is(join(' ', foreign($here, map { @{ $after{$_} } } grep { $_ ne $here } @dbs)), '', "$here: no tick of the others is one of its own") }
is(apply_changes('src', 'v', $ahead), '', 'the original reads its own');

# ---- a feed that is turned on in each of them, later ----
my %begun;
for my $db (@dbs)
{
	execute($db, q{SELECT tapdata.alter_view('late', '{"changes": true}')}, q{SELECT tapdata.wait_view('late')});
	$begun{ tick($db, 'late') }++;
	ticks($db, 1);
}
is(join(' ', grep { $_ > 1 } values %begun), '', 'begins at another number in each');

# ---- a copy of a copy; adopting what is adopted ----
{
	my $before = tick('one');
	execute('one', 'SELECT tapdata.adopt_database()');
	ticks('one', 1);
	is(tick('one'), $before + 1, 'adopt_database() in a database that is no copy changes nothing');
	my $one = take_copy('one', 'v');
	copy_of_files('again', 'one');
	my @one = ticks('one', 3);
	execute('again', 'SELECT tapdata.adopt_database()', q{SELECT tapdata.wait_view('v')});
	my @again = ticks('again', 5);
	is(join(' ', foreign('again', @one)) . join(' ', foreign('one', @again)), '', 'a copy of a copy: likewise');
	is(apply_changes('again', 'v', { %$_ }), '', 'it has the whole past') for $held, $one;
	cmp_ok($again[0], '>', $one[-1], 'numbers only grow');
}

# ---- the mirror, turned from the original to a copy ----
for my $db (qw(one templated))
{
	execute('sink', q{SELECT tapdata.stop_pipeline('far')}, qq{SELECT tapdata.alter_connection('far', '{"dbname": "$db"}')}, q{SELECT tapdata.start_pipeline('far')});
	ok(eventually(sub { value('sink', "SELECT status FROM tapdata.pipelines WHERE name = 'far'") eq 'failed' }), "a pipeline that is turned to $db stops");
	like(rows('sink', "SELECT sqlstate, error, hint FROM tapdata.pipelines WHERE name = 'far'"), qr/^55000\|the source is another database.*reset_pipeline/, 'with what to do');
}
execute('sink', q{SELECT tapdata.alter_connection('far', '{"dbname": "src"}')}, q{SELECT tapdata.start_pipeline('far')}, q{SELECT tapdata.wait_pipeline('far')});
is(rows('sink', 'SELECT g, n FROM far.v ORDER BY 1'), rows('src', 'SELECT g, n FROM v ORDER BY 1'), 'and goes on with the original');
finish();
done_testing();
