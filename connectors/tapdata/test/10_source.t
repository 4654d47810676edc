# The conformance kit on a real source; connecting: each thing that is wrong has its own SQLSTATE and hint; what a login may see; all types and values, by
# load and by stream, the same as at the source.
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/../../../test/t/lib";
use IO::Socket::INET;
use JSON::PP qw(encode_json);
use Test::More;
use TdFeedPipe;

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);
my $top = $ENV{TD_TOP} || "$FindBin::Bin/../../..";
start_pg('feed_source');
END { my $status = $?; drop_pgs(); $? = $status }
my $dbh = db('feed_source');
my $port = env('feed_source')->{PGPORT};
sub run { my ($sql) = @_; return db('feed_source')->do($sql) }

# ---- the kit ----
run($_) for 'CREATE TABLE s (id bigint PRIMARY KEY, g int NOT NULL, v numeric, t text COLLATE "C")', q{INSERT INTO s SELECT i, i % 3000, i / 3.0, 'text ' || i FROM generate_series(1, 30000) i},
	q{SELECT tapdata.create_view('ids', 'SELECT id, g, v, t FROM s WHERE g < 2900', '{"changes": true}')},
	q{SELECT tapdata.create_view('pairs', 'SELECT g, id % 7 AS part, count(*) AS n, sum(v) AS v FROM s GROUP BY g, id % 7', '{"changes": true}')},
	q{SELECT tapdata.create_view('bag', 'SELECT g % 5 AS a, v > 100 AS b FROM s', '{"changes": true}')}, 'GRANT SELECT ON ids, pairs, bag TO feeder';
$dbh->do("SELECT tapdata.wait_view('$_')") for qw(ids pairs bag);
for my $i (1 .. 60)
{
	run($_) for "UPDATE s SET v = v + 1, g = (g + $i) % 3000 WHERE id % 50 = $i % 50", "DELETE FROM s WHERE id = $i", "INSERT INTO s VALUES (100000 + $i, $i, 1, 'x')";
}
$dbh->do("SELECT tapdata.wait_view('$_')") for qw(ids pairs bag);
system("make -s -C '$top/connectors/host' && make -s -C '$top/connectors/tck' && make -s -C '$top/connectors/tapdata'") == 0 or BAIL_OUT('the kit could not be built');
my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die;
my $home = $dbh->selectrow_array('SELECT tapdata.home()');
for my $view (qw(ids pairs bag))
{
	my $oid = $dbh->selectrow_array(qq{SELECT '$view'::regclass::oid});
	my @lines = do { open my $f, '-|', "$top/build/tapdata-tck", 'tapdata', "$top/connectors/tapdata", '--host', "$top/connectors/host/tapdata-host",
		(map { ('--option', $_) } 'host=127.0.0.1', "port=$port", 'user=feeder', 'password=feedersecret', 'dbname=postgres', 'chunk_rows=1000'), '--table', $view, '--position', "$home $oid:0",
		$view eq 'ids' ? ('--unreachable', 'port=' . $silent->sockport, map { ('--wrong', $_) } 'password=nothing:28P01', 'user=nobody:28P01', 'host=no.such.host.invalid:08001', 'port=1:08001', 'dbname=nowhere:3D000', 'host=/tmp:22023',
			'dbname=template1:0A000') : () or die; <$f> };
	my @bad = grep { /^not ok/ .. /^ok/ } @lines;
	is(join('', @bad), '', "the kit on \"$view\": " . scalar(grep { /^ok/ } @lines) . ' tests');
	like(join('', @lines), qr/^ok \d+ - stream: with the same transactions, each once/m, 'which streamed and went on from the middle');
}

# ---- connecting ----
sub fails_to_connect
{
	my ($options, $credentials, $error, $hint, $what) = @_;
	my %o = (host => '127.0.0.1', port => $port + 0, dbname => 'postgres', %$options);
	my %c = (user => 'feeder', password => 'feedersecret', %$credentials);
	$dbh->do(q{SELECT tapdata.create_connection('bad', 'tapdata', $1, $2)}, undef, encode_json(\%o), encode_json(\%c));
	my ($item, $ok, $detail, $how) = $dbh->selectrow_array(q{SELECT * FROM tapdata.test_connection('bad') WHERE NOT ok});
	$dbh->do(q{SELECT tapdata.drop_connection('bad')});
	like($detail // '', $error, $what);
	like($how // '', $hint, "$what: a hint");
	return;
}
my $socket = env('feed_source')->{PGHOST};
fails_to_connect({}, { password => 'wrong' }, qr/password authentication failed for user "feeder"/, qr/credentials/, 'a wrong password');
fails_to_connect({}, { password => '' }, qr/password/, qr/credentials/, 'none');
fails_to_connect({ dbname => 'nowhere' }, {}, qr/database "nowhere" does not exist/, qr/"dbname"/, 'an unknown database');
fails_to_connect({ port => 1 }, {}, qr/refused/, qr/listens/, 'nobody listens');
fails_to_connect({ port => $silent->sockport, connect_timeout => 1 }, {}, qr/no answer from "127\.0\.0\.1" within 1 s/, qr/listens/, 'a server that says nothing');
fails_to_connect({ host => $socket }, {}, qr/"host" is no name or address/, qr/"socket"/, 'a socket as host');
fails_to_connect({ host => "127.0.0.1,$socket" }, {}, qr/"host" is no name or address/, qr/"socket"/, 'or among hosts');
fails_to_connect({ socket => $socket }, { user => 'postgres' }, qr/did not ask for the password/, qr/pg_hba/, 'a source that lets everybody in');
fails_to_connect({ sslmode => 'require' }, {}, qr/SSL/, qr/sslmode/, 'TLS that is not there');
fails_to_connect({ sslmode => 'verify-ca' }, {}, qr/"sslrootcert" is missing/, qr/authority/, 'nobody to trust');
fails_to_connect({ dbname => 'template1' }, {}, qr/database "template1" has no extension tapdata/, qr/CREATE EXTENSION/, 'no tapdata');
run('CREATE ROLE plain');
run('GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO plain');
{
	my $p = db('feed_source');
	$p->do('SET ROLE plain');
	for my $option (qw(socket sslrootcert sslcert sslkey))
	{
		ok(!eval { $p->do(q{SELECT tapdata.create_connection('mine', 'tapdata', $1, '{"user": "postgres", "password": "x"}')}, undef, encode_json({ dbname => 'postgres', $option => '/tmp' })); 1 },
			"\"$option\" is for superusers");
	}
}

# ---- what a login sees ----
connect_feed('feed_source', 'src', 'feed_source');
sub discovered { return join ' ', map { $_->[0] } @{ db('feed_source')->selectall_arrayref(q{SELECT table_name FROM tapdata.discover('src') ORDER BY 1}) } }
run($_) for q{SELECT tapdata.create_view('quiet', 'SELECT id, g FROM s')}, q{SELECT tapdata.create_view('secret', 'SELECT id, g FROM s', '{"changes": true}')}, 'GRANT SELECT ON quiet TO feeder',
	q{SELECT tapdata.create_view('rowwise', 'SELECT id, t FROM s', '{"changes": true}')}, 'ALTER TABLE rowwise ENABLE ROW LEVEL SECURITY', 'GRANT SELECT ON rowwise TO feeder';
is(discovered(), 'public.bag public.ids public.pairs', 'views with a feed that the login may read, all rows of them');
run('GRANT SELECT ON secret TO feeder');
is(discovered(), 'public.bag public.ids public.pairs public.secret', 'another one');
like($dbh->selectrow_array(q{SELECT hint FROM tapdata.test_connection('src') WHERE item = 'views'}) // '', qr/^$/, 'all well');
is($dbh->selectrow_array(q{SELECT count(*) FROM tapdata.peek('src', 'public.ids', 3) AS x}), 3, 'peek');

# ---- a mirror of what is not there, or may not be read: said at once, and nothing is left ----
run('REVOKE SELECT ON secret FROM feeder');
run('CREATE SCHEMA hidden');
run(q{SELECT tapdata.create_view('hidden."In It"', 'SELECT id, g FROM s', '{"changes": true}')});
for (
	['{idz}', '42P01', qr/table "idz" does not exist on connection "src"/, qr/Perhaps you meant the table "ids"/], ['{ids,public.pears}', '42P01', qr/table "public\.pears"/, qr/"public\.pairs"/],
	['{nothing_like_it}', '42P01', qr/"nothing_like_it" does not exist/, qr/tapdata\.discover\('src'\)/], ['{ids,x*}', '42P01', qr/no table of connection "src" matches "x\*"/, qr/tapdata\.discover\('src'\)/],
	['{secret}', '42501', qr/permission denied/, qr/At the source.*GRANT USAGE ON SCHEMA "public" TO "feeder"; GRANT SELECT ON "public"\."secret" TO "feeder"/],
	['{"hidden.In It"}', '42501', qr/permission denied for schema hidden/, qr/GRANT USAGE ON SCHEMA "hidden" TO "feeder"; GRANT SELECT ON "hidden"\."In It"/],
	['{quiet}', '55000', qr/changes of view public\.quiet are not kept/, qr/alter_view\('public\.quiet', '\{"changes": true\}'\)/], ['{rowwise}', '42501', qr/row-level security/, qr/BYPASSRLS/])
{
	my ($tables, $sqlstate, $error, $hint) = @$_;
	my $p = db('feed_source');
	ok(!eval { $p->do(q{SELECT tapdata.mirror('src', $1, into_schema => 'nowhere')}, undef, $tables); 1 }, "no mirror of $tables");
	is($p->state, $sqlstate, '... its SQLSTATE');
	like($p->errstr, $error, '... the error');
	like($p->errstr, qr/HINT:  .*$hint/s, '... what to do');
}
is($dbh->selectrow_array(q{SELECT count(*) FROM tapdata.pipelines}) . $dbh->selectrow_array(q{SELECT count(*) FROM pg_namespace WHERE nspname = 'nowhere'}), '00', 'nothing is left of them');
run(q{SELECT tapdata.mirror('src', '{ids}', '{ids}', 'nowhere')});
ok(eventually_so(sub { ($dbh->selectrow_array(q{SELECT status || ' ' || sqlstate || ' ' || error FROM tapdata.pipelines}) // '') =~ /^failed 42P01 no table is left/ }), 'a mirror of nothing says so');
run(q{SELECT tapdata.drop_pipeline('src')});
run(q{SELECT tapdata.create_connection('away', 'tapdata', '{"port": 1, "dbname": "postgres"}', '{"user": "feeder", "password": "feedersecret"}')});
run(q{SELECT tapdata.mirror('away', '{ids}', into_schema => 'nowhere')});
ok(eventually_so(sub { ($dbh->selectrow_array(q{SELECT status || ' ' || sqlstate FROM tapdata.pipelines}) // '') =~ /^retrying 08/ }), 'a source that is away is the affair of the worker');
run(q{SELECT tapdata.drop_connection('away', true)});
run("SELECT tapdata.drop_view('$_')") for qw(bag pairs secret rowwise quiet ids), 'hidden."In It"';

# ---- types and values ----
run(q{CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy')});
run(q{CREATE DOMAIN code AS varchar(8) CHECK (value <> '')});
run('CREATE DOMAIN code2 AS code NOT NULL');
my @types = (
	['boolean', 'boolean', 'true', 'false'], ['smallint', 'smallint', '-32768', '32767'], ['integer', 'integer', '-2147483648', '2147483647'], ['bigint', 'bigint', '-9223372036854775808', '9223372036854775807'],
	['real', 'real', "'-0'", "'NaN'", '0.1', '3.4028235e38', "'-Infinity'"], ['double precision', 'double precision', "'-0'", '0', "'NaN'", '0.1', '5e-324', "'Infinity'"],
	['numeric', 'numeric', '0', '0.00', '1.0', '1.00', "'NaN'", "'-Infinity'", '12345678901234567890.123456789', '1e-30', '-1e30'], ['numeric(10,2)', 'numeric(10,2)', '1.5', "'NaN'"], ['numeric(3,-2)', 'numeric(5,0)', '99900'],
	['numeric(2,4)', 'numeric(4,4)', '0.0099'],
	['text', 'text', "''", "'  x '", "E'\\t\\n\\\\'", "repeat('\x{1F600}', 3000)"], ['varchar(20)', 'character varying(20)', "'abc  '"], ['char(5)', 'character varying(5)', "'ab'", "''"], ['name', 'text', "'n'"],
	['mood', 'text', "'sad'", "'it''s ok'"], ['code', 'character varying(8)', "'c'"], ['code2', 'character varying(8)', "'c'"],
	['bytea', 'bytea', "''", "'\\x00ff'", "decode(repeat('00', 100000), 'hex')"],
	['date', 'date', "'0044-03-15 BC'", "'infinity'", "'2026-01-01'"], ['timestamp', 'timestamp without time zone', "'infinity'", "'0044-03-15 12:00 BC'", "'2026-01-01 00:00:00.000001'"], ['timestamp(3)', 'timestamp(3) without time zone', "'2026-01-01 00:00:00.001'"],
	['timestamptz', 'timestamp with time zone', "'-infinity'", "'2026-01-01 00:00:00.1+01'"], ['interval', 'interval', "'1 year -2 days 3.000004 s'", "'-1 day +02:03:04'"], ['interval(2)', 'interval(2)', "'1.23 s'"], ['interval day to minute', 'interval', "'2 days 03:04'"],
	['jsonb', 'jsonb', "'null'", "'{\"a\": [1, 1.00, null]}'", "'\"x\"'", '\'"\\u00e9"\''], ['bit(3)', 'bit(3)', "B'101'"], ['bit(9)', 'bit(9)', "B'100000001'"], ['bit varying(20)', 'bit varying', "B''", "B'1'", "B'1010101010101'"],
	['uuid', 'uuid', "'00000000-0000-0000-0000-0000000000ff'"], ['text[]', 'text[]', "'{}'", "'{a,\"\",\"null\",\"x y\"}'"], ['varchar(5)[]', 'text[]', "'{ab}'"]);
my ($n, @views) = (0);
for my $type (@types)
{
	my ($name, $target, @values) = @$type;
	my $t = 'ty' . ++$n;
	run("CREATE TABLE $t (id int PRIMARY KEY, v $name)");
	run("INSERT INTO $t VALUES (0, " . ($name eq 'code2' ? "'x'" : 'NULL') . '), ' . join ', ', map { '(' . ($_ + 1) . ", $values[$_])" } 0 .. $#values);
	run(qq{SELECT tapdata.create_view('v$t', 'SELECT id, v FROM $t', '{"changes": true}')});
	run(qq{SELECT tapdata.create_view('b$t', 'SELECT v FROM $t', '{"changes": true}')});
	push @views, "v$t", "b$t";
}
run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO feeder");
$dbh->do("SELECT tapdata.wait_view('$_')") for @views;
run(q{SELECT tapdata.mirror('src', '{vty*,bty*}', into_schema => 'm')});
is(caught_up('feed_source', 'feed_source', 'src', \@views), '', 'a mirror of all types');
sub all_types { return join '', map { mirror_differs('feed_source', $_, 'feed_source', "m.$_") } @views }
is(all_types(), '', 'every value as it is at the source: loaded');
is($dbh->selectrow_array('SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::regclass AND attname = $2', undef, "m.vty$_", 'v'), $types[$_ - 1][1], "$types[$_ - 1][0]") for 1 .. @types;
for my $i (1 .. @types) { run("INSERT INTO ty$i SELECT id + 100, v FROM ty$i") }
is(caught_up('feed_source', 'feed_source', 'src', \@views), '', 'more');
is(all_types(), '', 'inserted');
for my $i (1 .. @types) { run("UPDATE ty$i SET v = (SELECT v FROM ty$i o WHERE o.id = (CASE WHEN t.id % 100 = 0 THEN 1 ELSE 0 END) + 100) FROM ty$i t WHERE t.id = ty$i.id AND t.id > 100") }
is(caught_up('feed_source', 'feed_source', 'src', \@views), '', 'changes');
is(all_types(), '', 'updated');
for my $i (1 .. @types) { run("DELETE FROM ty$i WHERE id % 2 = 0") }
is(caught_up('feed_source', 'feed_source', 'src', \@views), '', 'less');
is(all_types(), '', 'deleted: of equal rows the very one');
run(q{SELECT tapdata.drop_pipeline('src', drop_tables => true)});

# what can't be carried
run($_) for 'CREATE TABLE bad (id int PRIMARY KEY, t time, i inet, a int[], r int4range, x text[])', "INSERT INTO bad VALUES (1, '10:00', '::1', '{1}', '[1,2)', '{a}')";
for my $c (qw(t i a r))
{
	run(qq{SELECT tapdata.create_view('bad_$c', 'SELECT id, $c FROM bad', '{"changes": true}')});
	run(qq{GRANT SELECT ON bad_$c TO feeder});
	run(qq{SELECT tapdata.wait_view('bad_$c')});
	run(qq{SELECT tapdata.mirror('src', '{bad_$c}', name => 'bad', into_schema => 'bad')});
	my $row = status_is('feed_source', 'bad', 'failed', 20);
	like("$row->{sqlstate} $row->{error} $row->{hint}", qr/^0A000 column "$c" of view public\.bad_$c has type .*can't be carried Cast it/, "$row->{error}");
	run(q{SELECT tapdata.drop_pipeline('bad', drop_tables => true)});
}
run($_) for q{SELECT tapdata.create_view('bad_x', 'SELECT id, x FROM bad', '{"changes": true}')}, 'GRANT SELECT ON bad_x TO feeder', q{SELECT tapdata.wait_view('bad_x')}, q{SELECT tapdata.mirror('src', '{bad_x}', name => 'bad', into_schema => 'bad')};
is(caught_up('feed_source', 'feed_source', 'bad', ['bad_x']), '', 'arrays of text');
run(q{INSERT INTO bad (id, x) VALUES (7, '{a,NULL}')});
my $row = status_is('feed_source', 'bad', 'failed', 20);
like("$row->{sqlstate} $row->{error}", qr/^22000 column "x" of view public\.bad_x has an array with a null/, 'an array with a null');

# typed changes: what jsonb can't tell
run($_) for 'CREATE TABLE j (id int PRIMARY KEY, j jsonb, f float8)', q{SELECT tapdata.create_view('jv', 'SELECT id, j, f FROM j', '{"changes": true}')}, q{SELECT tapdata.wait_view('jv')},
	q{INSERT INTO j VALUES (1, 'null', '-0'), (2, NULL, 0)}, q{SELECT tapdata.wait_view('jv')};
is(join(' ', map { join '|', map { $_ // 'NULL' } @$_ } @{ $dbh->selectall_arrayref(q{SELECT tick, weight, (c."row")::text FROM tapdata.change_rows(NULL::jv, 0) c ORDER BY 3}) }), '1|1|(1,null,-0) 1|1|(2,,0)', 'change_rows');
for my $call ('NULL::int', 'NULL::j', 'NULL')
{
	ok(!eval { $dbh->selectall_arrayref("SELECT * FROM tapdata.change_rows($call, 0)"); 1 }, "change_rows($call): " . $dbh->errstr =~ s/\n.*//sr);
}
done_testing();
