# Dump and restore: connections, pipelines, progress and records set aside come along; the copy stands still until it is adopted.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp;
use Test::More;
use TdProcs;

my $env = start_server('dump');
my $dir = File::Temp->newdir;
chmod 0755, "$dir";

# Runs a program of the server's own version against it.
sub program
{
	my ($name, @args) = @_;
	local @ENV{qw(PGHOST PGPORT PGUSER PGPASSWORD)} = @$env{qw(PGHOST PGPORT PGUSER PGPASSWORD)};
	return system("$env->{TD_PG_BIN}/$name", @args) == 0;
}

sub pipelines { my ($db) = @_; return rows($db, 'SELECT name, owner, status, exact, rows_loaded FROM tapdata.pipelines ORDER BY name') }

execute('postgres', 'CREATE ROLE td_owner LOGIN', 'CREATE DATABASE src');
execute('src', 'CREATE EXTENSION tapdata', 'GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO td_owner', 'GRANT CREATE ON DATABASE src TO td_owner',
	'SET SESSION AUTHORIZATION td_owner',
	q{SELECT tapdata.create_connection('shop', 'null', '{"rows": 30, "tables": 2, "keyless": 1, "transactions": 300}', '{"password": "s3cret"}')},
	q{SELECT tapdata.mirror('shop', options => '{"writable": false}')},
	q{SELECT tapdata.wait_pipeline('shop', '30 s')},
	q{SELECT tapdata.mirror('shop', name => 'idle', into_schema => 'idle', start => false)}, 'RESET SESSION AUTHORIZATION',
	q{INSERT INTO tapdata.error_entry (pipeline, message, record) SELECT id, 'set aside', '{"id": 1}' FROM tapdata.pipeline WHERE name = 'shop'});
my $before = pipelines('src');
like($before, qr/^idle\|td_owner\|created\|0\|0\nshop\|td_owner\|streaming\|1\|/, 'a running pipeline and one that never ran');
my $position = value('src', q{SELECT position FROM tapdata.pipelines WHERE name = 'shop'});
my $data = rows('src', 'SELECT * FROM shop.t0 ORDER BY id');

ok(program('pg_dump', '-Fc', '-f', "$dir/src.dump", 'src'), 'pg_dump');

# into another database
execute('postgres', 'CREATE DATABASE dst');
my $restored = value('postgres', 'SELECT clock_timestamp()');
ok(program('pg_restore', '--exit-on-error', '-d', 'dst', "$dir/src.dump"), 'pg_restore');
is(pipelines('dst') =~ s/fenced/X/gr, $before =~ s/created|streaming/X/gr, 'pipelines come along, fenced');
is(value('dst', q{SELECT string_agg(srvname || umoptions::text, ',') FROM pg_user_mappings}), 'shop{password=s3cret}', 'the connection with its credentials');
is(rows('dst', 'SELECT message, record FROM tapdata.errors'), 'set aside|{"id": 1}', 'records set aside');
is(value('dst', 'SELECT count(*) FROM tapdata.log WHERE at < ?', $restored), 0, 'not the log');    # which may have begun one of its own
is(value('dst', q{SELECT has_foreign_data_wrapper_privilege('td_owner', 'tapdata', 'USAGE')}), 1, 'rights on the wrapper');
is(value('dst', q{SELECT ok FROM tapdata.doctor() WHERE item = 'database'}), 0, 'the doctor says it is a copy');
ok(eventually(sub { worker_pids('supervisor', 'dst') == 1 }), 'it has a supervisor');
ok(quiet(1.5, sub { worker_pids('pipeline', 'dst') == 0 }), 'which starts nothing');
like(try_do(psql('dst'), q{SELECT tapdata.start_pipeline('shop')}), qr/^55000 .*copy of another/s, 'nor does its owner');
like(try_do(psql('dst'), 'DELETE FROM shop.t0'), qr/^55000 .*kept by mirror "shop"/s, 'the write guard came along');

execute('dst', 'SELECT tapdata.adopt_database()');
is(rows('dst', q{SELECT tapdata.wait_pipeline('shop', '30 s') IS NOT NULL}), 1, 'adopted: the one that ran runs again');
is(value('dst', q{SELECT status FROM tapdata.pipelines WHERE name = 'idle'}), 'stopped', 'the other one does not');
is(value('dst', q{SELECT rows_loaded FROM tapdata.pipelines WHERE name = 'shop'}), value('src', q{SELECT rows_loaded FROM tapdata.pipelines WHERE name = 'shop'}),
	'nothing was loaded again');
is(rows('dst', 'SELECT * FROM shop.t0 ORDER BY id'), $data, 'the same rows');
execute('dst', q{SELECT tapdata.mirror('shop', name => 'more', into_schema => 'more', start => false)});
is(value('dst', 'SELECT count(DISTINCT id) FROM tapdata.pipeline'), 3, 'numbers go on after those that came');
is(value('src', q{SELECT status FROM tapdata.pipelines WHERE name = 'shop'}), 'streaming', 'the original goes on');

# over itself: the extension is made anew, so this is a copy too
ok(program('pg_dump', '-Fc', '-f', "$dir/dst.dump", 'dst'), 'pg_dump');
execute('dst', q{SELECT tapdata.stop_pipeline('shop')});
ok(program('pg_restore', '--clean', '--if-exists', '--exit-on-error', '-d', 'dst', "$dir/dst.dump"), 'pg_restore --clean');
is(value('dst', 'SELECT string_agg(DISTINCT status, chr(44)) FROM tapdata.pipelines'), 'fenced', 'restored over itself: fenced');
ok(quiet(1.5, sub { worker_pids('pipeline', 'dst') == 0 }), 'nothing is started');
execute('dst', 'SELECT tapdata.adopt_database()');
is(rows('dst', q{SELECT tapdata.wait_pipeline('shop', '30 s') IS NOT NULL}), 1, 'until it is adopted');

# only the schema: an empty catalog, which is at home
execute('postgres', 'CREATE DATABASE bare');
ok(program('pg_dump', '-Fc', '--schema-only', '-f', "$dir/bare.dump", 'src') && program('pg_restore', '--exit-on-error', '-d', 'bare', "$dir/bare.dump"), 'schema only');
is(rows('bare', 'SELECT count(*), (SELECT ok FROM tapdata.doctor() WHERE item = $$database$$) FROM tapdata.pipelines'), '0|1', 'no pipelines, no fence');
finish();
done_testing();
