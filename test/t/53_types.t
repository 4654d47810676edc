# Every type: the target's type, and each value after the load, after a streamed insert and after a streamed update, all of
# them the text expected here, which is what the source shows for it; extremes and NULLs; keys of every kind of type.
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect connect_source pipeline wait_status fails slurp apart drop_servers);

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output todo_output);
my ($pg, $my) = servers('types');
END { my $status = $?; drop_servers('types'); $? = $status }
my ($m, $p) = (my_connect($my), pg_connect($pg));
$m->do($_) for (q{SET sql_mode = ''}, q{SET time_zone = '+00:00'}, 'CREATE DATABASE types', 'USE types');

# type at the source, type here, how the source shows it as text, values: as SQL there => as text here
my $plain = 'CAST(v AS CHAR)';
my $hex = q{CONCAT('\\\\x', LOWER(HEX(v)))};
my $utc = q{CONCAT(v, '+00')};
my $skip = '';    # the source's own text is rounded or written another way: only the text here counts
my $emoji = "\x{1F600}";
my @types = (
	['TINYINT', 'smallint', $plain, [-128, -128], [127, 127], [0, 0]],
	['TINYINT UNSIGNED', 'smallint', $plain, [255, 255], [128, 128]],
	['TINYINT(1)', 'smallint', $plain, [1, 1], [0, 0], [2, 2], [-128, -128]],
	['BOOLEAN', 'smallint', $plain, ['TRUE', 1], ['FALSE', 0]],
	['SMALLINT', 'smallint', $plain, [-32768, -32768], [32767, 32767]],
	['SMALLINT UNSIGNED', 'integer', $plain, [65535, 65535], [32768, 32768]],
	['MEDIUMINT', 'integer', $plain, [-8388608, -8388608], [8388607, 8388607], [-1, -1]],
	['MEDIUMINT UNSIGNED', 'integer', $plain, [16777215, 16777215], [8388608, 8388608]],
	['INT', 'integer', $plain, [-2147483648, -2147483648], [2147483647, 2147483647]],
	['INT UNSIGNED', 'bigint', $plain, [4294967295, 4294967295], [2147483648, 2147483648]],
	['INT(9) ZEROFILL', 'bigint', 'v + 0', [42, 42], [4294967295, 4294967295]],
	['BIGINT', 'bigint', $plain, ['-9223372036854775808', '-9223372036854775808'], ['9223372036854775807', '9223372036854775807'], [-1, -1]],
	['BIGINT UNSIGNED', 'numeric(20,0)', $plain, ['18446744073709551615', '18446744073709551615'], ['9223372036854775808', '9223372036854775808'], [0, 0]],
	['DECIMAL(10,2)', 'numeric(10,2)', $plain, ['-99999999.99', '-99999999.99'], ['0.05', '0.05'], ['1.5', '1.50'], [0, '0.00'], ['-0.01', '-0.01']],
	['DECIMAL(5,0)', 'numeric(5,0)', $plain, ['99999', '99999'], ['-1', '-1']],
	['DECIMAL', 'numeric(10,0)', $plain, ['1234567890', '1234567890']],
	['DECIMAL(65,30)', 'numeric(65,30)', $plain, ['9' x 35 . '.' . '9' x 30, '9' x 35 . '.' . '9' x 30], ['-' . '9' x 35 . '.' . '1' x 30, '-' . '9' x 35 . '.' . '1' x 30],
		['1e-30', '0.' . '0' x 29 . '1']],
	['DECIMAL(38,38)', 'numeric(38,38)', $plain, ['0.' . '1' x 38, '0.' . '1' x 38], ['-0.' . '0' x 37 . '1', '-0.' . '0' x 37 . '1']],
	['DECIMAL(12,3) UNSIGNED', 'numeric(12,3)', $plain, ['999999999.999', '999999999.999']],
	['FLOAT', 'real', $skip, ['3.4028234663852886e38', '3.4028235e+38'], ['-3.4028234663852886e38', '-3.4028235e+38'], ['1.17549435e-38', '1.1754944e-38'], ['0.1', '0.1'], ['16777216', '1.6777216e+07'],
		['16777217', '1.6777216e+07'], ['123456.789', '123456.79'], [0, 0]],
	['FLOAT(7,3)', 'real', $skip, ['1234.567', '1234.567'], ['-9999.999', '-9999.999']],
	['FLOAT UNSIGNED', 'real', $skip, ['0.3', '0.3']],
	['DOUBLE', 'double precision', $skip, ['1.7976931348623157e308', '1.7976931348623157e+308'], ['-1.7976931348623157e308', '-1.7976931348623157e+308'], ['2.2250738585072014e-308', '2.2250738585072014e-308'],
		['0.1', '0.1'], ['0.30000000000000004', '0.30000000000000004'], ['123456789.12345678', '123456789.12345678'], ['9007199254740993', '9.007199254740992e+15'], ['-999999999999999', '-999999999999999']],
	['DOUBLE(10,3)', 'double precision', $skip, ['-1234567.891', '-1234567.891']],
	['BIT(1)', 'bit(1)', 'BIN(v + 0)', [q{b'1'}, '1'], [q{b'0'}, '0']],
	['BIT(8)', 'bit(8)', q{LPAD(BIN(v + 0), 8, '0')}, [q{b'10000001'}, '10000001'], [q{b'1'}, '00000001']],
	['BIT(10)', 'bit(10)', q{LPAD(BIN(v + 0), 10, '0')}, [q{b'1000000001'}, '1000000001'], [q{b'11'}, '0000000011']],
	['BIT(64)', 'bit(64)', q{LPAD(BIN(v + 0), 64, '0')}, ["b'" . '1' x 64 . "'", '1' x 64], [q{b'10'}, '0' x 62 . '10']],
	['CHAR(10)', 'character varying(10)', $plain, [q{'abc'}, 'abc'], [q{'abc   '}, 'abc'], [q{''}, ''], [q{'  x'}, '  x'], [q{'žluťoučký '}, 'žluťoučký'], ["'$emoji'", $emoji]],
	['CHAR(255)', 'character varying(255)', $plain, [q{repeat('é', 255)}, 'é' x 255], [q{'x'}, 'x']],
	['VARCHAR(20)', 'character varying(20)', $plain, [q{'trailing  '}, 'trailing  '], [q{''}, ''], ["repeat('$emoji', 20)", $emoji x 20], [q{'tab\tnew\nline\\\\'}, "tab\tnew\nline\\"], [q{'NULL'}, 'NULL'], [q{'\\\\N'}, '\\N']],
	['VARCHAR(500)', 'character varying(500)', $plain, [q{repeat('ab', 250)}, 'ab' x 250]],
	['VARCHAR(20) CHARACTER SET latin1', 'character varying(20)', 'CONVERT(v USING utf8mb4)', [q{'é€ß'}, 'é€ß'], [q{x'80'}, '€'], [q{x'ff'}, 'ÿ'], [q{x'e9e8'}, 'éè'], [q{''}, '']],
	['CHAR(20) CHARACTER SET latin1', 'character varying(20)', 'CONVERT(v USING utf8mb4)', [q{'né  '}, 'né'], [q{''}, '']],
	['TEXT CHARACTER SET latin1', 'text', 'CONVERT(v USING utf8mb4)', [q{repeat('é', 300)}, 'é' x 300]],
	['VARCHAR(20) CHARACTER SET utf8mb3', 'character varying(20)', 'CONVERT(v USING utf8mb4)', [q{'日本語'}, '日本語']],
	['VARCHAR(20) CHARACTER SET ascii', 'character varying(20)', 'CONVERT(v USING utf8mb4)', [q{'plain ~'}, 'plain ~']],
	['VARCHAR(20) COLLATE utf8mb4_bin', 'character varying(20)', $plain, [q{'Ab '}, 'Ab ']],
	['TINYTEXT', 'text', $plain, [q{'tiny'}, 'tiny'], [q{repeat('x', 255)}, 'x' x 255]],
	['TEXT', 'text', $plain, [q{repeat('x', 65535)}, 'x' x 65535], [q{''}, '']],
	['MEDIUMTEXT', 'text', $plain, [q{repeat('žx', 100000)}, 'žx' x 100000]],
	['LONGTEXT', 'text', $plain, [q{repeat('long ', 100000)}, 'long ' x 100000], [q{'short'}, 'short']],
	['BINARY(4)', 'bytea', $hex, [q{x'01'}, '\x01000000'], [q{x'00000000'}, '\x00000000'], [q{x'ff00ff20'}, '\xff00ff20'], [q{x'01020000'}, '\x01020000']],
	['VARBINARY(10)', 'bytea', $hex, [q{x'0100'}, '\x0100'], [q{''}, '\x'], [q{x'00'}, '\x00'], [q{x'2020'}, '\x2020']],
	['VARBINARY(300)', 'bytea', $hex, [q{repeat(x'ab', 300)}, '\x' . 'ab' x 300]],
	['TINYBLOB', 'bytea', $hex, [q{x'00ff'}, '\x00ff'], [q{''}, '\x']],
	['BLOB', 'bytea', $hex, [q{x'ff'}, '\xff'], [q{repeat(x'00', 1000)}, '\x' . '00' x 1000]],
	['MEDIUMBLOB', 'bytea', $hex, [q{repeat(x'0102', 100000)}, '\x' . '0102' x 100000]],
	['LONGBLOB', 'bytea', $hex, [q{x'deadbeef'}, '\xdeadbeef']],
	[q{ENUM('a', 'b,c', 'd''e', 'é', 'F ')}, 'text', $plain, [q{'a'}, 'a'], [q{'b,c'}, 'b,c'], [q{'d''e'}, q{d'e}], [q{'é'}, 'é'], [q{'F'}, 'F'], [q{'no such'}, '']],
	[q{ENUM('ano', 'né') CHARACTER SET latin1}, 'text', 'CONVERT(v USING utf8mb4)', [q{'né'}, 'né']],
	['ENUM(' . join(', ', map { "'m$_'" } 1 .. 300) . ')', 'text', $plain, [q{'m300'}, 'm300'], [q{'m1'}, 'm1'], [q{'m256'}, 'm256']],
	[q{SET('a', 'b', 'c d', 'é')}, 'text[]', $skip, [q{''}, '{}'], [q{'a'}, '{a}'], [q{'c d,a'}, '{a,"c d"}'], [q{'a,b,c d,é'}, '{a,b,"c d",é}']],
	['SET(' . join(', ', map { "'s$_'" } 1 .. 64) . ')', 'text[]', $skip, [q{'s64'}, '{s64}'], [q{'s1,s33,s64'}, '{s1,s33,s64}']],
	['JSON', 'jsonb', $skip, [q{'{"b": 1, "a": [1, 2.50, null, true, "é\\\\u00e9"]}'}, '{"a": [1, 2.50, null, true, "éé"], "b": 1}'], [q{'[]'}, '[]'], [q{'"text"'}, '"text"'], [q{'null'}, 'null'],
		[q{'123456789012345678901234567890.5'}, '123456789012345678901234567890.5'], [q{'{"' . "\x{1F600}" . '": "\\\\ud83d\\\\ude00"}'} =~ s/' \. "\\x\{1F600\}" \. '/$emoji/r, qq({"$emoji": "$emoji"})]],
	['LONGTEXT CHECK (json_valid(`v`))', 'jsonb', $skip, [q{'{"x": 1}'}, '{"x": 1}']],
	['DATE', 'date', $plain, [q{'1000-01-01'}, '1000-01-01'], [q{'9999-12-31'}, '9999-12-31'], [q{'0001-01-01'}, '0001-01-01'], [q{'2024-02-29'}, '2024-02-29'], [q{'1582-10-10'}, '1582-10-10'], [q{'1970-01-01'}, '1970-01-01']],
	['DATETIME', 'timestamp(0) without time zone', $plain, [q{'1000-01-01 00:00:00'}, '1000-01-01 00:00:00'], [q{'9999-12-31 23:59:59'}, '9999-12-31 23:59:59'], [q{'2026-03-29 02:30:00'}, '2026-03-29 02:30:00']],
	['DATETIME(3)', 'timestamp(3) without time zone', $plain, [q{'2024-02-29 12:34:56.789'}, '2024-02-29 12:34:56.789']],
	['DATETIME(6)', 'timestamp(6) without time zone', $plain, [q{'9999-12-31 23:59:59.999999'}, '9999-12-31 23:59:59.999999'], [q{'1969-12-31 23:59:59.000001'}, '1969-12-31 23:59:59.000001']],
	['TIMESTAMP NULL', 'timestamp(0) with time zone', $utc, [q{'1970-01-01 00:00:01'}, '1970-01-01 00:00:01+00'], [q{'2038-01-19 03:14:07'}, '2038-01-19 03:14:07+00']],
	['TIMESTAMP(3) NULL', 'timestamp(3) with time zone', $utc, [q{'2024-07-01 12:00:00.125'}, '2024-07-01 12:00:00.125+00']],
	['TIMESTAMP(6) NULL', 'timestamp(6) with time zone', $utc, [q{'2038-01-19 03:14:07.999999'}, '2038-01-19 03:14:07.999999+00'], [q{'1970-01-01 00:00:01.000001'}, '1970-01-01 00:00:01.000001+00']],
	['TIME', 'interval(0)', $plain, [q{'838:59:59'}, '838:59:59'], [q{'-838:59:59'}, '-838:59:59'], [q{'00:00:00'}, '00:00:00'], [q{'-00:00:01'}, '-00:00:01']],
	['TIME(3)', 'interval(3)', $plain, [q{'12:34:56.789'}, '12:34:56.789'], [q{'-12:34:56.789'}, '-12:34:56.789']],
	['TIME(6)', 'interval(6)', $plain, [q{'838:59:58.999999'}, '838:59:58.999999'], [q{'-838:59:58.999999'}, '-838:59:58.999999'], [q{'00:00:00.000001'}, '00:00:00.000001'], [q{'-00:00:00.000001'}, '-00:00:00.000001']],
	['YEAR', 'smallint', 'v + 0', [1901, 1901], [2155, 2155], [2026, 2026], [0, 0]],
);

# Rows k: loaded. 1000 + k: inserted while it streams. 2000 + k: NULL, updated to the value. 3000 + k: the value, updated to NULL.
# 4000 + k: loaded with the value, and rewritten by an update of another column.
my $n = 0;
for my $t (@types)
{
	my ($type, undef, undef, @values) = @$t;
	my $name = sprintf 't%02d', ++$n;
	$m->do("CREATE TABLE $name (id INT PRIMARY KEY, v $type, other INT) DEFAULT CHARACTER SET utf8mb4");
	push @values, ['NULL', undef];
	push @$t, $values[-1];
	$m->do("INSERT INTO $name VALUES " . join ', ', map { my $k = $_; my $sql = $values[$k - 1][0]; ("($k, $sql, 0)", "(" . (2000 + $k) . ', NULL, 0)', "(" . (3000 + $k) . ", $sql, 0)", "(" . (4000 + $k) . ", $sql, 0)") } 1 .. @values);
}
# Key types: rows found again by their keys, load resumed by them.
my @keys = (
	['BIGINT UNSIGNED', 'seq + 18446744073709551000'], ['DECIMAL(20,5)', 'seq / 7 - 10'], ['DOUBLE', 'seq / 7 - 10'], ['VARCHAR(20)', q{concat('kéy ', seq)}], ['VARCHAR(20) CHARACTER SET latin1', q{concat('é', seq)}],
	['CHAR(8) COLLATE utf8mb4_bin', q{concat('K', char(65 + seq % 50), seq)}], ['BINARY(8)', q{concat(unhex(lpad(hex(seq), 4, '0')), '')}], ['VARBINARY(8)', q{unhex(lpad(hex(seq), 6, '0'))}],
	['DATE', q{'1999-12-01' + INTERVAL seq DAY}], ['DATETIME(6)', q{'1999-12-31 23:59:59.5' + INTERVAL seq MICROSECOND}], ['TIMESTAMP(3)', q{'1999-12-31 23:59:59.5' + INTERVAL seq SECOND}],
	['TIME(3)', q{sec_to_time(seq * 1000.125 - 50000)}], ['BIT(20)', 'seq'], [q{ENUM(} . join(',', map { "'e$_'" } reverse 1 .. 120) . ')', q{concat('e', seq)}], ['YEAR', '1905 + seq']);
for my $i (0 .. $#keys)
{
	$m->do("CREATE TABLE k$i (k $keys[$i][0], n INT, PRIMARY KEY (k)) DEFAULT CHARACTER SET utf8mb4");
	$m->do("INSERT INTO k$i SELECT $keys[$i][1], seq FROM seq_1_to_120");
}
$m->do('CREATE TABLE made (a INT, b INT AS (a * 2) VIRTUAL, c VARCHAR(20) AS (concat(\'v\', a)) STORED, d INT INVISIBLE, e INT UNSIGNED, PRIMARY KEY (e, a))');
$m->do('INSERT INTO made (a, d, e) VALUES (1, 10, 100), (2, 20, 200)');

$p->do('CREATE EXTENSION tapdata');
connect_source($p, $my, 'types', { chunk_rows => 100 });
$p->do(q{SELECT tapdata.mirror('types')});
is(fails($p, q{SELECT tapdata.wait_pipeline('types', '60 s')}), '', 'the mirror streams') or do { diag explain pipeline($p, 'types'); done_testing(); exit };

$n = 0;
for my $t (@types)
{
	my ($type, undef, undef, @values) = @$t;
	my $name = sprintf 't%02d', ++$n;
	for my $k (1 .. @values)
	{
		$m->do("INSERT INTO $name VALUES (1000 + $k, $values[$k - 1][0], 0)");
		$m->do("UPDATE $name SET v = $values[$k - 1][0] WHERE id = 2000 + $k");
		$m->do("UPDATE $name SET v = NULL WHERE id = 3000 + $k");
		$m->do("UPDATE $name SET other = 1 WHERE id = 4000 + $k");
	}
}
for my $i (0 .. $#keys)
{
	$m->do($_) for ("DELETE FROM k$i WHERE n % 3 = 0", "UPDATE k$i SET n = -n WHERE n % 5 = 0");
}
$m->do($_) for ('UPDATE made SET a = a + 10', 'INSERT INTO made (a, d, e) VALUES (3, NULL, 4294967295)');
is(fails($p, q{SELECT tapdata.wait_pipeline('types', '60 s')}), '', 'the changes arrive') or diag explain pipeline($p, 'types');

# Long values by their ends.
sub short { my ($s) = @_; return !defined $s ? 'NULL' : length $s > 90 ? substr($s, 0, 30) . '...' . substr($s, -30) . ' (' . length($s) . ')' : $s }

$n = 0;
for my $t (@types)
{
	my ($type, $target, $shown, @values) = @$t;
	my $name = sprintf 't%02d', ++$n;
	my ($is) = $p->selectrow_array(q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ('types.' || $1)::regclass AND attname = 'v'}, undef, $name);
	my %rows = map { $_->[0] => $_->[1] } @{ $p->selectall_arrayref("SELECT id, v::text FROM types.$name") };
	my %theirs = $shown ? map { $_->[0] => $_->[1] } @{ $m->selectall_arrayref("SELECT id, $shown FROM $name") } : ();
	my @wrong;
	push @wrong, "type $is instead of $target" if $is ne $target;
	for my $k (1 .. @values)
	{
		my ($sql, $want) = @{ $values[$k - 1] };
		my %want = (load => [$k, $want], insert => [1000 + $k, $want], update => [2000 + $k, $want], 'update to NULL' => [3000 + $k, undef], 'update of another column' => [4000 + $k, $want]);
		for my $how (sort keys %want)
		{
			my ($id, $expected) = @{ $want{$how} };
			push @wrong, "$how of " . short($sql) . ': row is missing' if !exists $rows{$id};
			push @wrong, "$how of " . short($sql) . ': ' . short($rows{$id}) . ' instead of ' . short($expected) if ($rows{$id} // 'NULL!') ne ($expected // 'NULL!');
		}
		my $trimmed = $theirs{$k};
		$trimmed =~ s/(\.\d*?)0+$/$1/, $trimmed =~ s/\.$// if defined $trimmed && $target =~ /^(?:timestamp|interval)/;
		push @wrong, 'the source shows ' . short($trimmed) . ' for ' . short($want) if $shown && ($trimmed // 'NULL!') ne ($want // 'NULL!');
	}
	push @wrong, 'rows: ' . keys %rows if keys %rows != 5 * @values;
	is(join("\n", @wrong), '', short($type) . " as $target, " . @values . ' values');
}
for my $i (0 .. $#keys)
{
	my ($count, $sum) = $p->selectrow_array("SELECT count(*), sum(n) FROM types.k$i");
	is("$count $sum", join(' ', $m->selectrow_array("SELECT count(*), sum(n) FROM k$i")), "key of type " . short($keys[$i][0]));
}
is(apart($p, $m, 'types.made', 'types.made', 'a, b, c, d, e'), '', 'generated and invisible columns');
is_deeply($p->selectall_arrayref(q{SELECT attname, attnotnull::int FROM pg_attribute WHERE attrelid = 'types.made'::regclass AND attnum > 0 ORDER BY attnum}),
	[['a', 1], ['b', 0], ['c', 0], ['d', 0], ['e', 1]], 'columns, and NOT NULL as there');
is($p->selectrow_array(q{SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'types.made'::regclass AND contype = 'p'}), 'PRIMARY KEY (e, a)', 'the key as there');
$p->do(q{SELECT tapdata.drop_pipeline('types', drop_tables => true)});

# ---- what has no counterpart is refused by the column's name ----

my $number = 0;
for my $type ('INET6', 'POINT', 'GEOMETRYCOLLECTION', 'POLYGON')
{
	my $db = 'odd' . ++$number;
	$m->do($_) for ("CREATE DATABASE $db", "CREATE TABLE $db.t (id INT PRIMARY KEY, `strange one` $type)");
	connect_source($p, $my, $db);
	$p->do('SELECT tapdata.mirror($1)', undef, $db);
	my $row = wait_status($p, $db, 'failed|streaming');
	is("$row->{status} " . ($row->{sqlstate} // ''), 'failed 0A000', "$type is refused");
	like($row->{error} // '', qr/column "strange one" of table "$db\.t" has type \L$type/, 'by name');
	$p->do('SELECT tapdata.drop_pipeline($1)', undef, $db);
}
$_->disconnect for $p, $m;
done_testing();
